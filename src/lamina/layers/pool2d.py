"""Pooling: the maximum or the mean of every window, or of the whole image.

Average pooling divides by the number of real pixels in the window (TensorFlow's rule); maximum
pooling pads with the least value there is, −∞. NaN propagates in both: a window that holds a NaN
yields NaN, where TensorFlow's max pool on a CPU drops it. Integers have maxima, of their own type;
of the means only the global one takes them, to Keras's ``floatx``.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), section 3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import keras
from torch import Tensor

from lamina import ops
from lamina.layers.data_format import from_nchw, nchw_shape, to_nchw
from lamina.theory import pool2d as theory
from lamina.theory.cost import Cost
from lamina.theory.validation import one_of, positive_int, positive_pair


class _WindowPool(keras.layers.Layer):
    """Windows of ``pool_size`` that slide."""

    operation: ClassVar[theory.Operation]
    pool: ClassVar[Callable[..., Any]]
    options: ClassVar[dict[str, bool]] = {}
    padding: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # What Keras would first raise in `call`; and "SAME" is "same".
        positive_pair(self.strides, "strides")
        self.padding = one_of(str(self.padding).lower(), "padding", ("valid", "same"))

    def call(self, inputs: Tensor) -> Tensor:
        """The maximum or mean of every window."""
        images = to_nchw(inputs, self.data_format)
        height, width = images.shape[2:]
        if self.padding == "valid" and (self.pool_size[0] > height or self.pool_size[1] > width):
            raise ValueError(
                f"pool_size must fit the input with padding='valid', got pool_size "
                f"{self.pool_size} and an image of {height}x{width} pixels"
            )
        pooled = self.pool(images, self.pool_size, self.strides, self.padding, **self.options)
        return from_nchw(pooled, self.data_format)

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs; options are ``theory.pool2d.cost``'s."""
        shape = nchw_shape(input_shape, self.data_format)
        window = self.pool_size, self.strides, self.padding
        return theory.cost(shape, *window, operation=self.operation, **options)


class _GlobalPool(keras.layers.Layer):
    """One window over the whole image."""

    operation: ClassVar[theory.Operation]
    pool: ClassVar[Callable[..., Any]]

    def call(self, inputs: Tensor) -> Tensor:
        """The maximum or mean of every channel."""
        if self.operation == "average" and not inputs.is_floating_point():
            inputs = keras.ops.cast(inputs, keras.config.floatx())
        pooled: Tensor = self.pool(to_nchw(inputs, self.data_format), self.keepdims)
        return from_nchw(pooled, self.data_format) if self.keepdims else pooled

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs; options are ``theory.pool2d.global_cost``'s."""
        shape = nchw_shape(input_shape, self.data_format)
        return theory.global_cost(shape, operation=self.operation, **options)


class _AdaptivePool(keras.layers.Layer):
    """As many windows as ``output_size`` asks for, that together cover the image."""

    operation: ClassVar[theory.Operation]
    pool: ClassVar[Callable[..., Any]]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for size in self.output_size:
            positive_int(size, "output_size")

    def call(self, inputs: Tensor) -> Tensor:
        """The maximum or mean of every window."""
        pooled = self.pool(to_nchw(inputs, self.data_format), self.output_size)
        return from_nchw(pooled, self.data_format)

    def cost(self, input_shape: Sequence[int], **options: Any) -> Cost:
        """What one call costs; options are ``theory.pool2d.adaptive_cost``'s."""
        shape = nchw_shape(input_shape, self.data_format)
        return theory.adaptive_cost(shape, self.output_size, operation=self.operation, **options)


@keras.saving.register_keras_serializable(package="lamina")
class MaxPooling2D(_WindowPool, keras.layers.MaxPooling2D):
    """Keras's ``MaxPooling2D``; the arguments are Keras's.

    Shape:
        Input (N, H, W, C), or (N, C, H, W) with ``data_format="channels_first"``. Output
        (N, H', W', C); H' = ceil(H / stride) with ``padding="same"``, else
        H' = floor((H − pool height) / stride) + 1.

    Raises:
        ValueError: what Keras refuses, a stride of 0, an unknown padding, a window larger than the
            input under ``"valid"``.
        TypeError: a boolean input.

    Differs from TensorFlow on a CPU: NaN propagates. Equal maxima: the first takes the gradient.

    Cost: ``theory.pool2d.cost``, see `cost`.

    Source: Keras, ``keras/src/layers/pooling/max_pooling2d.py``.

    Example:
        >>> layer = MaxPooling2D(3, strides=2, padding="same")
        >>> tuple(layer(keras.ops.ones((1, 112, 112, 64))).shape)
        (1, 56, 56, 64)
    """

    operation = "max"
    pool = staticmethod(ops.max_pool2d)


@keras.saving.register_keras_serializable(package="lamina")
class AveragePooling2D(_WindowPool, keras.layers.AveragePooling2D):
    """Keras's ``AveragePooling2D``; the arguments are Keras's.

    Shape: as for ``MaxPooling2D``.

    Raises:
        ValueError: as for ``MaxPooling2D``.
        TypeError: an integer input, which TensorFlow refuses too.

    Differs from Keras's torch backend, which under ``padding="same"`` counts repeated border pixels
    where the padding is uneven: here, as in TensorFlow, padding never counts.

    Cost: ``theory.pool2d.cost``, see `cost`.

    Source: Keras, ``keras/src/layers/pooling/average_pooling2d.py``.

    Example:
        >>> layer = AveragePooling2D(2, padding="same")
        >>> keras.ops.convert_to_numpy(layer(keras.ops.ones((1, 3, 3, 1)))).ravel().tolist()
        [1.0, 1.0, 1.0, 1.0]
    """

    operation = "average"
    pool = staticmethod(ops.avg_pool2d)
    options: ClassVar = {"count_include_pad": False}


@keras.saving.register_keras_serializable(package="lamina")
class GlobalMaxPooling2D(_GlobalPool, keras.layers.GlobalMaxPooling2D):
    """Keras's ``GlobalMaxPooling2D``: (N, C), with ``keepdims=True`` (N, 1, 1, C).

    Equal maxima share the gradient, as in TensorFlow.

    Cost: ``theory.pool2d.global_cost``, see `cost`.

    Source: Keras, ``keras/src/layers/pooling/global_max_pooling2d.py``.

    Example:
        >>> tuple(GlobalMaxPooling2D()(keras.ops.ones((1, 7, 7, 512))).shape)
        (1, 512)
    """

    operation = "max"
    pool = staticmethod(ops.global_max_pool2d)


@keras.saving.register_keras_serializable(package="lamina")
class GlobalAveragePooling2D(_GlobalPool, keras.layers.GlobalAveragePooling2D):
    """Keras's ``GlobalAveragePooling2D``: (N, C), with ``keepdims=True`` (N, 1, 1, C).

    Integers are cast to Keras's ``floatx`` first.

    Cost: ``theory.pool2d.global_cost``, see `cost`.

    Source: Lin, Chen and Yan, "Network In Network" (2013), section 3.2.

    Example:
        >>> tuple(GlobalAveragePooling2D(keepdims=True)(keras.ops.ones((1, 7, 7, 512))).shape)
        (1, 1, 1, 512)
    """

    operation = "average"
    pool = staticmethod(ops.global_avg_pool2d)


@keras.saving.register_keras_serializable(package="lamina")
class AdaptiveMaxPooling2D(_AdaptivePool, keras.layers.AdaptiveMaxPooling2D):
    """Keras's ``AdaptiveMaxPooling2D``: H'×W' windows that together cover the image.

    Window i along an axis runs from floor(i · n / n') to ceil((i + 1) · n / n').

    Shape: (N, H, W, C) to (N, H', W', C) for ``output_size=(H', W')``.

    Raises:
        ValueError: a size below 1.
        TypeError: a boolean input; what Keras refuses.

    Cost: ``theory.pool2d.adaptive_cost``, see `cost`.

    Source: Keras, ``keras/src/layers/pooling/adaptive_max_pooling2d.py``.

    Example:
        >>> tuple(AdaptiveMaxPooling2D((3, 5))(keras.ops.ones((1, 7, 7, 2))).shape)
        (1, 3, 5, 2)
    """

    operation = "max"
    pool = staticmethod(ops.adaptive_max_pool2d)


@keras.saving.register_keras_serializable(package="lamina")
class AdaptiveAveragePooling2D(_AdaptivePool, keras.layers.AdaptiveAveragePooling2D):
    """Keras's ``AdaptiveAveragePooling2D``: windows as for ``AdaptiveMaxPooling2D``.

    Shape: (N, H, W, C) to (N, H', W', C) for ``output_size=(H', W')``.

    Raises:
        ValueError: a size below 1.
        TypeError: an integer input, which TensorFlow refuses too; what Keras refuses.

    Cost: ``theory.pool2d.adaptive_cost``, see `cost`.

    Source: Keras, ``keras/src/layers/pooling/adaptive_average_pooling2d.py``.

    Example:
        >>> tuple(AdaptiveAveragePooling2D(7)(keras.ops.ones((1, 10, 13, 2))).shape)
        (1, 7, 7, 2)
    """

    operation = "average"
    pool = staticmethod(ops.adaptive_avg_pool2d)
