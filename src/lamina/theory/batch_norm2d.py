"""Batch normalisation, over channels of any rank: axis 1 is normalised, the others are pooled.

    mean[c] = 1/m * sum of x[:, c],  var[c] = 1/m * sum of (x[:, c] - mean[c])^2,  m = N * H * W
    y[n, c, i, j] = (x[n, c, i, j] - mean[c]) / sqrt(var[c] + eps) * weight[c] + bias[c]

In inference mean and variance are the running ones, the four numbers of a channel fold into two,
and an element takes a multiplication and an addition. In training an element takes 1 operation
for the mean, 3 for the variance (difference, square, sum) and 2 for the result. Backward, with
xhat = (x - mean) / sqrt(var + eps) and sums over a channel,

    d_bias = sum dy,  d_weight = sum dy * xhat,
    d_x = weight / sqrt(var + eps) * (dy - d_bias / m - xhat * d_weight / m),

takes 4 operations for the sums and, with the channel's constants folded into a*dy + b*x + c, 4
for d_x. An activation fused behind is counted beside; its derivative is found from x again (2
operations to make y), so that nothing else is kept.

A statistic must be complete before the first result, so a tensor larger than the cache is read
twice: 2 reads and 1 write forward, 4 reads (x and dy twice) and 1 write backward.

Source: Ioffe and Szegedy, "Batch Normalization" (2015), algorithm 1 and section 3; two-pass
variance: Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance" (1983); keeping
x alone under a fused activation: Rota Bulo et al., "In-Place Activated BatchNorm" (2018).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from lamina.theory.activation import activation_named
from lamina.theory.complexity import symbols
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, check_direction

if TYPE_CHECKING:
    import sympy


def output_shape(input_shape: Sequence[int], num_features: int | None = None) -> tuple[int, ...]:
    """The input's.

    Args:
        input_shape: (N, C, ...), of rank 2 or more.
        num_features: the C that is expected; None takes any.

    Raises:
        ValueError: a rank below 2, or another number of channels.

    Example:
        >>> output_shape((8, 64, 7, 7), num_features=64)
        (8, 64, 7, 7)
    """
    shape = tuple(input_shape)
    if len(shape) < 2:
        raise ValueError(f"input_shape must be (N, C, ...), got {shape}")
    if num_features is not None and shape[1] != num_features:
        raise ValueError(f"the input must have {num_features} channels, got {shape[1]} in {shape}")
    return shape


def cost(
    input_shape: Sequence[int],
    *,
    affine: bool = True,
    bias: bool = True,
    track_running_stats: bool = True,
    training: bool = False,
    activation: str | None = None,
    direction: Direction = "forward",
    itemsize: int = 4,
) -> Cost:
    """Operations per element as derived above; per-channel work is left out.

    ``buffers`` are the running mean, the running variance and torch's count of batches; Keras
    keeps no count. Kept for backward: the input and, in training, mean and 1/deviation.

    Args:
        input_shape: (N, C, ...), of rank 2 or more.
        affine: whether there are a weight and a bias.
        bias: False leaves the weight alone.
        track_running_stats: whether there are running statistics.
        training: batch statistics (True) or running ones.
        activation: one that is fused behind, by its name in ``activation``.
        direction: the forward or the backward pass.
        itemsize: bytes of an element.

    Raises:
        ValueError: as ``output_shape``, or an unknown activation or direction.

    Example:
        >>> cost((1, 16, 32, 32)).other_flops, cost((1, 16, 32, 32), training=True).other_flops
        (32768, 98304)
    """
    check_direction(direction)
    shape = output_shape(input_shape)
    fused = activation_named(activation or "linear")
    elements, channels = prod(shape), shape[1]
    parameters = (2 if bias else 1) * channels if affine else 0
    statistics = 2 * channels
    if direction == "forward":
        return Cost(
            parameters=parameters,
            buffers=statistics + 1 if track_running_stats else 0,
            other_flops=((6 if training else 2) + fused.forward_flops) * elements,
            bytes_read=itemsize * ((2 if training else 1) * elements + statistics + parameters),
            bytes_written=itemsize * (elements + (statistics if training else 0)),
            saved_bytes=itemsize * (elements + (statistics if training else 0)),
        )
    remade = 2 + fused.backward_flops if fused.keeps != "nothing" else 0
    if training:
        flops, reads = 8 + remade, 4
    elif affine:
        flops, reads = 5 + remade, 2
    else:
        flops, reads = 1 + remade, 2 if remade else 1
    return Cost(
        other_flops=flops * elements,
        bytes_read=itemsize * (reads * elements + statistics + parameters),
        bytes_written=itemsize * (elements + parameters),
    )


def complexity(training: bool = False) -> sympy.Expr:
    """FLOPs of the forward pass, without a fused activation.

    Example:
        >>> complexity(), complexity(training=True)
        (2*C*H*N*W, 6*C*H*N*W)
    """
    s = symbols()
    return (6 if training else 2) * s.N * s.C * s.H * s.W
