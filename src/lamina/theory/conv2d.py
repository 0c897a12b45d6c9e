"""Conv2D, the pointwise (1 x 1) one included: what it returns and what it costs.

With G groups, output channel m of group g sees the C/G input channels of that group:

    y[n, m, i, j] = b[m] + sum over c, p, q of
        w[m, c, p, q] * x[n, g*C/G + c, i*stride + p*dilation - top, j*stride + q*dilation - left]

One output element is a sum of C/G * Kh * Kw products, and there are N * M * Ho * Wo of them, so

    MACs = N * M * Ho * Wo * C/G * Kh * Kw.

The backward pass is two products of the same size. The gradient of x gathers, for every output
element, its gradient times the C/G * Kh * Kw weights that made it; the gradient of w gathers the
same gradient times the C/G * Kh * Kw pixels: one MAC for each MAC of the forward pass, twice. A
grouped weight gradient is no more than that: the groups do not see each other.

A pointwise convolution is kernel_size=1: N * H * W * M * C MACs, a matrix product of
(N*H*W, C) and (C, M). How the sum is computed in fewer operations is in ``conv2d_algorithms``.

Source: LeCun et al., "Gradient-Based Learning Applied to Document Recognition" (1998), section
II; groups: Krizhevsky et al., "ImageNet Classification with Deep Convolutional Neural Networks"
(2012), section 3.2; 1 x 1: Lin et al., "Network In Network" (2013), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from lamina.theory import conv2d_comparison
from lamina.theory.complexity import output_pixels, symbols
from lamina.theory.conv2d_comparison import Comparison
from lamina.theory.conv2d_problem import Pass, Problem
from lamina.theory.cost import Cost
from lamina.theory.limits import Machine
from lamina.theory.shapes import (
    Direction,
    ImageShape,
    Padding,
    Pair,
    check_direction,
    image_shape,
    resolve_padding,
    window_output_size,
)
from lamina.theory.validation import divides, positive_int, positive_pair

if TYPE_CHECKING:
    import sympy


def output_shape(
    input_shape: Sequence[int],
    out_channels: int,
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
) -> ImageShape:
    """(N, out_channels, Ho, Wo).

    Args:
        input_shape: (N, C, H, W).
        out_channels: filters M.
        kernel_size: taps, (height, width) or one number.
        stride: pixels from one window to the next.
        padding: pixels of zeros, or ``"same"`` (TensorFlow's rule) or ``"valid"``.
        dilation: pixels from one tap to the next.
        groups: divides both numbers of channels.

    Raises:
        ValueError: an argument out of its range, or no window fits.

    Example:
        >>> output_shape((8, 3, 224, 224), 64, kernel_size=7, stride=2, padding=3)
        (8, 64, 112, 112)
    """
    batch, channels, height, width = image_shape(input_shape)
    positive_int(out_channels, "out_channels")
    divides(groups, channels, "in_channels")
    divides(groups, out_channels, "out_channels")
    kernel_size = positive_pair(kernel_size, "kernel_size")
    stride = positive_pair(stride, "stride")
    dilation = positive_pair(dilation, "dilation")
    sides = resolve_padding(padding, (height, width), kernel_size, stride, dilation)
    rows, columns = window_output_size((height, width), kernel_size, stride, sides, dilation)
    return batch, out_channels, rows, columns


def cost(
    input_shape: Sequence[int],
    out_channels: int,
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    bias: bool = True,
    *,
    direction: Direction = "forward",
    input_gradient: bool = True,
    weight_gradient: bool = True,
    itemsize: int = 4,
) -> Cost:
    """MACs, bias additions and compulsory bytes; the input is what is kept for backward.

    Args:
        input_shape: (N, C, H, W).
        out_channels: as for ``output_shape``, like the next five.
        kernel_size: taps.
        stride: pixels.
        padding: pixels or a rule.
        dilation: pixels.
        groups: number of groups.
        bias: whether one number is added to each output element.
        direction: the forward or the backward pass.
        input_gradient: False for a first layer, whose input needs no gradient.
        weight_gradient: False for a frozen layer; its bias is frozen, too.
        itemsize: bytes of an element.

    Raises:
        ValueError: as ``output_shape``, or another direction.

    Example:
        >>> cost((1, 3, 32, 32), 16, 3, padding="same").macs
        442368
        >>> cost((1, 3, 32, 32), 16, 3, padding="same", direction="backward").macs
        884736
    """
    check_direction(direction)
    result_shape = output_shape(
        input_shape, out_channels, kernel_size, stride, padding, dilation, groups
    )
    inputs, outputs = prod(input_shape), prod(result_shape)
    per_output = input_shape[1] // groups * prod(positive_pair(kernel_size, "kernel_size"))
    macs, weights = outputs * per_output, out_channels * per_output
    parameters = weights + (out_channels if bias else 0)
    if direction == "forward":
        return Cost(
            parameters=parameters,
            macs=macs,
            other_flops=outputs if bias else 0,
            bytes_read=itemsize * (inputs + parameters),
            bytes_written=itemsize * outputs,
            saved_bytes=itemsize * inputs,
        )
    products = int(input_gradient) + int(weight_gradient)
    read = outputs + inputs * weight_gradient + weights * input_gradient
    return Cost(
        macs=products * macs,
        other_flops=outputs if bias and weight_gradient else 0,
        bytes_read=itemsize * read if products else 0,
        bytes_written=itemsize * (parameters * weight_gradient + inputs * input_gradient),
    )


def kind(kernel_size: Sequence[int], groups: int, in_channels: int) -> str:
    """What a convolution of these windows is called, over images of any rank.

    Args:
        kernel_size: taps per axis.
        groups: into which the channels are split.
        in_channels: C.

    Example:
        >>> kind((3, 3), 1, 64), kind((1, 1), 1, 64), kind((3, 3), 64, 64)
        ('conv2d', 'pointwise_conv2d', 'depthwise_conv2d')
    """
    if groups > 1 and groups == in_channels:
        prefix = "depthwise_"
    elif groups == 1 and max(kernel_size, default=1) == 1:
        prefix = "pointwise_"
    else:
        prefix = ""
    return f"{prefix}conv{len(kernel_size)}d"


def complexity() -> sympy.Expr:
    """FLOPs of the forward pass without bias, square kernel, ``"same"`` padding.

    O(N * H * W * C * M * K^2 / (stride^2 * groups)): linear in everything but the kernel's side
    and the stride.

    Example:
        >>> complexity()
        2*C*K**2*M*N*ceiling(H/stride)*ceiling(W/stride)/groups
    """
    s = symbols()
    return 2 * s.N * s.M * output_pixels() * s.C * s.K**2 / s.groups


def problem(
    input_shape: Sequence[int],
    out_channels: int,
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    *,
    pass_: Pass = "forward",
    threads: int = 1,
    itemsize: int = 4,
) -> Problem:
    """The arguments in the one form that the algorithms of ``conv2d_algorithms`` take.

    Args:
        input_shape: (N, C, H, W).
        out_channels: as for ``output_shape``, like the next five.
        kernel_size: taps.
        stride: pixels.
        padding: pixels or a rule.
        dilation: pixels.
        groups: number of groups.
        pass_: ``"forward"``, ``"input_gradient"`` or ``"weight_gradient"``.
        threads: that share the work.
        itemsize: bytes of an element.

    Raises:
        ValueError: as ``output_shape``, or another pass.

    Example:
        >>> problem((1, 64, 56, 56), 64, 3, padding=1).macs
        115605504
    """
    window = (kernel_size, stride, padding, dilation, groups)
    result_shape = output_shape(input_shape, out_channels, *window)
    shape = image_shape(input_shape)
    kernel_size = positive_pair(kernel_size, "kernel_size")
    stride = positive_pair(stride, "stride")
    dilation = positive_pair(dilation, "dilation")
    return Problem(
        input_shape=shape,
        output_shape=result_shape,
        kernel_size=kernel_size,
        stride=stride,
        padding=resolve_padding(padding, shape[2:], kernel_size, stride, dilation),
        dilation=dilation,
        groups=groups,
        pass_=pass_,
        threads=threads,
        itemsize=itemsize,
    )


def compare(
    input_shape: Sequence[int],
    out_channels: int,
    kernel_size: int | Pair,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    *,
    machine: Machine,
    pass_: Pass = "forward",
    threads: int = 1,
    itemsize: int = 4,
) -> Comparison:
    """The algorithms by the time that the theory predicts on this machine, fastest first.

    Args:
        input_shape: (N, C, H, W).
        out_channels: as for ``problem``, like the next five.
        kernel_size: taps.
        stride: pixels.
        padding: pixels or a rule.
        dilation: pixels.
        groups: number of groups.
        machine: its measured limits, and what share of the peak each algorithm reaches there.
        pass_: ``"forward"``, ``"input_gradient"`` or ``"weight_gradient"``.
        threads: that share the work.
        itemsize: bytes of an element.

    Raises:
        ValueError: as ``problem``.

    Example:
        >>> machine = Machine(peak_flops=245e9, bandwidth=32e9)
        >>> table = compare((16, 64, 56, 56), 64, 3, padding=1, machine=machine)
        >>> table.fastest, round(table["winograd_2x2"].speedup, 2) > 1
        ('winograd_4x4', True)
        >>> print(table)
        algorithm     GFLOP      MB  workspace MB  FLOP/B      ms  speed-up  bound by
        winograd_4x4  1.033   27.02          1.25    38.2   4.601      3.28  arithmetic
        winograd_2x2  1.689   26.36          0.92    64.1   7.527      2.01  arithmetic
        fft           1.628  208.68         91.42     7.8   7.645      1.98  arithmetic
        direct        3.699   26.13          0.16   141.6  15.109      1.00  arithmetic
        im2col        3.699  257.05          7.23    14.4  19.114      0.79  arithmetic
        implicit_gemm: kernel_size must be 1, got (3, 3)
    """
    arguments = (input_shape, out_channels, kernel_size, stride, padding, dilation, groups)
    case = problem(*arguments, pass_=pass_, threads=threads, itemsize=itemsize)
    return conv2d_comparison.compare(case, machine)
