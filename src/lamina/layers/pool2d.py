"""Pooling: the maximum or the mean of every window, or of the whole image.

Average pooling divides by the number of real pixels in the window (TensorFlow's rule); maximum
pooling pads with −∞. NaN propagates in both: a window that holds a NaN yields NaN, where
TensorFlow's max pool on a CPU drops it.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import keras
from torch import Tensor

from lamina import ops
from lamina.layers.data_format import DataFormat, from_nchw, nchw_shape, to_nchw
from lamina.theory import pool2d as theory
from lamina.theory.cost import Cost
from lamina.theory.validation import one_of, positive_int, positive_pair


def _check_window(layer: MaxPooling2D | AveragePooling2D) -> None:
    """Raise in the constructor what Keras would first raise in `call`; "SAME" becomes "same"."""
    positive_pair(layer.strides, "strides")
    layer.padding = one_of(str(layer.padding).lower(), "padding", ("valid", "same"))


@keras.saving.register_keras_serializable(package="lamina")
class MaxPooling2D(keras.layers.MaxPooling2D):
    """Keras's ``MaxPooling2D``; the arguments are Keras's.

    Shape:
        Input (N, H, W, C), or (N, C, H, W) with ``data_format="channels_first"``. Output
        (N, H', W', C); H' = ceil(H / stride) with ``padding="same"``, else
        H' = floor((H − pool height) / stride) + 1.

    Raises:
        ValueError: what Keras refuses, a stride of 0, an unknown padding, a window larger than the
            input under ``"valid"``.
        TypeError: an integer input.

    Differs from TensorFlow on a CPU: NaN propagates. Equal maxima: the first takes the gradient.

    Cost: ``theory.pool2d.cost``, see `cost`.

    Source: Keras, ``keras/src/layers/pooling/max_pooling2d.py``.

    Example:
        >>> layer = MaxPooling2D(3, strides=2, padding="same")
        >>> tuple(layer(keras.ops.ones((1, 112, 112, 64))).shape)
        (1, 56, 56, 64)
    """

    def __init__(
        self,
        pool_size: int | tuple[int, int] = (2, 2),
        strides: int | tuple[int, int] | None = None,
        padding: str = "valid",
        data_format: DataFormat | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)
        _check_window(self)

    def call(self, inputs: Tensor) -> Tensor:
        """The largest value of every window."""
        images = to_nchw(inputs, self.data_format)
        pooled = ops.max_pool2d(images, self.pool_size, self.strides, self.padding)
        return from_nchw(cast(Tensor, pooled), self.data_format)

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs; options are ``theory.pool2d.cost``'s."""
        shape = nchw_shape(input_shape, self.data_format)
        return theory.cost(
            shape, self.pool_size, self.strides, self.padding, operation="max", **options
        )


@keras.saving.register_keras_serializable(package="lamina")
class AveragePooling2D(keras.layers.AveragePooling2D):
    """Keras's ``AveragePooling2D``; the arguments are Keras's.

    Shape: as for ``MaxPooling2D``.

    Raises: as for ``MaxPooling2D``.

    Differs from Keras's torch backend, which under ``padding="same"`` counts repeated border pixels
    where the padding is uneven: here, as in TensorFlow, padding never counts.

    Cost: ``theory.pool2d.cost``, see `cost`.

    Source: Keras, ``keras/src/layers/pooling/average_pooling2d.py``.

    Example:
        >>> layer = AveragePooling2D(2, padding="same")
        >>> keras.ops.convert_to_numpy(layer(keras.ops.ones((1, 3, 3, 1)))).ravel().tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    def __init__(
        self,
        pool_size: int | tuple[int, int],
        strides: int | tuple[int, int] | None = None,
        padding: str = "valid",
        data_format: DataFormat | None = None,
        name: str | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(pool_size, strides, padding, data_format, name, **kwargs)
        _check_window(self)

    def call(self, inputs: Tensor) -> Tensor:
        """The mean of every window's real pixels."""
        images = to_nchw(inputs, self.data_format)
        pooled = ops.avg_pool2d(
            images, self.pool_size, self.strides, self.padding, count_include_pad=False
        )
        return from_nchw(pooled, self.data_format)

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs; options are ``theory.pool2d.cost``'s."""
        shape = nchw_shape(input_shape, self.data_format)
        return theory.cost(
            shape, self.pool_size, self.strides, self.padding, operation="average", **options
        )


@keras.saving.register_keras_serializable(package="lamina")
class GlobalMaxPooling2D(keras.layers.GlobalMaxPooling2D):
    """Keras's ``GlobalMaxPooling2D``: (N, C), with ``keepdims=True`` (N, 1, 1, C).

    Equal maxima share the gradient, as in TensorFlow.

    Raises:
        TypeError: an integer input.

    Cost: ``theory.pool2d.global_cost``, see `cost`.

    Source: Keras, ``keras/src/layers/pooling/global_max_pooling2d.py``.

    Example:
        >>> tuple(GlobalMaxPooling2D()(keras.ops.ones((1, 7, 7, 512))).shape)
        (1, 512)
    """

    def call(self, inputs: Tensor) -> Tensor:
        """The largest value of every channel."""
        pooled = ops.global_max_pool2d(to_nchw(inputs, self.data_format), self.keepdims)
        return from_nchw(pooled, self.data_format) if self.keepdims else pooled

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs; options are ``theory.pool2d.global_cost``'s."""
        shape = nchw_shape(input_shape, self.data_format)
        return theory.global_cost(shape, operation="max", **options)


@keras.saving.register_keras_serializable(package="lamina")
class GlobalAveragePooling2D(keras.layers.GlobalAveragePooling2D):
    """Keras's ``GlobalAveragePooling2D``: (N, C), with ``keepdims=True`` (N, 1, 1, C).

    Raises:
        TypeError: an integer input.

    Cost: ``theory.pool2d.global_cost``, see `cost`.

    Source: Lin, Chen and Yan, "Network In Network" (2013), section 3.2.

    Example:
        >>> tuple(GlobalAveragePooling2D(keepdims=True)(keras.ops.ones((1, 7, 7, 512))).shape)
        (1, 1, 1, 512)
    """

    def call(self, inputs: Tensor) -> Tensor:
        """The mean of every channel."""
        pooled = ops.global_avg_pool2d(to_nchw(inputs, self.data_format), self.keepdims)
        return from_nchw(pooled, self.data_format) if self.keepdims else pooled

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs; options are ``theory.pool2d.global_cost``'s."""
        shape = nchw_shape(input_shape, self.data_format)
        return theory.global_cost(shape, operation="average", **options)


@keras.saving.register_keras_serializable(package="lamina")
class AdaptiveMaxPooling2D(keras.layers.AdaptiveMaxPooling2D):
    """Keras's ``AdaptiveMaxPooling2D``: H'×W' windows that together cover the image.

    Window i along an axis runs from floor(i · n / n') to ceil((i + 1) · n / n').

    Shape: (N, H, W, C) to (N, H', W', C) for ``output_size=(H', W')``.

    Raises:
        ValueError: a size below 1.
        TypeError: an integer input; what Keras refuses.

    Cost: ``theory.pool2d.adaptive_cost``, see `cost`.

    Source: Keras, ``keras/src/layers/pooling/adaptive_max_pooling2d.py``.

    Example:
        >>> tuple(AdaptiveMaxPooling2D((3, 5))(keras.ops.ones((1, 7, 7, 2))).shape)
        (1, 3, 5, 2)
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        data_format: DataFormat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_size, data_format, **kwargs)
        for size in self.output_size:
            positive_int(size, "output_size")

    def call(self, inputs: Tensor) -> Tensor:
        """The largest value of every window."""
        pooled = ops.adaptive_max_pool2d(to_nchw(inputs, self.data_format), self.output_size)
        return from_nchw(cast(Tensor, pooled), self.data_format)

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs; options are ``theory.pool2d.adaptive_cost``'s."""
        shape = nchw_shape(input_shape, self.data_format)
        return theory.adaptive_cost(shape, self.output_size, operation="max", **options)


@keras.saving.register_keras_serializable(package="lamina")
class AdaptiveAveragePooling2D(keras.layers.AdaptiveAveragePooling2D):
    """Keras's ``AdaptiveAveragePooling2D``: windows as for ``AdaptiveMaxPooling2D``.

    Shape: (N, H, W, C) to (N, H', W', C) for ``output_size=(H', W')``.

    Raises:
        ValueError: a size below 1.
        TypeError: an integer input; what Keras refuses.

    Cost: ``theory.pool2d.adaptive_cost``, see `cost`.

    Source: Keras, ``keras/src/layers/pooling/adaptive_average_pooling2d.py``.

    Example:
        >>> tuple(AdaptiveAveragePooling2D(7)(keras.ops.ones((1, 10, 13, 2))).shape)
        (1, 7, 7, 2)
    """

    def __init__(
        self,
        output_size: int | tuple[int, int],
        data_format: DataFormat | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(output_size, data_format, **kwargs)
        for size in self.output_size:
            positive_int(size, "output_size")

    def call(self, inputs: Tensor) -> Tensor:
        """The mean of every window."""
        pooled = ops.adaptive_avg_pool2d(to_nchw(inputs, self.data_format), self.output_size)
        return from_nchw(pooled, self.data_format)

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs; options are ``theory.pool2d.adaptive_cost``'s."""
        shape = nchw_shape(input_shape, self.data_format)
        return theory.adaptive_cost(shape, self.output_size, operation="average", **options)
