"""Pooling: the largest or the mean of every window; adaptive and global pooling too.

    max:      y[n, c, i, j] = max over p, q of x[n, c, i*stride + p*dilation - top, ...]
    average:  y[n, c, i, j] = sum over p, q of x[n, c, i*stride + p - top, ...] / (Kh * Kw)

A window takes Kh*Kw operations: that many comparisons (the first one with minus infinity), or
Kh*Kw - 1 additions and a division. Backward, a maximum adds one gradient at one place; a mean
divides once and adds at Kh*Kw places.

An adaptive pool has Ho windows of its own making, from floor(i*H/Ho) to ceiling((i+1)*H/Ho): they
overlap where Ho does not divide H. A global pool is one window.

What is kept for backward: nothing for a mean. For a maximum of at most 256 taps the place in the
window, one byte; beyond, and where an adaptive pool's windows differ, the input and an index of
eight bytes, as PyTorch's own operation keeps them. A global maximum keeps the input and itself:
equal maxima share the gradient.

Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), section
II.B (means); Ranzato et al., "Unsupervised Learning of Invariant Feature Hierarchies" (2007),
section 3 (maxima); global: Lin et al., "Network In Network" (2013), section 3.2; adaptive: He et
al., "Spatial Pyramid Pooling" (2014), section 2.2, with PyTorch's rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING, Literal

from lamina.theory.complexity import output_pixels, symbols
from lamina.theory.cost import Cost
from lamina.theory.shapes import (
    Direction,
    ImageShape,
    Padding,
    Pair,
    ResolvedPadding,
    check_direction,
    image_shape,
    resolve_padding,
    window_output_size,
)
from lamina.theory.validation import one_of, positive_int, positive_pair

if TYPE_CHECKING:
    import sympy

Operation = Literal["max", "average"]

AdaptiveSize = int | None | tuple[int | None, int | None]
"""Rows and columns of the output; None keeps the input's."""

_BYTE_INDEX_TAPS = 256
_INDEX_BYTES = 8


def output_shape(
    input_shape: Sequence[int],
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
) -> ImageShape:
    """(N, C, Ho, Wo).

    Args:
        input_shape: (N, C, H, W).
        kernel_size: taps, (height, width) or one number.
        stride: pixels from one window to the next; None is the kernel's size.
        padding: pixels on each side, at most half the kernel, or ``"same"`` or ``"valid"``.
        dilation: pixels from one tap to the next.
        ceil_mode: whether a last window may hang over the end.

    Raises:
        ValueError: an argument out of its range, or no window fits.

    Example:
        >>> output_shape((8, 64, 112, 112), kernel_size=3, stride=2, padding=1)
        (8, 64, 56, 56)
    """
    batch, channels, height, width = image_shape(input_shape)
    kernel_size = positive_pair(kernel_size, "kernel_size")
    stride = kernel_size if stride is None else positive_pair(stride, "stride")
    dilation = positive_pair(dilation, "dilation")
    sides = resolve_padding(padding, (height, width), kernel_size, stride, dilation)
    check_pool_padding(sides, kernel_size, dilation)
    rows, columns = window_output_size(
        (height, width), kernel_size, stride, sides, dilation, ceil_mode
    )
    return batch, channels, rows, columns


def check_pool_padding(
    padding: ResolvedPadding, kernel_size: Pair, dilation: Pair = (1, 1)
) -> None:
    """No window may lie in the padding alone: a side is at most half of what a window covers.

    Raises:
        ValueError: a side is too wide.

    Example:
        >>> check_pool_padding(((2, 2), (0, 0)), (3, 3))
        Traceback (most recent call last):
        ValueError: padding must be at most half of the window, which covers 3 pixels of the \
height, got (2, 2)
    """
    axes = zip(("height", "width"), padding, kernel_size, dilation, strict=True)
    for axis, sides, taps, spacing in axes:
        extent = spacing * (taps - 1) + 1
        if max(sides) > extent // 2:
            raise ValueError(
                f"padding must be at most half of the window, which covers {extent} pixels of the "
                f"{axis}, got {sides}"
            )


def adaptive_output_shape(input_shape: Sequence[int], output_size: AdaptiveSize) -> ImageShape:
    """(N, C, Ho, Wo) with the size asked for.

    Args:
        input_shape: (N, C, H, W).
        output_size: rows and columns, or one number for both; None keeps the input's.

    Raises:
        ValueError: a size that is not positive.

    Example:
        >>> adaptive_output_shape((8, 512, 10, 13), (7, None))
        (8, 512, 7, 13)
    """
    batch, channels, height, width = image_shape(input_shape)
    sizes = output_size if isinstance(output_size, tuple | list) else (output_size, output_size)
    if len(sizes) != 2:
        raise ValueError(f"output_size must be a size or (height, width), got {output_size!r}")
    rows, columns = (
        size if wanted is None else positive_int(wanted, "output_size")
        for wanted, size in zip(sizes, (height, width), strict=True)
    )
    return batch, channels, rows, columns


def global_output_shape(input_shape: Sequence[int], keepdims: bool = True) -> tuple[int, ...]:
    """(N, C, 1, 1), or (N, C) without ``keepdims``.

    Example:
        >>> global_output_shape((8, 512, 7, 7), keepdims=False)
        (8, 512)
    """
    batch, channels, _, _ = image_shape(input_shape)
    return (batch, channels, 1, 1) if keepdims else (batch, channels)


def cost(
    input_shape: Sequence[int],
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
    *,
    operation: Operation,
    direction: Direction = "forward",
    itemsize: int = 4,
) -> Cost:
    """A window's taps per output element; windows at the border count whole.

    Args:
        input_shape: (N, C, H, W).
        kernel_size: as for ``output_shape``, like the next four.
        stride: pixels.
        padding: pixels or a rule.
        dilation: pixels.
        ceil_mode: whether a last window may hang over the end.
        operation: ``"max"`` or ``"average"``.
        direction: the forward or the backward pass.
        itemsize: bytes of an element.

    Raises:
        ValueError: as ``output_shape``, or another operation or direction.

    Example:
        >>> cost((1, 16, 32, 32), 2, operation="max").other_flops
        16384
        >>> cost((1, 16, 32, 32), 2, operation="max").saved_bytes
        4096
    """
    windows = prod(output_shape(input_shape, kernel_size, stride, padding, dilation, ceil_mode))
    taps = prod(positive_pair(kernel_size, "kernel_size"))
    byte_index = taps <= _BYTE_INDEX_TAPS
    return _cost(input_shape, windows, windows * taps, operation, direction, itemsize, byte_index)


def adaptive_cost(
    input_shape: Sequence[int],
    output_size: AdaptiveSize,
    *,
    operation: Operation,
    direction: Direction = "forward",
    itemsize: int = 4,
) -> Cost:
    """The taps of all windows, counted one by one.

    Args:
        input_shape: (N, C, H, W).
        output_size: as for ``adaptive_output_shape``.
        operation: ``"max"`` or ``"average"``.
        direction: the forward or the backward pass.
        itemsize: bytes of an element.

    Raises:
        ValueError: as ``adaptive_output_shape``, or another operation or direction.

    Example:
        >>> adaptive_cost((1, 1, 5, 4), (2, 2), operation="average").other_flops
        24
    """
    shape = adaptive_output_shape(input_shape, output_size)
    rows, columns = (
        sum(-(-(i + 1) * size // count) - i * size // count for i in range(count))
        for size, count in zip(input_shape[2:], shape[2:], strict=True)
    )
    taps = shape[0] * shape[1] * rows * columns
    alike = input_shape[2] % shape[2] == 0 and input_shape[3] % shape[3] == 0
    byte_index = alike and taps <= _BYTE_INDEX_TAPS * prod(shape)
    return _cost(input_shape, prod(shape), taps, operation, direction, itemsize, byte_index)


def global_cost(
    input_shape: Sequence[int],
    *,
    operation: Operation,
    direction: Direction = "forward",
    itemsize: int = 4,
) -> Cost:
    """One window over the whole image.

    Args:
        input_shape: (N, C, H, W).
        operation: ``"max"`` or ``"average"``.
        direction: the forward or the backward pass.
        itemsize: bytes of an element.

    Raises:
        ValueError: another rank, operation or direction.

    Example:
        >>> global_cost((1, 512, 7, 7), operation="average").other_flops == 512 * 49
        True
    """
    result = adaptive_cost(
        input_shape, 1, operation=operation, direction=direction, itemsize=itemsize
    )
    if operation == "average":
        return result
    inputs, windows = prod(input_shape), input_shape[0] * input_shape[1]
    if direction == "forward":
        return replace(result, saved_bytes=itemsize * (inputs + windows))
    # Who equals the maximum is counted, the gradient divided among them.
    return Cost(
        other_flops=2 * inputs + windows,
        bytes_read=itemsize * (inputs + 2 * windows),
        bytes_written=itemsize * inputs,
    )


def _cost(
    input_shape: Sequence[int],
    windows: int,
    taps: int,
    operation: Operation,
    direction: Direction,
    itemsize: int,
    byte_index: bool,
) -> Cost:
    """The cost of ``windows`` windows that have ``taps`` taps in all."""
    check_direction(direction)
    is_max = one_of(operation, "operation", ("max", "average")) == "max"
    inputs = prod(input_shape)
    kept = 0
    if is_max:
        kept = windows if byte_index else _INDEX_BYTES * windows + itemsize * inputs
    if direction == "forward":
        return Cost(
            other_flops=taps,
            bytes_read=itemsize * inputs,
            bytes_written=itemsize * windows,
            saved_bytes=kept,
        )
    index = (1 if byte_index else _INDEX_BYTES) * windows if is_max else 0
    return Cost(
        other_flops=windows if is_max else windows + taps,
        bytes_read=itemsize * windows + index,
        bytes_written=itemsize * inputs,
    )


def complexity() -> sympy.Expr:
    """FLOPs of the forward pass, square window, ``"same"`` padding; for a maximum or a mean.

    Example:
        >>> complexity()
        C*K**2*N*ceiling(H/stride)*ceiling(W/stride)
    """
    s = symbols()
    return s.N * s.C * output_pixels() * s.K**2
