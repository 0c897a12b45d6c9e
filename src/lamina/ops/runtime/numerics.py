"""How far a result may be from the sum as it is written: one choice for the process."""

from __future__ import annotations

from typing import Literal

from lamina.theory import validation

Numerics = Literal["fast", "strict"]

_numerics: Numerics = "fast"


def set_numerics(numerics: Numerics) -> None:
    """Choose between speed and the error of the plain sum, for all calls from now on.

    Args:
        numerics: ``"fast"``, the default, lets ``algorithm="auto"`` take Winograd's algorithm,
            whose error has the larger bound ``theory.numerics.winograd_error_bound``;
            ``"strict"`` rules it out: every convolution is then the plain sum.

    Raises:
        ValueError: another name.

    Example:
        >>> set_numerics("strict")
        >>> get_numerics()
        'strict'
        >>> set_numerics("fast")
    """
    global _numerics
    validation.one_of(numerics, "numerics", ("fast", "strict"))
    _numerics = numerics


def get_numerics() -> Numerics:
    """The choice in force, ``"fast"`` or ``"strict"``."""
    return _numerics
