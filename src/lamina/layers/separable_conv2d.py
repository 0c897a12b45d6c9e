"""Separable convolution: a depthwise convolution, then a 1×1 convolution; one bias, at the end.

Source: Chollet, "Xception: Deep Learning with Depthwise Separable Convolutions" (2017), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from torch import Tensor

from lamina import ops
from lamina.layers.data_format import check_channels, from_nchw, nchw_shape, to_nchw
from lamina.layers.depthwise_conv2d import depthwise_weight
from lamina.theory import separable_conv2d as theory
from lamina.theory.cost import Cost


@keras.saving.register_keras_serializable(package="lamina")
class SeparableConv2D(keras.layers.SeparableConv2D):
    """Keras's ``SeparableConv2D``; the arguments are Keras's.

    Stride and dilation act on the depthwise part.

    Shape:
        Input (N, H, W, C), or (N, C, H, W) with ``data_format="channels_first"``. Output
        (N, H', W', filters), sizes as for ``Conv2D``.

    Weights:
        depthwise_kernel (kernel height, kernel width, C, depth_multiplier), pointwise_kernel
        (1, 1, C · depth_multiplier, filters): Glorot uniform. bias (filters,): zeros.

    Raises:
        ValueError: what Keras refuses, an input without channels, a kernel larger than the padded
            input.
        TypeError: an integer input.

    Differs from Keras: an empty batch gives an empty output; TensorFlow fails. Strides and
    dilation may be combined and may differ by axis.

    Cost: ``theory.separable_conv2d.cost``, see `cost`.

    Source: Keras, ``keras/src/layers/convolutional/separable_conv2d.py``.

    Example:
        >>> layer = SeparableConv2D(16, 3, padding="same")
        >>> tuple(layer(keras.ops.ones((1, 8, 8, 3))).shape)
        (1, 8, 8, 16)
    """

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the weights for inputs of this shape."""
        check_channels(input_shape, self.data_format)
        # Not by `super`, which a layer that has become Keras's own, unbuilt, could not follow.
        keras.layers.SeparableConv2D.build(self, input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Convolve each channel, mix them, add the bias, apply the activation."""
        outputs = ops.separable_conv2d(
            to_nchw(inputs, self.data_format),
            depthwise_weight(self.depthwise_kernel),
            keras.ops.convert_to_tensor(self.pointwise_kernel).permute(3, 2, 0, 1),
            None if self.bias is None else keras.ops.convert_to_tensor(self.bias),
            stride=self.strides,
            padding=self.padding,
            dilation=self.dilation_rate,
        )
        outputs = from_nchw(outputs, self.data_format)
        return outputs if self.activation is None else self.activation(outputs)

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs without the activation; options: ``theory.separable_conv2d.cost``'s.

        Example:
            >>> SeparableConv2D(16, 3, use_bias=False).cost((1, 10, 10, 3)).macs
            4800
        """
        return theory.cost(
            nchw_shape(input_shape, self.data_format),
            self.filters,
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation_rate,
            self.depth_multiplier,
            self.use_bias,
            **options,
        )
