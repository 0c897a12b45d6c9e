"""Depthwise convolution: each channel with kernels of its own.

    y[n, i, j, c·M + m] = bias[c·M + m]
                          + sum over u, v of kernel[u, v, c, m] · x[n, i·s+u·d−p, j·s+v·d−p, c]

Source: Howard et al., "MobileNets" (2017), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from torch import Tensor

from lamina import ops
from lamina.layers.data_format import check_channels, from_nchw, nchw_shape, to_nchw
from lamina.theory import depthwise_conv2d as theory
from lamina.theory.cost import Cost


def depthwise_weight(kernel: Tensor) -> Tensor:
    """Keras's kernel (kh, kw, C, M) as `ops` takes it, (C·M, 1, kh, kw)."""
    kernel = keras.ops.convert_to_tensor(kernel)
    height, width, channels, multiplier = kernel.shape
    return kernel.permute(2, 3, 0, 1).reshape(channels * multiplier, 1, height, width)


@keras.saving.register_keras_serializable(package="lamina")
class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
    """Keras's ``DepthwiseConv2D``; the arguments are Keras's.

    Shape:
        Input (N, H, W, C), or (N, C, H, W) with ``data_format="channels_first"``. Output
        (N, H', W', C · depth_multiplier), sizes as for ``Conv2D``.

    Weights:
        kernel (kernel height, kernel width, C, depth_multiplier): Glorot uniform over fans of
        kernel height · kernel width · (C, depth_multiplier) - Keras's fans, C times torch's.
        bias (C · depth_multiplier,): zeros.

    Raises:
        ValueError: what Keras refuses, an input without channels, a kernel larger than the padded
            input.
        TypeError: an integer input.

    Differs from Keras: an empty batch gives an empty output; TensorFlow fails. Strides and
    dilation may be combined and may differ by axis.

    Cost: ``theory.depthwise_conv2d.cost``, see `cost`.

    Source: Keras, ``keras/src/layers/convolutional/depthwise_conv2d.py``.

    Example:
        >>> layer = DepthwiseConv2D(3, strides=(2, 1), padding="same", depth_multiplier=2)
        >>> tuple(layer(keras.ops.ones((1, 8, 8, 3))).shape)
        (1, 4, 8, 6)
    """

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the weights for inputs of this shape."""
        check_channels(input_shape, self.data_format)
        # Not by `super`, which a layer that has become Keras's own, unbuilt, could not follow.
        keras.layers.DepthwiseConv2D.build(self, input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Convolve each channel, add the bias, apply the activation."""
        outputs = ops.depthwise_conv2d(
            to_nchw(inputs, self.data_format),
            depthwise_weight(self.kernel),
            None if self.bias is None else keras.ops.convert_to_tensor(self.bias),
            stride=self.strides,
            padding=self.padding,
            dilation=self.dilation_rate,
        )
        outputs = from_nchw(outputs, self.data_format)
        return outputs if self.activation is None else self.activation(outputs)

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs without the activation; options: ``theory.depthwise_conv2d.cost``'s.

        Example:
            >>> DepthwiseConv2D(3, use_bias=False).cost((1, 10, 10, 3)).macs
            1728
        """
        return theory.cost(
            nchw_shape(input_shape, self.data_format),
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation_rate,
            self.depth_multiplier,
            self.use_bias,
            **options,
        )
