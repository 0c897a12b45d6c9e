"""Dropout: in training each number is zeroed with probability ``rate``, the rest scaled up.

    y = x · keep / (1 − rate),   keep ~ Bernoulli(1 − rate)

The mask is a function of the layer's seed state alone: Keras's ``SeedGenerator``, (key, number of
the call), which Keras's files do not hold: a loaded layer starts at call 0 of its ``seed``, or of a
new one. No two frameworks draw the same mask.

Source: Srivastava et al., "Dropout: A Simple Way to Prevent Neural Networks from Overfitting"
(2014), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import torch
from torch import Tensor

from lamina import ops
from lamina.theory import dropout as theory
from lamina.theory.cost import Cost


class _Drop(keras.layers.Layer):
    """What the layers below share; they differ in which elements are dropped together."""

    def call(self, inputs: Tensor, training: bool = False) -> Tensor:
        """Drop in training, else return the input."""
        if not training or self.rate == 0:
            return inputs
        shape = self._noise_shape_for(inputs)
        return ops.dropout(inputs, self.rate, noise_shape=shape, seed=self._draw())

    def _noise_shape_for(self, inputs: Tensor) -> Sequence[int | None] | None:
        """The mask's shape for these inputs, axis by axis; None stands for the input's size."""
        raise NotImplementedError

    def _draw(self) -> Tensor:
        """(key, call number) of the layer's seed generator, which moves on by one call.

        ``SeedGenerator.next`` in PyTorch's words: Keras's go through numpy, where no compiler
        follows.
        """
        state = self.seed_generator.state
        drawn: Tensor = keras.ops.convert_to_tensor(state).to(torch.int64, copy=True)
        state.assign(drawn + torch.tensor([0, 1], device=drawn.device))
        return drawn

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call in training costs; options are ``theory.dropout.cost``'s."""
        return theory.cost(input_shape, self.rate, **options)


@keras.saving.register_keras_serializable(package="lamina")
class Dropout(_Drop, keras.layers.Dropout):
    """Keras's ``Dropout``; the arguments are Keras's.

    Args:
        rate: probability of a zero, in [0, 1]; on the CPU the nearest multiple of 1/65536.
        noise_shape: shape of the mask, axis by axis; None in it takes the input's size. Where it
            has fewer axes than the input they are the last ones, and must be numbers. None draws
            each number by itself.
        seed: integer; None draws one when the layer is made.
        **kwargs: ``trainable``, ``dtype``, ``name``.

    Shape: any; the output has the input's.

    Raises:
        ValueError: a rate outside of [0, 1] or NaN; in a call, a noise_shape that does not
            broadcast to the input's shape.

    Differs from Keras's torch backend: without a seed too the mask comes from the layer's own state
    and not from torch's global generator, as with Keras on TensorFlow.

    Cost: ``theory.dropout.cost``, see `cost`.

    Source: Keras, ``keras/src/layers/regularization/dropout.py``.

    Example:
        >>> layer = Dropout(0.5, seed=1)
        >>> sorted(set(layer(keras.ops.ones((8, 8)), training=True).ravel().tolist()))
        [0.0, 2.0]
    """

    def _noise_shape_for(self, inputs: Tensor) -> Sequence[int | None] | None:
        shape = self.noise_shape
        if shape is None or len(shape) == inputs.dim():
            return shape  # type: ignore[no-any-return]
        if len(shape) > inputs.dim() or None in shape:
            # Keras reads None by the first axes and broadcasts by the last: right by chance alone.
            raise ValueError(
                "noise_shape must have an entry per axis of the input, or numbers for its last "
                f"axes, got {shape} for an input of shape {tuple(inputs.shape)}"
            )
        return (1,) * (inputs.dim() - len(shape)) + tuple(shape)


@keras.saving.register_keras_serializable(package="lamina")
class SpatialDropout2D(_Drop, keras.layers.SpatialDropout2D):
    """Keras's ``SpatialDropout2D``: whole channels of an image are dropped.

    Args:
        rate: probability of a zero, in [0, 1].
        data_format: ``"channels_last"`` or ``"channels_first"``.
        seed: integer; None draws one when the layer is made.
        name: the layer's name.
        dtype: the layer's dtype policy.

    Shape: (N, H, W, C), or (N, C, H, W) with ``data_format="channels_first"``; the output's too.

    Raises:
        ValueError: a rate outside of [0, 1] or NaN, another rank than 4.

    Cost: ``theory.dropout.cost``, see `cost`.

    Source: Tompson et al., "Efficient Object Localization Using Convolutional Networks" (2014),
    section 3.2.

    Example:
        >>> y = SpatialDropout2D(0.5, seed=1)(keras.ops.ones((1, 4, 4, 64)), training=True)
        >>> bool((y.amax((1, 2)) == y.amin((1, 2))).all())
        True
    """

    def _noise_shape_for(self, inputs: Tensor) -> Sequence[int | None] | None:
        return (None, 1, 1, None) if self.data_format == "channels_last" else (None, None, 1, 1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments; Keras's own forgets a mixed-precision policy."""
        policy = keras.dtype_policies.serialize(self.dtype_policy)
        return {**super().get_config(), "dtype": policy}


@keras.saving.register_keras_serializable(package="lamina")
class DropPath(_Drop, keras.layers.Dropout):
    """Stochastic depth: in training a whole row of the batch is dropped, for a residual branch.

    Keras has none; its networks write ``Dropout(rate, noise_shape=(None, 1, 1, 1))``.

    Args:
        rate: probability that a row is dropped, in [0, 1].
        seed: integer; None draws one when the layer is made.
        **kwargs: ``trainable``, ``dtype``, ``name``.

    Shape: (N, ...); the output has the input's.

    Raises:
        ValueError: a rate outside of [0, 1] or NaN.

    Cost: ``theory.dropout.cost``, see `cost`.

    Source: Huang et al., "Deep Networks with Stochastic Depth" (2016), section 3; by row as in Tan
    and Le, "EfficientNet" (2019).

    Example:
        >>> y = DropPath(0.5, seed=1)(keras.ops.ones((8, 2, 2, 3)), training=True)
        >>> bool((y.flatten(1).amax(1) == y.flatten(1).amin(1)).all())
        True
    """

    def __init__(self, rate: float, seed: int | None = None, **kwargs: Any) -> None:
        super().__init__(rate, seed=seed, **kwargs)
        self.built = False

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Note the mask's shape, by which a plain ``Dropout`` does the same."""
        self.noise_shape = (None,) + (1,) * (len(input_shape) - 1)

    def _noise_shape_for(self, inputs: Tensor) -> Sequence[int | None] | None:
        return (None,) + (1,) * (inputs.dim() - 1)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        del config["noise_shape"]
        return config
