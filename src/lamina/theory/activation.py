"""Activations: one number in, one number out, and what that takes.

Operations per element, an exponential, an error function and a division counted as one each.
The backward pass multiplies the incoming gradient by the derivative, made again from the one
tensor that was kept: the output where the derivative is a function of it, else the input.

================= ======= ======== ====== =================================================
name              forward backward keeps  y
================= ======= ======== ====== =================================================
linear            0       0        -      x
relu              1       1        output max(x, 0)
relu6             2       2        output min(max(x, 0), 6)
leaky_relu        2       2        input  x if x > 0 else slope * x
elu               4       3        output x if x > 0 else alpha * (exp(x) - 1)
hardsigmoid       4       2        input  relu6(x + 3) / 6
hardswish         5       5        input  x * relu6(x + 3) / 6
sigmoid           3       3        output 1 / (1 + exp(-x))
tanh              1       3        output tanh(x)
silu              4       8        input  x * sigmoid(x)
gelu              5       11       input  x / 2 * (1 + erf(x / sqrt(2)))
softmax           5       4        output exp(x - max) / sum(exp(x - max)), over the channels
================= ======= ======== ====== =================================================

The slopes of relu, relu6, leaky_relu and hardsigmoid take two values alone. From 2**18 elements of
float32 on, where our kernels run, these keep a bit for each element in the place of a tensor.

Each is bound by memory: 8 bytes move for at most a dozen operations.

Source: relu: Nair and Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines"
(2010), section 2; relu6: Howard et al., "MobileNets" (2017); hardswish, hardsigmoid: Howard et
al., "Searching for MobileNetV3" (2019), section 5.2; silu: Elfwing et al., "Sigmoid-Weighted
Linear Units" (2017), section 2.1; gelu: Hendrycks and Gimpel (2016), section 2; elu: Clevert et
al. (2015), section 3; leaky_relu: Maas et al., "Rectifier Nonlinearities" (2013), section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Literal, NamedTuple

from lamina.theory.complexity import symbols
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, check_direction
from lamina.theory.validation import one_of

if TYPE_CHECKING:
    import sympy


FEWEST_ELEMENTS = 1 << 18
"""Of an input that our kernels serve. Fewer lie in the caches, in memory that the C library kept:
PyTorch's op is as fast there."""


class Activation(NamedTuple):
    """Operations per element, and the tensor that the backward pass needs: or a bit per element."""

    forward_flops: int
    backward_flops: int
    keeps: Literal["input", "output", "nothing"]
    has_two_slopes: bool = False

    def saved_bytes(self, elements: int, itemsize: int) -> int:
        """What is kept for backward."""
        if self.keeps == "nothing":
            return 0
        if self.has_two_slopes and itemsize == 4 and elements >= FEWEST_ELEMENTS:
            return 4 * -(-elements // 32)
        return itemsize * elements


ACTIVATIONS = {
    "linear": Activation(0, 0, "nothing"),
    "relu": Activation(1, 1, "output", has_two_slopes=True),
    "relu6": Activation(2, 2, "output", has_two_slopes=True),
    "leaky_relu": Activation(2, 2, "input", has_two_slopes=True),
    "elu": Activation(4, 3, "output"),
    "hardsigmoid": Activation(4, 2, "input", has_two_slopes=True),
    "hardswish": Activation(5, 5, "input"),
    "sigmoid": Activation(3, 3, "output"),
    "tanh": Activation(1, 3, "output"),
    "silu": Activation(4, 8, "input"),
    "gelu": Activation(5, 11, "input"),
    "softmax": Activation(5, 4, "output"),
}

# Keras's words for the same functions.
_SYNONYMS = {"hard_sigmoid": "hardsigmoid", "hard_silu": "hardswish", "hard_swish": "hardswish"}
_SYNONYMS |= {"swish": "silu"}


def activation_named(name: str) -> Activation:
    """The row of the table, by torch's or by Keras's name.

    Raises:
        ValueError: a name that is not in the table.

    Example:
        >>> activation_named("hard_swish") is activation_named("hardswish")
        True
    """
    return ACTIVATIONS[one_of(_SYNONYMS.get(name, name), "activation", ACTIVATIONS)]


def output_shape(input_shape: Sequence[int]) -> tuple[int, ...]:
    """The input's.

    Example:
        >>> output_shape((8, 64, 7, 7))
        (8, 64, 7, 7)
    """
    return tuple(input_shape)


def cost(
    input_shape: Sequence[int],
    activation: str = "relu",
    *,
    direction: Direction = "forward",
    itemsize: int = 4,
) -> Cost:
    """Operations by the table; the input read, the output written.

    Args:
        input_shape: any shape.
        activation: a name of the table.
        direction: the forward or the backward pass.
        itemsize: bytes of an element.

    Raises:
        ValueError: an unknown activation or direction.

    Example:
        >>> cost((1, 16, 32, 32)).other_flops, cost((1, 16, 32, 32), "silu").other_flops
        (16384, 65536)
    """
    check_direction(direction)
    row = activation_named(activation)
    elements = prod(input_shape)
    tensor, saved = itemsize * elements, row.saved_bytes(elements, itemsize)
    if row.keeps == "nothing":
        return Cost()
    if direction == "forward":
        return Cost(
            other_flops=row.forward_flops * elements,
            bytes_read=tensor,
            bytes_written=tensor if saved == tensor else tensor + saved,
            saved_bytes=saved,
        )
    return Cost(
        other_flops=row.backward_flops * elements,
        bytes_read=tensor + saved,
        bytes_written=tensor,
    )


def complexity(activation: str = "relu") -> sympy.Expr:
    """FLOPs of the forward pass.

    Example:
        >>> complexity("hardswish")
        5*C*H*N*W
    """
    s = symbols()
    return activation_named(activation).forward_flops * s.N * s.C * s.H * s.W
