"""Dropout: an element, a channel (Dropout2d) or a sample (DropPath) is zero with probability p.

    y = x * mask / (1 - p),   mask ~ Bernoulli(1 - p), one draw for what is dropped together

so that the expectation of y is x. One multiplication per element forward and one backward. The
random numbers are integers and no FLOPs; they come from a counter-based generator keyed by
(seed, call), so the mask is made again in the backward pass and 16 bytes stand for it.

In inference, and with p = 0, y is x itself: nothing is computed and nothing moves.

Source: Srivastava et al., "Dropout" (2014), sections 4 and 10 (scaling at training time);
channels: Tompson et al., "Efficient Object Localization Using Convolutional Networks" (2015),
section 3.2; samples: Huang et al., "Deep Networks with Stochastic Depth" (2016), section 3;
generator: Salmon et al., "Parallel Random Numbers: As Easy as 1, 2, 3" (2011), section 3.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from lamina.theory.complexity import symbols
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, check_direction
from lamina.theory.validation import rate

if TYPE_CHECKING:
    import sympy

SEED_BYTES = 16
"""A key and a call number, eight bytes each."""


def output_shape(input_shape: Sequence[int]) -> tuple[int, ...]:
    """The input's.

    Example:
        >>> output_shape((8, 512))
        (8, 512)
    """
    return tuple(input_shape)


def cost(
    input_shape: Sequence[int],
    p: float = 0.5,
    *,
    training: bool = True,
    direction: Direction = "forward",
    itemsize: int = 4,
    seeded: bool = False,
) -> Cost:
    """One multiplication per element, the input read and the output written.

    Args:
        input_shape: any shape.
        p: probability of a zero, in [0, 1].
        training: False is the identity.
        direction: the forward or the backward pass.
        itemsize: bytes of an element.
        seeded: the layer has a seed of its own, and keeps its key and the number of calls.

    Raises:
        ValueError: p outside [0, 1], or another direction.

    Example:
        >>> cost((8, 512), p=0.2).saved_bytes
        16
        >>> cost((8, 512), training=False).flops
        0
    """
    check_direction(direction)
    buffers = 2 if seeded and direction == "forward" else 0
    if rate(p, "p") == 0 or not training:
        return Cost(buffers=buffers)
    elements = prod(input_shape)
    return Cost(
        buffers=buffers,
        other_flops=elements,
        bytes_read=itemsize * elements,
        bytes_written=itemsize * elements,
        saved_bytes=SEED_BYTES if direction == "forward" else 0,
    )


def complexity() -> sympy.Expr:
    """FLOPs of the forward pass in training.

    Example:
        >>> complexity()
        C*H*N*W
    """
    s = symbols()
    return s.N * s.C * s.H * s.W
