"""Depthwise separable convolution: a depthwise one, then a pointwise one that mixes channels.

    t = depthwise(x; stride, padding, dilation)          N, C*D, Ho, Wo     no bias
    y[n, m, i, j] = b[m] + sum over c of v[m, c] * t[n, c, i, j]

    MACs = N * Ho * Wo * C*D * (Kh*Kw + M)

Beside a full convolution's N * Ho * Wo * C * M * Kh*Kw, with D = 1, that is the share
1/M + 1/(Kh*Kw): about a ninth for 3 x 3 and many channels. It can express exactly those kernels
whose matrix (M, Kh*Kw) of every input channel has rank D.

Source: Howard et al., "MobileNets" (2017), section 3.1; Chollet, "Xception" (2017), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from lamina.theory import conv2d, depthwise_conv2d
from lamina.theory.complexity import output_pixels, symbols
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, ImageShape, Padding, Pair

if TYPE_CHECKING:
    import sympy


def output_shape(
    input_shape: Sequence[int],
    out_channels: int,
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    depth_multiplier: int = 1,
) -> ImageShape:
    """(N, out_channels, Ho, Wo).

    Args:
        input_shape: (N, C, H, W).
        out_channels: filters M of the pointwise part.
        kernel_size: taps of the depthwise part, (height, width) or one number.
        stride: pixels from one window to the next.
        padding: pixels of zeros, or ``"same"`` (TensorFlow's rule) or ``"valid"``.
        dilation: pixels from one tap to the next.
        depth_multiplier: channels of the middle tensor for each input channel.

    Raises:
        ValueError: an argument out of its range, or no window fits.

    Example:
        >>> output_shape((1, 16, 16, 16), 32, kernel_size=3, padding="same")
        (1, 32, 16, 16)
    """
    middle = depthwise_conv2d.output_shape(
        input_shape, kernel_size, stride, padding, dilation, depth_multiplier
    )
    return conv2d.output_shape(middle, out_channels, kernel_size=1)


def cost(
    input_shape: Sequence[int],
    out_channels: int,
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    depth_multiplier: int = 1,
    bias: bool = True,
    *,
    keep_middle: bool = True,
    direction: Direction = "forward",
    input_gradient: bool = True,
    itemsize: int = 4,
) -> Cost:
    """The two parts together.

    Args:
        input_shape: (N, C, H, W).
        out_channels: as for ``output_shape``, like the next five.
        kernel_size: taps.
        stride: pixels.
        padding: pixels or a rule.
        dilation: pixels.
        depth_multiplier: channels of the middle tensor for each input channel.
        bias: one number per output channel, after the pointwise part.
        keep_middle: True where the two parts run one after the other: the middle tensor goes to
            memory, comes back, and is kept for backward. False where they are fused tile by tile:
            it stays in cache, and the backward pass does the depthwise part again.
        direction: the forward or the backward pass.
        input_gradient: False for a first layer, whose input needs no gradient.
        itemsize: bytes of an element.

    Raises:
        ValueError: as ``output_shape``, or another direction.

    Example:
        >>> full = conv2d.cost((1, 64, 56, 56), 128, 3, padding=1, bias=False)
        >>> separable = cost((1, 64, 56, 56), 128, 3, padding=1, bias=False)
        >>> round(separable.macs / full.macs, 4) == round(1 / 128 + 1 / 9, 4)
        True
    """
    window = (kernel_size, stride, padding, dilation, depth_multiplier)
    middle = depthwise_conv2d.output_shape(input_shape, *window)
    depthwise = depthwise_conv2d.cost(
        input_shape,
        *window,
        bias=False,
        direction=direction,
        input_gradient=input_gradient,
        itemsize=itemsize,
    )
    pointwise = conv2d.cost(
        middle, out_channels, 1, bias=bias, direction=direction, itemsize=itemsize
    )
    total = depthwise + pointwise
    if keep_middle:
        return total
    middle_bytes = itemsize * prod(middle)
    if direction == "forward":
        return total + Cost(
            bytes_read=-middle_bytes, bytes_written=-middle_bytes, saved_bytes=-middle_bytes
        )
    # Backward reads the middle (pointwise weight gradient) and its gradient (depthwise part) and
    # writes that gradient: none of the three leaves the cache, and the middle is made again.
    repeated = depthwise_conv2d.cost(input_shape, *window, bias=False).macs
    return total + Cost(macs=repeated, bytes_read=-2 * middle_bytes, bytes_written=-middle_bytes)


def block_cost(
    input_shape: Sequence[int],
    middle_channels: int,
    out_channels: int,
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    *,
    expanded_channels: int | None = None,
    operations: tuple[int, int, int] = (0, 0, 0),
    shortcut: bool = False,
    itemsize: int = 4,
) -> Cost:
    """[Expand,] depthwise, project [, add the input], made tile by tile in inference.

    Neither the expanded tensor nor the depthwise result goes to memory.

    Args:
        input_shape: (N, C, H, W).
        middle_channels: of the depthwise result.
        out_channels: of the projection.
        kernel_size: taps of the depthwise part.
        stride: pixels.
        padding: pixels or a rule.
        dilation: pixels.
        expanded_channels: of the pointwise convolution in front; None for none.
        operations: for each element of the three results, such as a scale, a shift, an activation.
        shortcut: whether the input is added.
        itemsize: bytes of an element.

    Raises:
        ValueError: as ``output_shape``.

    Example:
        >>> block_cost((1, 16, 8, 8), 16, 32, 3, padding=1).macs
        41984
        >>> cost((1, 16, 8, 8), 32, 3, padding=1, bias=False).macs
        41984
    """
    images, channels, rows, columns = input_shape
    expanded = (images, expanded_channels or channels, rows, columns)
    multiplier = middle_channels // expanded[1]
    window = (kernel_size, stride, padding, dilation)
    middle = depthwise_conv2d.output_shape(expanded, *window, multiplier)
    parts = [
        depthwise_conv2d.cost(expanded, *window, multiplier, bias=False, itemsize=itemsize),
        conv2d.cost(middle, out_channels, 1, bias=False, itemsize=itemsize),
    ]
    if expanded_channels is not None:
        parts.append(conv2d.cost(input_shape, expanded_channels, 1, bias=False, itemsize=itemsize))
    weights = sum(part.parameters for part in parts)
    inputs, outputs = prod(input_shape), images * out_channels * prod(middle[2:])
    elements = (prod(expanded) if expanded_channels is not None else 0, prod(middle), outputs)
    finishing = sum(count * each for count, each in zip(elements, operations, strict=True))
    return Cost(
        parameters=weights,
        macs=sum(part.macs for part in parts),
        other_flops=finishing + (outputs if shortcut else 0),
        bytes_read=itemsize * (inputs + weights),
        bytes_written=itemsize * outputs,
    )


def complexity() -> sympy.Expr:
    """FLOPs of the forward pass without bias, square kernel, ``"same"`` padding.

    Example:
        >>> complexity()
        2*C*D*N*(K**2 + M)*ceiling(H/stride)*ceiling(W/stride)
    """
    s = symbols()
    return 2 * s.N * output_pixels() * s.C * s.D * (s.K**2 + s.M)
