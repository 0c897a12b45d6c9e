"""Checks of a user's arguments: each returns the value in one form or raises one clear line.

Every error is a ``ValueError`` that names the argument, what is allowed and what came.

Example:
    >>> positive_pair(3, "kernel_size")
    (3, 3)
    >>> positive_int(0, "in_channels")
    Traceback (most recent call last):
    ValueError: in_channels must be a positive integer, got 0
"""

from __future__ import annotations

import math
from collections.abc import Collection
from operator import index
from typing import SupportsFloat, SupportsIndex

Pair = tuple[int, int]


def _as_integer(value: object, minimum: int) -> int | None:
    """An int, or what indexes like one (numpy's integers), but not a bool; else None."""
    if type(value) is int:  # first, because the protocol's check takes microseconds a call
        return value if value >= minimum else None
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    integer = index(value)
    return integer if integer >= minimum else None


def _integer(value: object, name: str, minimum: int, allowed: str) -> int:
    integer = _as_integer(value, minimum)
    if integer is None:
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return integer


def positive_int(value: object, name: str) -> int:
    """An integer of at least 1."""
    return _integer(value, name, 1, "a positive integer")


def non_negative_int(value: object, name: str) -> int:
    """An integer of at least 0."""
    return _integer(value, name, 0, "a non-negative integer")


def _pair(value: object, name: str, minimum: int, allowed: str) -> Pair:
    items = value if isinstance(value, tuple | list) else (value,)
    if len(items) == 1:  # which torch takes in a tuple too
        items = (*items, *items)
    if len(items) == 2:
        height, width = _as_integer(items[0], minimum), _as_integer(items[1], minimum)
        if height is not None and width is not None:
            return height, width
    raise ValueError(f"{name} must be {allowed} or a pair of them (height, width), got {value!r}")


def positive_pair(value: object, name: str) -> Pair:
    """One positive integer for both axes, or (height, width)."""
    return _pair(value, name, 1, "a positive integer")


def pair(value: object, name: str) -> Pair:
    """One non-negative integer for both axes, or (height, width).

    Example:
        >>> pair((1, 0), "padding")
        (1, 0)
    """
    return _pair(value, name, 0, "a non-negative integer")


def divides(groups: object, channels: int, name: str, groups_name: str = "groups") -> int:
    """``groups`` as a positive integer that divides ``channels``, the argument called ``name``.

    Example:
        >>> divides(3, 64, "in_channels")
        Traceback (most recent call last):
        ValueError: groups must divide in_channels = 64, got 3
    """
    count = positive_int(groups, groups_name)
    if channels % count:
        raise ValueError(f"{groups_name} must divide {name} = {channels}, got {count}")
    return count


def _number(value: object) -> float:
    """The value as a float; NaN, which no range admits, for what is no real number."""
    if type(value) is float:  # first, as in _as_integer
        return value
    if isinstance(value, bool) or not isinstance(value, SupportsFloat):
        return math.nan
    return float(value)


def rate(value: object, name: str, *, one_allowed: bool = True) -> float:
    """A probability: from 0 to 1, with 1 itself (torch's ``p``) or without (Keras's ``rate``).

    Example:
        >>> rate(1, "p")
        1.0
        >>> rate(float("nan"), "rate", one_allowed=False)
        Traceback (most recent call last):
        ValueError: rate must be a number in [0, 1), got nan
    """
    number = _number(value)
    if not (0 <= number < 1 or (one_allowed and number == 1)):
        interval = "[0, 1]" if one_allowed else "[0, 1)"
        raise ValueError(f"{name} must be a number in {interval}, got {value!r}")
    return number


def finite(value: object, name: str) -> float:
    """A number that is neither NaN nor infinite."""
    number = _number(value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be a finite number, got {value!r}")
    return number


def positive_float(value: object, name: str) -> float:
    """A finite number above 0, such as an epsilon."""
    number = _number(value)
    if not (math.isfinite(number) and number > 0):
        raise ValueError(f"{name} must be a finite number above 0, got {value!r}")
    return number


def one_of(value: object, name: str, allowed: Collection[str]) -> str:
    """One of a few words.

    Example:
        >>> one_of("mean", "operation", ("max", "average"))
        Traceback (most recent call last):
        ValueError: operation must be one of 'max', 'average', got 'mean'
    """
    if not isinstance(value, str) or value not in allowed:
        words = ", ".join(repr(word) for word in allowed)
        raise ValueError(f"{name} must be one of {words}, got {value!r}")
    return value
