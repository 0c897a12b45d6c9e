"""A module's constructor call, kept so that it can be made and be written."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch

from lamina import nn
from lamina.interchange import modules

__all__ = ["Constructor", "Flavour", "constructor"]

Flavour = Literal["torch", "lamina"]
"""Whose layers a model gets: torch.nn's alone, or lamina.nn's where there are some."""


@dataclass(frozen=True)
class Constructor:
    """``kind(*arguments, **options)``, without what the class takes anyway.

    Attributes:
        kind: a class of `modules`, or of torch.nn.
        arguments: by position.
        options: by name.
    """

    kind: str
    arguments: tuple[Any, ...]
    options: tuple[tuple[str, Any], ...]

    @property
    def is_our_own(self) -> bool:
        """Whether the class is one that torch.nn lacks."""
        return self.kind in modules.__all__

    def module(self, flavour: Flavour) -> torch.nn.Module:
        """The module, freshly made."""
        place: Any = modules if self.is_our_own else nn if flavour == "lamina" else torch.nn
        made: torch.nn.Module = getattr(place, self.kind)(*self.arguments, **dict(self.options))
        return made

    def __str__(self) -> str:
        given = [_text(value) for value in self.arguments]
        given += [f"{name}={_text(value)}" for name, value in self.options]
        return f"{'' if self.is_our_own else 'nn.'}{self.kind}({', '.join(given)})"


def constructor(kind: str, *arguments: Any, **options: tuple[Any, Any]) -> Constructor:
    """A constructor call; every option is (its value, the class's default).

    Example:
        >>> str(constructor("Conv2d", 3, 8, (3, 3), stride=((2, 2), 1), bias=(True, True)))
        'nn.Conv2d(3, 8, 3, stride=2)'
    """
    ours = kind in modules.__all__ or kind == "LayerNorm"  # those take pairs as they are
    given = {
        name: value if ours else _brief(value)
        for name, (value, default) in options.items()
        if default not in (value, _brief(value))
    }
    brief = arguments if ours else tuple(_brief(value) for value in arguments)
    return Constructor(kind, brief, tuple(given.items()))


def _brief(value: Any) -> Any:  # noqa: ANN401 - whatever a constructor takes
    """One number for a pair of equal ones."""
    if isinstance(value, tuple | list) and len(value) == 2 and value[0] == value[1]:
        return value[0]
    return value


def _text(value: Any) -> str:  # noqa: ANN401
    return f'float("{value}")' if isinstance(value, float) and abs(value) > 1e300 else repr(value)
