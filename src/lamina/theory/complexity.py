"""Time complexity as sympy expressions, in one set of symbols.

======== ==============================================================
symbol   meaning
======== ==============================================================
N        images in the batch
H, W     rows and columns of the input, in pixels
C, M     channels of the input and of the output
D        depth multiplier of a depthwise convolution
K        side of a square kernel or window, in taps
S        squeezed channels of a squeeze-and-excitation block
stride   pixels from one window to the next
groups   groups of a convolution
======== ==============================================================

Windows use ``"same"`` padding, so that an output has ceiling(H / stride) rows. sympy is imported
inside the functions: costs are needed in every program, formulas in few.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import sympy


class Symbols(NamedTuple):
    """The symbols of the table above, all positive integers."""

    N: sympy.Symbol
    H: sympy.Symbol
    W: sympy.Symbol
    C: sympy.Symbol
    M: sympy.Symbol
    D: sympy.Symbol
    K: sympy.Symbol
    S: sympy.Symbol
    stride: sympy.Symbol
    groups: sympy.Symbol


@cache
def symbols() -> Symbols:
    """The symbols, the same objects at every call."""
    import sympy

    return Symbols(*sympy.symbols(Symbols._fields, positive=True, integer=True))


def output_pixels() -> sympy.Expr:
    """Windows per channel and image: ceiling(H / stride) * ceiling(W / stride)."""
    import sympy

    s = symbols()
    return sympy.ceiling(s.H / s.stride) * sympy.ceiling(s.W / s.stride)


def evaluate(expression: sympy.Expr, **values: float) -> float:
    """The expression's value.

    Args:
        expression: what a ``complexity`` function returned.
        **values: a number for every symbol that stands in it.

    Raises:
        ValueError: a symbol has no value.

    Example:
        >>> evaluate(output_pixels(), H=7, W=8, stride=2)
        16
    """
    missing = sorted(s.name for s in expression.free_symbols if s.name not in values)
    if missing:
        raise ValueError(f"values must name every symbol of {expression}, got none for {missing}")
    result = expression.subs({s: values[s.name] for s in expression.free_symbols})
    return int(result) if result.is_integer else float(result)


def exponents(expression: sympy.Expr) -> dict[str, int]:
    """The leading exponent of every symbol: by what power the work grows with it alone.

    Each exponent is the limit of d log(expression) / d log(symbol) as the symbol grows, the
    others fixed; the ceiling, which is a border effect, is left out.

    Example:
        >>> s = symbols()
        >>> exponents(s.N * s.C * (s.K**2 + s.M) * output_pixels())
        {'C': 1, 'H': 1, 'K': 2, 'M': 1, 'N': 1, 'W': 1, 'stride': -2}
    """
    import sympy

    smooth = expression.replace(sympy.ceiling, lambda argument: argument)
    numerator, denominator = sympy.fraction(sympy.together(smooth))
    return {
        symbol.name: int(sympy.degree(numerator, symbol) - sympy.degree(denominator, symbol))
        for symbol in sorted(smooth.free_symbols, key=lambda symbol: symbol.name)
    }
