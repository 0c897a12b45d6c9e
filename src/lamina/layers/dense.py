"""Dense layer: y[..., o] = bias[o] + sum over i of kernel[i, o] · x[..., i]; and Flatten."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from keras.layers import Flatten
from torch import Tensor

from lamina import ops
from lamina.theory import dense as theory
from lamina.theory.cost import Cost

# Keras's Flatten serves as it is: a reshape, a view for channels_last, always in the order H, W, C.
__all__ = ["Dense", "Flatten"]


@keras.saving.register_keras_serializable(package="lamina")
class Dense(keras.layers.Dense):
    """Keras's ``Dense``; the arguments are Keras's.

    Shape: (N, ..., in) to (N, ..., units); the last axis is multiplied.

    Weights:
        kernel (in, units): Glorot uniform, ±√(6 / (in + units)). bias (units,): zeros.

    Raises:
        ValueError: what Keras refuses (``units`` below 1, rank below 2, another size of the last
            axis).

    Numerics: an integer input is cast to the layer's compute dtype first, as Keras does. LoRA and
    quantisation are Keras's own code.

    Cost: ``theory.dense.cost``, see `cost`.

    Source: Keras, ``keras/src/layers/core/dense.py``.

    Example:
        >>> layer = Dense(10, activation="softmax")
        >>> round(float(layer(keras.ops.ones((1, 64))).sum()), 4)
        1.0
    """

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Multiply, add the bias, apply the activation."""
        if not inputs.is_floating_point():
            inputs = keras.ops.cast(inputs, self.compute_dtype)
        bias = None if self.bias is None else keras.ops.convert_to_tensor(self.bias)
        outputs = ops.linear(inputs, keras.ops.convert_to_tensor(self.kernel).T, bias)
        return outputs if self.activation is None else self.activation(outputs)

    def quantize(
        self,
        mode: str | None = None,
        type_check: bool = True,
        config: object = None,
    ) -> None:
        """Quantise the weights, as Keras does; Keras itself refuses this to any subclass."""
        ours = type(self) is Dense
        keras.layers.Dense.quantize(self, mode, type_check=type_check and not ours, config=config)

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs without the activation; options are ``theory.dense.cost``'s.

        Example:
            >>> Dense(10).cost((1, 64)).macs
            640
        """
        return theory.cost(input_shape, self.units, self.use_bias, **options)
