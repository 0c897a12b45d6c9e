"""Depthwise convolution: every channel has filters of its own and sees no other channel.

With depth multiplier D, output channel c*D + d comes from input channel c:

    y[n, c*D + d, i, j] = b[c*D + d] + sum over p, q of
        w[c*D + d, 0, p, q] * x[n, c, i*stride + p*dilation - top, j*stride + q*dilation - left]

It is a convolution of C groups, each of one input and D output channels, so

    MACs = N * C*D * Ho * Wo * Kh * Kw.

An output element takes Kh*Kw MACs and moves at least (stride^2/D + 1) elements: a 3 x 3 one does
18 FLOPs for 8 bytes, far below what an arithmetic unit needs to be busy. Memory binds it.

Source: Howard et al., "MobileNets" (2017), section 3.1; Chollet, "Xception" (2017), section 2;
the multiplier and its channel order are TensorFlow's (``tf.nn.depthwise_conv2d``).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from lamina.theory import conv2d
from lamina.theory.complexity import output_pixels, symbols
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, ImageShape, Padding, Pair, image_shape
from lamina.theory.validation import positive_int

if TYPE_CHECKING:
    import sympy


def _out_channels(input_shape: Sequence[int], depth_multiplier: int) -> int:
    return image_shape(input_shape)[1] * positive_int(depth_multiplier, "depth_multiplier")


def output_shape(
    input_shape: Sequence[int],
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    depth_multiplier: int = 1,
) -> ImageShape:
    """(N, C * depth_multiplier, Ho, Wo).

    Args:
        input_shape: (N, C, H, W).
        kernel_size: taps, (height, width) or one number.
        stride: pixels from one window to the next.
        padding: pixels of zeros, or ``"same"`` (TensorFlow's rule) or ``"valid"``.
        dilation: pixels from one tap to the next.
        depth_multiplier: output channels for each input channel.

    Raises:
        ValueError: an argument out of its range, or no window fits.

    Example:
        >>> output_shape((1, 16, 16, 16), 3, stride=2, padding="same", depth_multiplier=2)
        (1, 32, 8, 8)
    """
    out_channels = _out_channels(input_shape, depth_multiplier)
    return conv2d.output_shape(
        input_shape, out_channels, kernel_size, stride, padding, dilation, groups=input_shape[1]
    )


def cost(
    input_shape: Sequence[int],
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    depth_multiplier: int = 1,
    bias: bool = True,
    *,
    direction: Direction = "forward",
    input_gradient: bool = True,
    weight_gradient: bool = True,
    itemsize: int = 4,
) -> Cost:
    """MACs, bias additions and compulsory bytes; the input is what is kept for backward.

    Both gradients read the same two tensors, so the backward pass counts each of them once.

    Args:
        input_shape: (N, C, H, W).
        kernel_size: as for ``output_shape``, like the next four.
        stride: pixels.
        padding: pixels or a rule.
        dilation: pixels.
        depth_multiplier: output channels for each input channel.
        bias: whether one number is added to each output element.
        direction: the forward or the backward pass.
        input_gradient: False for a first layer, whose input needs no gradient.
        weight_gradient: False for a frozen layer; its bias is frozen, too.
        itemsize: bytes of an element.

    Raises:
        ValueError: as ``output_shape``, or another direction.

    Example:
        >>> cost((1, 16, 16, 16), 3, padding=1, bias=False).macs
        36864
    """
    return conv2d.cost(
        input_shape,
        _out_channels(input_shape, depth_multiplier),
        kernel_size,
        stride,
        padding,
        dilation,
        groups=input_shape[1],
        bias=bias,
        direction=direction,
        input_gradient=input_gradient,
        weight_gradient=weight_gradient,
        itemsize=itemsize,
    )


def complexity() -> sympy.Expr:
    """FLOPs of the forward pass without bias, square kernel, ``"same"`` padding.

    Example:
        >>> complexity()
        2*C*D*K**2*N*ceiling(H/stride)*ceiling(W/stride)
    """
    s = symbols()
    return 2 * s.N * s.C * s.D * output_pixels() * s.K**2
