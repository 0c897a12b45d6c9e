"""Convolution: windows of the image, each multiplied by a bank of kernels.

    y[n, i, j, o] = bias[o] + sum over u, v, c of kernel[u, v, c, o] · x[n, i·s+u·d−p, j·s+v·d−p, c]

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
from torch import Tensor

from lamina import ops
from lamina.layers.data_format import check_channels, from_nchw, nchw_shape, to_nchw
from lamina.ops.tuning.choice import check as check_algorithm
from lamina.theory import conv2d as theory
from lamina.theory.cost import Cost


@keras.saving.register_keras_serializable(package="lamina")
class Conv2D(keras.layers.Conv2D):
    """Keras's ``Conv2D``; the arguments are Keras's, and one more.

    Args:
        *args: Keras's.
        algorithm: by name alone, as for ``ops.conv2d``: ``"auto"``, ``"direct"``, ``"im2col"``,
            ``"winograd"``, ``"fft"`` or ``"onednn"``; in the configuration where not "auto".
        **kwargs: Keras's.

    Shape:
        Input (N, H, W, C), or (N, C, H, W) with ``data_format="channels_first"``. Output
        (N, H', W', filters); H' = ceil(H / stride) with ``padding="same"``, else
        H' = floor((H − dilation · (kernel height − 1) − 1) / stride) + 1.

    Weights:
        kernel (kernel height, kernel width, C / groups, filters): Glorot uniform, ±√(6 / (fan_in +
        fan_out)) with fans of kernel height · kernel width · (C / groups, filters).
        bias (filters,): zeros.

    Raises:
        ValueError: what Keras refuses (``filters``, ``kernel_size``, ``strides``, ``groups`` out of
            range, ``strides`` and ``dilation_rate`` both above 1), an algorithm of another name or
            one that does not serve such windows, an input without channels, a kernel larger than
            the padded input.
        TypeError: an integer input.

    Differs from Keras: an empty batch gives an empty output; TensorFlow fails.

    Cost: ``theory.conv2d.cost``, see `cost`.

    Source: Keras, ``keras/src/layers/convolutional/conv2d.py``.

    Example:
        >>> layer = Conv2D(32, 3, strides=2, padding="same", activation="relu")
        >>> tuple(layer(keras.ops.ones((1, 224, 224, 3))).shape)
        (1, 112, 112, 32)
    """

    algorithm = "auto"  # of a layer that was made as Keras's, too

    def __init__(self, *args: Any, algorithm: str = "auto", **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_algorithm(algorithm, self.kernel_size, self.strides, self.dilation_rate, self.groups)
        self.algorithm = algorithm

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        return config if self.algorithm == "auto" else {**config, "algorithm": self.algorithm}

    def build(self, input_shape: Sequence[int | None]) -> None:
        """Create the weights for inputs of this shape."""
        check_channels(input_shape, self.data_format)
        # Not by `super`, which a layer that has become Keras's own, unbuilt, could not follow.
        keras.layers.Conv2D.build(self, input_shape)

    def call(self, inputs: Tensor) -> Tensor:
        """Convolve, add the bias, apply the activation."""
        if type(self).convolution_op is not Conv2D.convolution_op:
            # Keras lets a subclass replace the convolution alone: then its `call` is the one.
            convolved: Tensor = super().call(inputs)
            return convolved
        outputs = self._convolve(inputs, self.kernel, self.bias)
        return outputs if self.activation is None else self.activation(outputs)

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """The convolution alone, without bias and activation: for subclasses to override."""
        return self._convolve(inputs, kernel, None)

    def _convolve(self, inputs: Tensor, kernel: Tensor, bias: Tensor | None) -> Tensor:
        outputs = ops.conv2d(
            to_nchw(inputs, self.data_format),
            keras.ops.convert_to_tensor(kernel).permute(3, 2, 0, 1),
            None if bias is None else keras.ops.convert_to_tensor(bias),
            stride=self.strides,
            padding=self.padding,
            dilation=self.dilation_rate,
            groups=self.groups,
            algorithm=self.algorithm,
        )
        return from_nchw(outputs, self.data_format)

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs without the activation; options are ``theory.conv2d.cost``'s.

        Example:
            >>> Conv2D(32, 3, use_bias=False).cost((1, 10, 10, 3)).macs
            55296
        """
        return theory.cost(
            nchw_shape(input_shape, self.data_format),
            self.filters,
            self.kernel_size,
            self.strides,
            self.padding,
            self.dilation_rate,
            self.groups,
            self.use_bias,
            **options,
        )


@keras.saving.register_keras_serializable(package="lamina")
class PointwiseConv2D(Conv2D):
    """A 1×1 ``Conv2D`` by its name: each pixel's channels mixed, no neighbour seen.

    Args:
        filters: output channels, at least 1.
        strides: pixels from one output to the next, one number or (height, width).
        **kwargs: as for ``Conv2D``, without ``kernel_size``, ``padding`` and ``dilation_rate``, of
            which a single tap has no use.

    Shape, weights, errors and cost: as for ``Conv2D`` with ``kernel_size=1``.

    Source: Howard et al., "MobileNets" (2017), section 3.1.

    Example:
        >>> layer = PointwiseConv2D(16)
        >>> tuple(layer(keras.ops.ones((1, 8, 8, 3))).shape)
        (1, 8, 8, 16)
    """

    def __init__(
        self, filters: int, strides: int | tuple[int, int] = (1, 1), **kwargs: Any
    ) -> None:
        for name in ("kernel_size", "padding", "dilation_rate"):
            if name in kwargs:
                raise TypeError(f"PointwiseConv2D takes no {name}: it has a single tap")
        super().__init__(filters, kernel_size=1, strides=strides, **kwargs)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        config: dict[str, Any] = super().get_config()
        for name in ("kernel_size", "padding", "dilation_rate"):
            del config[name]
        return config
