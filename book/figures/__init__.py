"""Figures that teach: a file per figure, whose ``draw`` returns its SVG in a language's words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

IMAGES = Path(__file__).parents[2] / "docs/images"


def drawings(names: Sequence[str] = ()) -> Iterator[tuple[str, str]]:
    """Draw figures, each in English and in Korean.

    Args:
        names: of figures; all of the package by default.

    Yields:
        Name of the file below ``docs/images``, and its text.
    """
    modules = sorted(module.name for module in iter_modules(__path__))
    for name in names or [name for name in modules if name != "__main__"]:
        module = import_module(f"{__name__}.{name}")
        if hasattr(module, "draw"):
            yield f"{name}.svg", module.draw({})
            yield f"{name}-ko.svg", module.draw(module.KOREAN)
