"""Numbers in squares, as an image's pixels and a kernel's weights are shown."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from lamina.report import svg
from lamina.report.html import Html, tag

CELL, WIDE = 26.0, 42.0
STYLE = """
.cell { fill: none; stroke: var(--line); }
.outside { fill: var(--wash); stroke: var(--line); stroke-dasharray: 2 2; }
.weight { fill: var(--wash); stroke: var(--line); }
.window { fill: none; stroke: var(--c2); stroke-width: 2.5; }
.tap { fill: none; stroke: var(--c2); stroke-width: 2; }
.number { font-size: 14px; fill: var(--ink); }
"""


def grid(
    values: NDArray[np.float64],
    left: float,
    top: float,
    class_: str = "cell",
    border: int = 0,
    width: float = CELL,
) -> list[Html]:
    """Squares with a number in each.

    Args:
        values: (rows, columns).
        left: of the first square.
        top: likewise.
        class_: of a square.
        border: so many squares around are padding.
        width: of a square; ``WIDE`` has room for three figures and a sign.
    """
    parts = []
    rows, columns = values.shape
    for row in range(rows):
        for column in range(columns):
            inside = border <= row < rows - border and border <= column < columns - border
            x, y = left + width * column, top + CELL * row
            kind = class_ if inside else "outside"
            parts.append(tag("rect", x=x, y=y, width=width, height=CELL, class_=kind))
            said = written(values[row, column])
            middle = (x + width / 2, y + CELL / 2 + 4.5)
            parts.append(svg.text(*middle, said, anchor="middle", class_="number"))
    return parts


def around(
    left: float, top: float, row: float, column: float, size: float, class_: str = "window"
) -> Html:
    """A frame around squares of a grid."""
    x, y = left + CELL * column, top + CELL * row
    return tag("rect", x=x, y=y, width=CELL * size, height=CELL * size, rx=3, class_=class_)


def written(value: float) -> str:
    """A number as it stands in a square, with a real minus."""
    return f"{value:g}".replace("-", "−")


def products(terms: Iterable[tuple[float, float]]) -> str:
    """``2·1 + 0·3 − 1·2``: the products of a sum, one after the other."""
    said = ""
    for x, w in terms:
        sign = " − " if w < 0 else " + "
        said += (sign if said else ("−" if w < 0 else "")) + f"{written(x)}·{written(abs(w))}"
    return said
