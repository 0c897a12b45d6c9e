"""Dense (Linear) on the last axis, and Flatten.

    y[..., m] = b[m] + sum over c of w[m, c] * x[..., c]

    MACs = rows * C * M,    rows = the product of the other axes

and the same again for each of the two gradients: d_x = d_y w, d_w = d_y^T x. With few rows the
weight is most of what moves (2 * rows / itemsize FLOPs per byte of it), so a batch of one is
bound by memory and a large one by arithmetic.

Flatten has no arithmetic. In the order of memory it is a view; in the other dialect's order it
is a copy.

Source: Rumelhart, Hinton and Williams, "Learning representations by back-propagating errors"
(1986), equations 1 to 6.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from lamina.theory.complexity import symbols
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, check_direction
from lamina.theory.validation import positive_int

if TYPE_CHECKING:
    import sympy


def output_shape(input_shape: Sequence[int], out_features: int) -> tuple[int, ...]:
    """(..., out_features).

    Args:
        input_shape: (..., in_features), of rank 1 or more.
        out_features: units M.

    Raises:
        ValueError: a scalar, or no unit.

    Example:
        >>> output_shape((8, 512), 10)
        (8, 10)
    """
    shape = tuple(input_shape)
    if not shape:
        raise ValueError("input_shape must be (..., in_features), got ()")
    return (*shape[:-1], positive_int(out_features, "out_features"))


def cost(
    input_shape: Sequence[int],
    out_features: int,
    bias: bool = True,
    *,
    direction: Direction = "forward",
    input_gradient: bool = True,
    itemsize: int = 4,
) -> Cost:
    """MACs, bias additions and compulsory bytes; the input is what is kept for backward.

    Args:
        input_shape: (..., in_features).
        out_features: units M.
        bias: whether one number is added to each output element.
        direction: the forward or the backward pass.
        input_gradient: False for a first layer, whose input needs no gradient.
        itemsize: bytes of an element.

    Raises:
        ValueError: as ``output_shape``, or another direction.

    Example:
        >>> cost((1, 512), 10).macs, cost((1, 512), 10).parameters
        (5120, 5130)
    """
    check_direction(direction)
    outputs = prod(output_shape(input_shape, out_features))
    inputs, weights = prod(input_shape), input_shape[-1] * out_features
    macs = outputs * input_shape[-1]
    parameters = weights + (out_features if bias else 0)
    if direction == "forward":
        return Cost(
            parameters=parameters,
            macs=macs,
            other_flops=outputs if bias else 0,
            bytes_read=itemsize * (inputs + parameters),
            bytes_written=itemsize * outputs,
            saved_bytes=itemsize * inputs,
        )
    return Cost(
        macs=2 * macs if input_gradient else macs,
        other_flops=outputs if bias else 0,
        bytes_read=itemsize * (outputs + inputs + (weights if input_gradient else 0)),
        bytes_written=itemsize * (parameters + (inputs if input_gradient else 0)),
    )


def complexity() -> sympy.Expr:
    """FLOPs of the forward pass on (N, C) without bias.

    Example:
        >>> complexity()
        2*C*M*N
    """
    s = symbols()
    return 2 * s.N * s.C * s.M


def flatten_output_shape(
    input_shape: Sequence[int], start_dim: int = 1, end_dim: int = -1
) -> tuple[int, ...]:
    """The axes from ``start_dim`` to ``end_dim``, both included, made one.

    Args:
        input_shape: any shape.
        start_dim: first axis, from -rank to rank - 1.
        end_dim: last axis, from ``start_dim`` on.

    Raises:
        ValueError: an axis that does not exist, or an end before the start.

    Example:
        >>> flatten_output_shape((8, 64, 7, 7))
        (8, 3136)
    """
    shape = tuple(input_shape) or (1,)
    rank = len(shape)
    for axis, name in ((start_dim, "start_dim"), (end_dim, "end_dim")):
        if not -rank <= axis < rank:
            raise ValueError(f"{name} must be from {-rank} to {rank - 1} for {shape}, got {axis}")
    start, end = start_dim % rank, end_dim % rank
    if start > end:
        raise ValueError(f"end_dim must not stand before start_dim = {start_dim}, got {end_dim}")
    return (*shape[:start], prod(shape[start : end + 1]), *shape[end + 1 :])


def flatten_cost(input_shape: Sequence[int], *, copies: bool = False, itemsize: int = 4) -> Cost:
    """Nothing for a view; a read and a write of every element for a copy, either direction.

    Args:
        input_shape: any shape.
        copies: whether the order wanted is not the order in memory.
        itemsize: bytes of an element.

    Example:
        >>> flatten_cost((8, 64, 7, 7)).bytes_moved
        0
    """
    moved = itemsize * prod(input_shape) if copies else 0
    return Cost(bytes_read=moved, bytes_written=moved)
