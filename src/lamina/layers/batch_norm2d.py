"""Batch normalisation: each channel to mean 0 and variance 1 over the batch, then scale and shift.

    y = gamma · (x − mean) / √(variance + epsilon) + beta

In training mean and (biased) variance are the batch's, and the moving ones follow; in inference
they are the moving ones.

Source: Ioffe and Szegedy, "Batch Normalization" (2015), algorithms 1 and 2; renorm: Ioffe, "Batch
Renormalization" (2017), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import FunctionCtx

from lamina import ops
from lamina.ops.activation import activation_epilogue
from lamina.theory import batch_norm2d as theory
from lamina.theory.cost import Cost
from lamina.theory.validation import finite, rate

ACTIVATION = "_lamina_activation"
"""The attribute of an input that asks for an activation in the same pass, an `Activation`."""


@dataclass
class Activation:
    """What else a call computes.

    Attributes:
        name: as in `ops.batch_norm`; None for nothing.
        negative_slope: of leaky_relu.
        applied: whether the call has computed it.
    """

    name: str | None = None
    negative_slope: float = 0.01
    applied: bool = False


@keras.saving.register_keras_serializable(package="lamina")
class BatchNormalization(keras.layers.BatchNormalization):
    """Keras's ``BatchNormalization``; the arguments are Keras's.

    Args:
        axis: the channels' axis, −1 whatever ``data_format`` is elsewhere; 1 for channels_first.
        momentum: the part of the moving statistics that is kept, in [0, 1] (1 − torch's).
        epsilon: added to the variance, at least 0 (torch's default is 1e-5).
        *args: as Keras has them: ``center``, ``scale``, initialisers, regularisers, constraints,
            ``renorm``, ``renorm_clipping``, ``renorm_momentum``.
        synchronized: take the statistics over all ranks of ``torch.distributed``, where it is
            initialised; without it the local ones, as Keras does outside of a strategy.
        **kwargs: those same, by name, and ``trainable``, ``dtype``, ``name``.

    Shape: any of rank 2 or more; the output has the input's.

    Weights:
        gamma (C,): ones, trainable; none with ``scale=False``. beta (C,): zeros, trainable; none
        with ``center=False``. moving_mean (C,): zeros. moving_variance (C,): ones. With ``renorm``
        also moving_stddev, renorm_mean, renorm_stddev (C,).

    Call:
        ``mask``, one axis fewer than the input, says which positions the statistics count.
        ``trainable=False`` means inference mode, whatever ``training`` says.

    Numerics: computed in float32 at least, whatever the dtype policy; the variance is the mean of
    squared differences, so that a large mean costs no digits. One value per channel yields beta.

    Raises:
        ValueError: ``momentum`` outside of [0, 1], ``epsilon`` negative, either NaN; a mask of
            another rank; what Keras refuses.

    Differs from Keras: its torch backend takes E[x²] − E[x]², negative at a mean of 1000, and has
    no ``synchronized``. An empty batch leaves the moving statistics alone; TensorFlow makes them
    NaN. ``synchronized`` holds for masked statistics too; Keras takes those of one replica.

    Cost: ``theory.batch_norm2d.cost``, see `cost`.

    Source: Keras, ``keras/src/layers/normalization/batch_normalization.py``.

    Example:
        >>> layer = BatchNormalization()
        >>> y = layer(keras.ops.arange(8.0).reshape(4, 2), training=True)
        >>> [round(value, 3) for value in y.mean(0).tolist()]
        [0.0, 0.0]
    """

    def __init__(
        self,
        axis: int = -1,
        momentum: float = 0.99,
        epsilon: float = 1e-3,
        *args: Any,
        synchronized: bool = False,
        **kwargs: Any,
    ) -> None:
        rate(momentum, "momentum")
        if finite(epsilon, "epsilon") < 0:
            raise ValueError(f"epsilon must be at least 0, got {epsilon!r}")
        super().__init__(axis, momentum, epsilon, *args, **kwargs)
        # Not through Keras's constructor, which refuses it to every backend but TensorFlow.
        self.synchronized = bool(synchronized)

    def call(
        self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """Normalise by the batch's statistics in training, else by the moving ones."""
        if mask is not None and mask.dim() != inputs.dim() - 1:
            raise ValueError(
                "mask must have one axis fewer than the input, "
                f"got mask {tuple(mask.shape)} and input {tuple(inputs.shape)}"
            )
        activation = getattr(inputs, ACTIVATION, None) or Activation()
        activation.applied = True
        x = inputs.to(torch.promote_types(inputs.dtype, torch.float32))
        synchronized = self.synchronized and _is_distributed()
        if not (training and self.trainable) or (x.numel() == 0 and not synchronized):
            outputs = self._normalize(x, activation, training=False)
        elif mask is None and not self.renorm and not synchronized:
            outputs = self._normalize(x, activation, training=True)
        else:
            outputs = self._normalize_by(x, *self._moments(x, mask, synchronized))
            if activation.name is not None:
                outputs = activation_epilogue(outputs, activation.name, activation.negative_slope)
        return outputs.to(getattr(torch, self.compute_dtype))

    def _normalize(self, x: Tensor, activation: Activation, *, training: bool) -> Tensor:
        """The common way: one op, which in training also moves the statistics."""
        mean, variance = _value(self.moving_mean, x), _value(self.moving_variance, x)
        if training:
            # The op moves them in place; Keras's variables are changed by `assign` alone, which
            # a stateless scope redirects.
            mean, variance = mean.clone(), variance.clone()
        axis = self.axis % x.dim()  # PyTorch's older exporter to ONNX passes a negative one on
        outputs = ops.batch_norm(
            x.movedim(axis, 1),
            mean,
            variance,
            _optional(self.gamma, x),
            _optional(self.beta, x),
            training=training,
            momentum=1 - self.momentum,
            eps=self.epsilon,
            unbiased=False,
            activation=activation.name,
            negative_slope=activation.negative_slope,
        )
        if training:
            self.moving_mean.assign(mean)
            self.moving_variance.assign(variance)
        return outputs.movedim(1, axis)

    def _normalize_by(self, x: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
        """By these statistics, which the gradient flows through; moves the moving ones."""
        gamma, beta = _optional(self.gamma, x), _optional(self.beta, x)
        if self.renorm:
            r, d, mean, variance = self._renorm_correction_and_moments(mean, variance)
            gamma, beta = self._compose_transforms(r, d, gamma, beta, x.dtype)
            self._update_renorm_statistics(mean.detach(), variance.detach())
        else:
            self._move(self.moving_mean, mean)
            self._move(self.moving_variance, variance)
        shape = [1] * x.dim()
        shape[self.axis] = -1
        scale = (variance + self.epsilon).rsqrt()
        if gamma is not None:
            scale = scale * gamma
        outputs: Tensor = (x - mean.view(shape)) * scale.view(shape)
        if beta is not None:
            outputs = outputs + beta.view(shape)
        return outputs

    def _moments(self, x: Tensor, mask: Tensor | None, synchronized: bool) -> tuple[Tensor, Tensor]:
        """Mean and biased variance per channel, of the positions that the mask counts.

        The mask gains a last axis and is spread over the input (Keras's rule, whatever `axis`).
        """
        axes = [axis for axis in range(x.dim()) if axis != self.axis % x.dim()]
        if mask is None:
            counted, slack = torch.ones((), dtype=torch.bool, device=x.device), 0.0
        else:
            counted = mask.bool().unsqueeze(-1)
            # Keras's guard against a mask that counts nothing.
            slack = keras.backend.epsilon()
        counted = counted.expand(x.shape)
        count = _total(counted.sum(axes).to(x.dtype), synchronized) + slack
        mean = _total(torch.where(counted, x, 0).sum(axes), synchronized) / count
        shape = [1] * x.dim()
        shape[self.axis] = -1
        difference = torch.where(counted, x - mean.view(shape), 0)
        variance: Tensor = _total(difference.square().sum(axes), synchronized) / count
        return mean, variance

    def _move(self, moving: keras.Variable, batch: Tensor) -> None:
        kept = _value(moving, batch) * self.momentum
        moving.assign(kept + batch.detach() * (1 - self.momentum))

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs, without renorm and mask; options: ``theory.batch_norm2d.cost``'s.

        Example:
            >>> BatchNormalization(center=False).cost((8, 7, 7, 64)).parameters
            64
        """
        others = list(input_shape)
        channels = others.pop(self.axis)
        affine = self.center or self.scale
        cost = theory.cost((others[0], channels, *others[1:]), affine=affine, **options)
        return replace(
            cost,
            parameters=channels * (self.center + self.scale),
            buffers=channels * (5 if self.renorm else 2),
        )


def _value(variable: keras.Variable, x: Tensor) -> Tensor:
    """A variable in the dtype that the layer computes in."""
    value: Tensor = keras.ops.convert_to_tensor(variable)
    return value.to(x.dtype)


def _optional(variable: keras.Variable | None, x: Tensor) -> Tensor | None:
    return None if variable is None else _value(variable, x)


def _is_distributed() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def _total(x: Tensor, synchronized: bool) -> Tensor:
    if not synchronized:
        return x
    total: Tensor = _AllReduce.apply(x)  # type: ignore[no-untyped-call]
    return total


class _AllReduce(torch.autograd.Function):
    """The sum over all ranks; backward, every rank's output depends on every rank's input."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: FunctionCtx, gradient: Tensor) -> Tensor:
        total = gradient.clone()
        dist.all_reduce(total)
        return total
