"""Squeeze and excitation: y[n, h, w, c] = x[n, h, w, c] · gate(W₂ · f(W₁ · mean over h, w))[n, c].

Source: Hu, Shen and Sun, "Squeeze-and-Excitation Networks" (2018), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from torch import Tensor

from lamina import ops
from lamina.layers.data_format import DataFormat, check_channels, from_nchw, nchw_shape, to_nchw
from lamina.theory import squeeze_excite as theory
from lamina.theory.cost import Cost
from lamina.theory.validation import one_of, positive_int

# Keras's words for the functions of `ops`; a leaky slope would have to be said, so it is not here.
_ACTIVATIONS = {
    "relu": "relu",
    "relu6": "relu6",
    "silu": "silu",
    "swish": "silu",
    "gelu": "gelu",
    "sigmoid": "sigmoid",
    "hard_sigmoid": "hardsigmoid",
    "hard_silu": "hardswish",
    "hard_swish": "hardswish",
    "tanh": "tanh",
}


@keras.saving.register_keras_serializable(package="lamina")
class SqueezeExcite(keras.layers.Layer):
    """Weigh each channel by what all channels show on average. Keras has no such layer.

    Args:
        squeeze_channels: size of the bottleneck, at least 1; a quarter of the block's input in
            MobileNetV3 and EfficientNet.
        activation: between the two dense maps, one of Keras's names: ``"relu"``, ``"silu"``, ...
        gate: after them: ``"sigmoid"``, or ``"hard_sigmoid"`` in MobileNetV3.
        data_format: ``"channels_last"`` or ``"channels_first"``; None takes Keras's setting.
        kernel_initializer: of both kernels.
        bias_initializer: of both biases.
        kernel_regularizer: of both kernels.
        **kwargs: ``activity_regularizer``, ``trainable``, ``dtype``, ``name``.

    Shape:
        (N, H, W, C), or (N, C, H, W) with ``data_format="channels_first"``; the output has the
        input's.

    Weights:
        reduce_kernel (1, 1, C, squeeze_channels), reduce_bias (squeeze_channels,), expand_kernel
        (1, 1, squeeze_channels, C), expand_bias (C,): as of two 1×1 convolutions; Glorot uniform
        and zeros.

    Raises:
        ValueError: ``squeeze_channels`` below 1, an unknown activation or gate, an input that is no
            batch of images.
        TypeError: an integer input.

    Cost: ``theory.squeeze_excite.cost``, see `cost`.

    Source: Hu, Shen and Sun (2018), section 3.

    Example:
        >>> layer = SqueezeExcite(4, gate="hard_sigmoid")
        >>> tuple(layer(keras.ops.ones((1, 8, 8, 16))).shape), layer.count_params()
        ((1, 8, 8, 16), 148)
    """

    def __init__(
        self,
        squeeze_channels: int,
        activation: str = "relu",
        gate: str = "sigmoid",
        data_format: DataFormat | None = None,
        kernel_initializer: Any = "glorot_uniform",  # noqa: ANN401
        bias_initializer: Any = "zeros",  # noqa: ANN401
        kernel_regularizer: Any = None,  # noqa: ANN401
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.squeeze_channels = positive_int(squeeze_channels, "squeeze_channels")
        self.activation = one_of(activation, "activation", _ACTIVATIONS)
        self.gate = one_of(gate, "gate", _ACTIVATIONS)
        self.data_format = data_format or keras.config.image_data_format()
        one_of(self.data_format, "data_format", ("channels_last", "channels_first"))
        self.kernel_initializer = keras.initializers.get(kernel_initializer)
        self.bias_initializer = keras.initializers.get(bias_initializer)
        self.kernel_regularizer = keras.regularizers.get(kernel_regularizer)
        self.input_spec = keras.layers.InputSpec(ndim=4)

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the weights for inputs of this shape."""
        channels = check_channels(input_shape, self.data_format)
        axis = -1 if self.data_format == "channels_last" else 1
        self.input_spec = keras.layers.InputSpec(ndim=4, axes={axis: channels})
        self.reduce_kernel, self.reduce_bias = self._add_map(
            "reduce", channels, self.squeeze_channels
        )
        self.expand_kernel, self.expand_bias = self._add_map(
            "expand", self.squeeze_channels, channels
        )

    def _add_map(self, name: str, inputs: int, outputs: int) -> tuple[Any, Any]:
        kernel = self.add_weight(
            name=f"{name}_kernel",
            shape=(1, 1, inputs, outputs),
            initializer=self.kernel_initializer,
            regularizer=self.kernel_regularizer,
        )
        bias = self.add_weight(
            name=f"{name}_bias", shape=(outputs,), initializer=self.bias_initializer
        )
        return kernel, bias

    def call(self, inputs: Tensor) -> Tensor:
        """Average each channel, map the means twice, weigh the channels."""
        outputs = ops.squeeze_excite(
            to_nchw(inputs, self.data_format),
            keras.ops.convert_to_tensor(self.reduce_kernel).permute(3, 2, 0, 1),
            keras.ops.convert_to_tensor(self.reduce_bias),
            keras.ops.convert_to_tensor(self.expand_kernel).permute(3, 2, 0, 1),
            keras.ops.convert_to_tensor(self.expand_bias),
            activation=_ACTIVATIONS[self.activation],
            gate=_ACTIVATIONS[self.gate],
        )
        return from_nchw(outputs, self.data_format)

    def compute_output_shape(self, input_shape: Sequence[int | None]) -> tuple[int | None, ...]:
        """The input's shape."""
        return tuple(input_shape)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "squeeze_channels": self.squeeze_channels,
            "activation": self.activation,
            "gate": self.gate,
            "data_format": self.data_format,
            "kernel_initializer": keras.initializers.serialize(self.kernel_initializer),
            "bias_initializer": keras.initializers.serialize(self.bias_initializer),
            "kernel_regularizer": keras.regularizers.serialize(self.kernel_regularizer),
        }

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs; options are ``theory.squeeze_excite.cost``'s."""
        return theory.cost(
            nchw_shape(input_shape, self.data_format),
            self.squeeze_channels,
            _ACTIVATIONS[self.activation],
            _ACTIVATIONS[self.gate],
            **options,
        )
