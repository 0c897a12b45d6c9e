"""Batch normalisation, with torch.nn's constructor and, on request, TensorFlow's variance.

    y[n, c, ...] = weight[c] · (x[n, c, ...] − mean[c]) / √(variance[c] + eps) + bias[c]

Source: Ioffe and Szegedy, "Batch Normalization" (2015), algorithm 1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.parameter import Parameter

from lamina import ops
from lamina.nn import lazy
from lamina.ops.runtime.torch_private import AnyBatchNorm
from lamina.theory import batch_norm2d as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction
from lamina.theory.validation import one_of, positive_float, positive_int, rate

if TYPE_CHECKING:
    from jaxtyping import Float

_LOW_PRECISION = (torch.float16, torch.bfloat16)


class _BatchNorm(AnyBatchNorm):
    """What the two ranks share; torch.nn's classes beside it check the rank."""

    num_features: int | None  # type: ignore[assignment]
    weight: Parameter | None  # type: ignore[assignment]
    bias: Parameter | None  # type: ignore[assignment]

    def __init__(
        self,
        num_features: int | None,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        bias: bool = True,
        running_variance: str = "unbiased",
    ) -> None:
        super().__init__(
            1 if num_features is None else positive_int(num_features, "num_features"),
            positive_float(eps, "eps"),
            None if momentum is None else rate(momentum, "momentum"),
            affine,
            track_running_stats,
            "meta" if num_features is None else device,
            dtype,
            bias=bias,
        )
        self.running_variance = one_of(running_variance, "running_variance", ("unbiased", "biased"))
        if num_features is None:
            self.num_features = None
            lazy.postpone(self, device, dtype)

    def materialize(self, num_features: int) -> None:
        """Give a layer without a size its parameters and statistics."""
        self.num_features = positive_int(num_features, "num_features")
        shape = (num_features,)
        lazy.materialize(self, weight=shape, bias=shape, running_mean=shape, running_var=shape)
        self.reset_parameters()

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """The input's shape, checked."""
        return theory.output_shape(input_shape, self.num_features)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Parameters, operations and bytes of one call in this mode; or of its backward pass."""
        return theory.cost(
            theory.output_shape(input_shape, self.num_features),
            affine=self.affine,
            bias=self.bias is not None,
            track_running_stats=self.track_running_stats,
            training=self._uses_batch_statistics,
            direction=direction,
        )

    def forward(self, input: Float[Tensor, "N C *rest"]) -> Float[Tensor, "N C *rest"]:
        """``input`` normalised, scaled and shifted."""
        self._check_input_dim(input)  # type: ignore[no-untyped-call]
        if self.num_features is None:
            self.materialize(input.shape[1])
        mean, variance, weight, bias = self._tensors
        self._check(input, mean if weight is None else weight)
        training = self.training
        if training:
            if self.track_running_stats:
                batches = self.num_batches_tracked
                if batches is not None:
                    batches.add_(1)
                    if self.momentum is None and mean is not None and variance is not None:
                        return self._cumulative(input, mean, variance, batches)
            else:
                mean = variance = None
        return ops.batch_norm(
            input,
            mean,
            variance,
            weight,
            bias,
            training or mean is None,
            0.0 if self.momentum is None else self.momentum,
            self.eps,
            unbiased=self.running_variance == "unbiased",
        )

    def _cumulative(
        self,
        x: Tensor,
        running_mean: Tensor,
        running_var: Tensor,
        batches: Tensor,
    ) -> Tensor:
        # The share of this batch, 1 / batches, is a tensor: a number would stop torch.compile.
        mean, variance = torch.zeros_like(running_mean), torch.zeros_like(running_var)
        y = ops.batch_norm(
            x,
            mean,
            variance,
            self.weight,
            self.bias,
            True,
            1.0,
            self.eps,
            unbiased=self.running_variance == "unbiased",
        )
        if x.numel() > 0:
            share = batches.to(mean.dtype).reciprocal()
            running_mean.lerp_(mean, share)
            running_var.lerp_(variance, share)
        return y

    @property
    def _tensors(self) -> tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
        """Running mean and variance, weight and bias."""
        # Not self.weight: Module.__getattr__ takes as long as a small block's arithmetic.
        buffers, parameters = self._buffers, self._parameters
        try:
            own = buffers["running_mean"], buffers["running_var"]
            return *own, parameters["weight"], parameters["bias"]
        except KeyError:  # what prunes a module or reparametrizes it leaves plain attributes
            return self.running_mean, self.running_var, self.weight, self.bias

    @property
    def _uses_batch_statistics(self) -> bool:
        return self.training or self.running_mean is None

    def _check(self, x: Tensor, own: Tensor | None) -> None:
        """Raise unless the input fits the layer, of whose dtype ``own`` is."""
        name = type(self).__name__
        ops.check_floating(x, name)
        if x.shape[1] != self.num_features:
            raise ValueError(
                f"{name}: the input must have {self.num_features} channels, got {x.shape[1]} "
                f"in shape {tuple(x.shape)}"
            )
        if own is not None and x.dtype != own.dtype:
            mixed = x.dtype in _LOW_PRECISION and own.dtype == torch.float32
            if not mixed:
                raise TypeError(
                    f"{name}: the input is {x.dtype} and the layer is {own.dtype}; cast one"
                )

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        if self.num_features is None:
            for name in ("weight", "running_mean"):
                if prefix + name in state_dict:
                    self.materialize(state_dict[prefix + name].shape[0])
                    break
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        text = str(super().extra_repr())  # type: ignore[no-untyped-call]
        if self.running_variance != "unbiased":
            text += f", running_variance={self.running_variance!r}"
        return text


class BatchNorm2d(_BatchNorm, torch.nn.BatchNorm2d):
    """Every channel to mean 0 and deviation 1, then scaled and shifted; ``torch.nn.BatchNorm2d``.

    Args:
        num_features: C, at least 1; None takes it from the first input.
        eps: added to the variance, above 0.
        momentum: the part of the running statistics that a batch replaces, in [0, 1]; None
            averages over all batches alike.
        affine: learn a weight and a bias.
        track_running_stats: keep statistics for eval; False takes the batch's in eval too.
        device: of parameters and statistics.
        dtype: of parameters and statistics.
        bias: False learns the weight alone.
        running_variance: ``"unbiased"`` keeps the variance divided by n − 1 (PyTorch),
            ``"biased"`` by n (TensorFlow), n the values per channel.

    Shape:
        (N, C, H, W) to the same.

    Parameters:
        weight: (C,), ones. bias: (C,), zeros.
        running_mean: (C,), a buffer, zeros. running_var: (C,), a buffer, ones.
        num_batches_tracked: a buffer, how many batches made them.

    Cost:
        Memory-bound: in training the input is read twice. ``theory.batch_norm2d.cost``.

    Numerics:
        Statistics around the mean, never E[x²] − E[x]²; low-precision inputs with float32
        parameters are normalised in float32. The gradient goes through the batch's statistics in
        training, and not through running ones in eval. ``requires_grad=False`` on the parameters
        does not stop the statistics: ``eval()`` does.

    Raises:
        ValueError: an argument out of its range; another rank or number of channels; one value per
            channel in training with the unbiased variance.
        TypeError: an integer input, or another dtype than the parameters'.

    Differs from:
        Keras's BatchNormalization: momentum 0.99 is the part kept, epsilon 1e-3, biased running
        variance, last axis, ``trainable=False`` is eval.

    Source:
        Ioffe and Szegedy, "Batch Normalization" (2015), algorithms 1 and 2.

    Example:
        >>> layer = BatchNorm2d(1)
        >>> layer(torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1)).flatten()
        tensor([-1.0000,  1.0000], grad_fn=<ViewBackward0>)
    """


class BatchNorm1d(_BatchNorm, torch.nn.BatchNorm1d):
    """``BatchNorm2d`` for what has no image: (N, C) or (N, C, L); ``torch.nn.BatchNorm1d``.

    Args:
        num_features: as for ``BatchNorm2d``, like all the others.
        eps: added to the variance, above 0.
        momentum: the part that a batch replaces, in [0, 1], or None.
        affine: learn a weight and a bias.
        track_running_stats: keep statistics for eval.
        device: of parameters and statistics.
        dtype: of parameters and statistics.
        bias: False learns the weight alone.
        running_variance: ``"unbiased"`` or ``"biased"``.

    Shape:
        (N, C) or (N, C, L) to the same.

    Parameters:
        As ``BatchNorm2d``.

    Cost:
        ``theory.batch_norm2d.cost``.

    Numerics:
        As ``BatchNorm2d``.

    Raises:
        ValueError: as ``BatchNorm2d``.
        TypeError: as ``BatchNorm2d``.

    Differs from:
        Keras, where BatchNormalization takes any rank.

    Source:
        Ioffe and Szegedy, "Batch Normalization" (2015), algorithms 1 and 2.

    Example:
        >>> BatchNorm1d(3)(torch.randn(4, 3)).shape
        torch.Size([4, 3])
    """
