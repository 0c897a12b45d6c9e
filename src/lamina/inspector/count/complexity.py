"""Time complexity of a kind of layer, as the theory states it."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from lamina.theory import (
    batch_norm2d,
    conv2d,
    dense,
    depthwise_conv2d,
    dropout,
    pool2d,
    separable_conv2d,
    squeeze_excite,
)
from lamina.theory.complexity import symbols

if TYPE_CHECKING:
    import sympy

__all__ = ["complexity_of"]


@cache
def complexity_of(kind: str, training: bool = False) -> str:
    """FLOPs of the forward pass in the symbols of ``lamina.theory.complexity``.

    Empty for a kind that the theory does not treat.

    Example:
        >>> complexity_of("pointwise_conv2d")
        '2*C*M*N*ceiling(H/stride)*ceiling(W/stride)'
    """
    expression = _expression(kind, training)
    return "" if expression is None else str(expression)


def _expression(kind: str, training: bool) -> sympy.Expr | None:
    match kind:
        case "conv2d":
            return conv2d.complexity()
        case "pointwise_conv2d":
            return conv2d.complexity().subs({symbols().K: 1, symbols().groups: 1})
        case "depthwise_conv2d":
            return depthwise_conv2d.complexity()
        case "separable_conv2d":
            return separable_conv2d.complexity()
        case "batch_norm2d":
            return batch_norm2d.complexity(training)
        case "max_pool2d" | "avg_pool2d":
            return pool2d.complexity()
        case "dense":
            return dense.complexity()
        case "dropout" if training:
            return dropout.complexity()
        case "squeeze_excite":
            return squeeze_excite.complexity()
    return None
