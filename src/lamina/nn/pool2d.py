"""Pooling: the maximum or the mean of every window.

    maximum: y[n, c, i, j] = max over u, v of x[n, c, i·s + u·d − p, j·s + v·d − p], −∞ outside
    mean:    y[n, c, i, j] = (sum over the same of x, 0 outside) / divisor

Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), section II;
Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from lamina import ops
from lamina.theory import pool2d as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, ImageShape, Padding, Pair, canonical_padding
from lamina.theory.validation import positive_int, positive_pair

if TYPE_CHECKING:
    from jaxtyping import Float


class _WindowPool(torch.nn.Module):
    """Shape and cost of windows that slide."""

    operation: ClassVar[theory.Operation]
    kernel_size: Any
    stride: Any
    padding: Any
    dilation: Any = 1
    ceil_mode: bool

    def output_shape(self, input_shape: Sequence[int]) -> ImageShape:
        """(N, C, H', W') for an input of (N, C, H, W)."""
        return theory.output_shape(input_shape, *self._window)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Operations and bytes of one call; or of its backward pass."""
        return theory.cost(
            input_shape, *self._window, operation=self.operation, direction=direction
        )

    @property
    def _window(self) -> tuple[Any, Any, Any, Any, bool]:
        return self.kernel_size, self.stride, self.padding, self.dilation, self.ceil_mode


class MaxPool2d(_WindowPool, torch.nn.MaxPool2d):
    """The largest value of every window; ``torch.nn.MaxPool2d``, and TensorFlow's padding.

    Args:
        kernel_size: window in pixels, (height, width) or one number, at least 1.
        stride: pixels from one window to the next, at least 1; None takes ``kernel_size``.
        padding: pixels of −∞, at most half of what a window covers: one number, (height, width),
            ((top, bottom), (left, right)), ``"same"`` (TensorFlow's rule) or ``"valid"``.
        dilation: pixels from one tap to the next, at least 1.
        return_indices: also return where the maximum was: row · W + column, int64.
        ceil_mode: keep a last window that hangs over the end.

    Shape:
        (N, C, H, W) to (N, C, H', W'), or the same without N, with H' = floor((H + top + bottom
        − dilation · (kernel height − 1) − 1) / stride) + 1, or ceil with ``ceil_mode``.

    Parameters:
        None.

    Cost:
        kernel height · kernel width comparisons per output: ``theory.pool2d.cost``.

    Numerics:
        Exact. NaN wins, where TensorFlow drops it. The gradient goes to the first maximum.

    Raises:
        ValueError: in the constructor, an argument out of its range; in a call, another rank, or a
            window larger than the padded image.
        TypeError: a boolean or complex image.

    Differs from:
        Keras's MaxPooling2D, which has neither dilation, ceil_mode nor indices.

    Source:
        ``torch.nn.MaxPool2d`` in all that it has.

    Example:
        >>> MaxPool2d(3, stride=2, padding="same")(torch.zeros(1, 8, 7, 6)).shape
        torch.Size([1, 8, 4, 3])
    """

    operation = "max"

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: Padding = 0,
        dilation: int | Pair = 1,
        return_indices: bool = False,
        ceil_mode: bool = False,
    ) -> None:
        _check_window(kernel_size, stride, padding, dilation)
        super().__init__(kernel_size, stride, 0, dilation, return_indices, ceil_mode)
        self.padding = padding

    def forward(
        self, input: Float[Tensor, "*N C H W"]
    ) -> Float[Tensor, "*N C Ho Wo"] | tuple[Tensor, Tensor]:
        """The maximum of every window; with ``return_indices`` also where it was."""
        return ops.max_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.ceil_mode,
            self.return_indices,
        )

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding!r}, "
            f"dilation={self.dilation}, return_indices={self.return_indices}, "
            f"ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(_WindowPool, torch.nn.AvgPool2d):
    """The mean of every window; ``torch.nn.AvgPool2d``, and TensorFlow's padding.

    Args:
        kernel_size: window in pixels, (height, width) or one number, at least 1.
        stride: pixels from one window to the next, at least 1; None takes ``kernel_size``.
        padding: pixels of zeros, at most half of the window; the forms of ``MaxPool2d``.
        ceil_mode: keep a last window that hangs over the end.
        count_include_pad: divide by the window's size within the padded image; False divides by
            the number of real pixels, as TensorFlow does.
        divisor_override: divide by this number in the place of either, at least 1.

    Shape:
        As ``MaxPool2d`` with dilation 1.

    Parameters:
        None.

    Cost:
        kernel height · kernel width additions per output: ``theory.pool2d.cost``.

    Numerics:
        The sum, then one division. Linear, so that double backward is exact.

    Raises:
        ValueError: in the constructor, an argument out of its range; in a call, another rank, or a
            window larger than the padded image.
        TypeError: an integer image.

    Differs from:
        Keras's AveragePooling2D excludes the padding: ``count_include_pad=False``.

    Source:
        ``torch.nn.AvgPool2d`` in all that it has.

    Example:
        >>> AvgPool2d(2, padding="same", count_include_pad=False)(torch.ones(1, 3, 3))
        tensor([[[1., 1.],
                 [1., 1.]]])
    """

    operation = "average"

    def __init__(
        self,
        kernel_size: int | Pair,
        stride: int | Pair | None = None,
        padding: Padding = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        _check_window(kernel_size, stride, padding, 1)
        if divisor_override is not None:
            positive_int(divisor_override, "divisor_override")
        super().__init__(kernel_size, stride, 0, ceil_mode, count_include_pad, divisor_override)
        self.padding = padding

    def forward(self, input: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N C Ho Wo"]:
        """The mean of every window."""
        return ops.avg_pool2d(
            input,
            self.kernel_size,
            self.stride,
            self.padding,
            self.ceil_mode,
            self.count_include_pad,
            self.divisor_override,
        )

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding!r}, "
            f"ceil_mode={self.ceil_mode}, count_include_pad={self.count_include_pad}, "
            f"divisor_override={self.divisor_override}"
        )


def _check_window(
    kernel_size: int | Pair, stride: int | Pair | None, padding: Padding, dilation: int | Pair
) -> None:
    window = positive_pair(kernel_size, "kernel_size")
    if stride is not None:
        positive_pair(stride, "stride")
    spacing = positive_pair(dilation, "dilation")
    sides = canonical_padding(padding)
    if not isinstance(sides, str):
        theory.check_pool_padding(sides, window, spacing)
