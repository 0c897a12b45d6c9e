"""What every kind of panel is drawn with: a sheet, its title, legend, pictures and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lamina.report import svg
from lamina.report.finding.chart import Line, Mark, Points
from lamina.report.html import Html, tag

LETTER = 6.6
"""Pixels of a label's letter, about."""
LINE = 18.0
"""Pixels from one line of text to the next."""
EDGE = 8.0
"""Pixels that text keeps from the sheet's sides."""
_TITLE_LETTER = 8.2

Words = Mapping[str, str]
"""What the reader's language says for a text; one without an entry stays as it is."""

Drawn = tuple[list[Html], float]
"""Parts of a drawing, and how far down they reach."""


@dataclass(frozen=True)
class Sheet:
    """What a panel is drawn on.

    Args:
        width: in pixels.
        words: of the reader's language.
        colours: by a mark's name, from 1.
    """

    width: float
    words: Words
    colours: Mapping[str, int]

    def say(self, text: str) -> str:
        """Return a text in the reader's language."""
        return self.words.get(text, text)

    def colour(self, mark: Mark) -> int:
        """That of the name; without one the first, or grey where others have names."""
        return self.colours.get(mark.name, 0 if self.colours else 1)

    def title(self, title: str) -> Drawn:
        """Write a panel's title."""
        lines = svg.wrapped(self.say(title), (self.width - 2 * EDGE) / _TITLE_LETTER)
        drawn = [svg.text(EDGE, 20 + LINE * i, one, class_="title") for i, one in enumerate(lines)]
        return drawn, 12 + LINE * len(lines)

    def legend(self, marks: Sequence[Mark], top: float) -> Drawn:
        """Draw the marks' names in lines that are filled from the left."""
        parts: list[Html] = []
        named = {mark.name: mark for mark in reversed(marks) if mark.name}
        left, line = EDGE, top + 14
        for name in dict.fromkeys(mark.name for mark in marks if mark.name):
            shown = self.say(name)
            width = 34 + LETTER * svg.letters(shown)
            if left > EDGE and left + width > self.width:
                left, line = EDGE, line + LINE
            parts.append(_sample(named[name], left, line - 4, self.colours[name]))
            parts.append(svg.text(left + 24, line, shown, class_="label strong"))
            left += width + 10
        return parts, line + 6 if named else top

    def text(self, text: str, middle: float, top: float) -> Drawn:
        """Write a text about ``middle``, in as many lines as the sides demand."""
        room = 2 * (min(middle, self.width - middle) - EDGE)
        lines = svg.wrapped(self.say(text), room / LETTER)
        drawn = [svg.text(middle, top + LINE * i, x, anchor="middle") for i, x in enumerate(lines)]
        return drawn, top + LINE * max(0, len(lines) - 1)


def _sample(mark: Mark, left: float, y: float, colour: int) -> Html:
    if isinstance(mark, Line):
        dashes = "5 4" if mark.dashed else None
        series = f"series-{colour}"
        return tag(
            "line", x1=left, x2=left + 18, y1=y, y2=y, class_=series, stroke_dasharray=dashes
        )
    if isinstance(mark, Points):
        return tag("circle", cx=left + 9, cy=y, r=4, class_=f"fill-{colour}")
    return tag("rect", x=left, y=y - 5, width=18, height=10, rx=2, class_=f"fill-{colour}")


def axis(
    wanted: tuple[float, float] | None,
    log: bool,
    values: Iterable[float],
    start: float,
    stop: float,
) -> svg.Axis:
    """The scale asked for, or one with a little room around the values."""
    if wanted is not None:
        return svg.Axis(*wanted, start, stop, log)
    known = [v for v in values if abs(v) < float("inf") and (v > 0 or not log)] or [1.0]
    low, high = min(known), max(known)
    if log:
        room = max((high / low) ** 0.04, 1.02)
        return svg.Axis(low / room, high * room, start, stop, log)
    room = (high - low) * 0.04 or abs(high) * 0.05 or 1.0
    below = 0.0 if 0 <= low < (high - low) / 3 else low - room
    return svg.Axis(below, high + room, start, stop)


def number(value: float) -> str:
    """As few digits as tell ticks apart.

    >>> number(1500), number(15_000), number(0.00001)
    ('1500', '15k', '1e-05')
    """
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    for power, unit in ((9, "G"), (6, "M"), (3, "k")):
        if 10**power <= abs(value) < 1000 * 10**power:
            return f"{value / 10**power:.3g}{unit}"
    return f"{value:.0e}" if abs(value) < 1e-3 else f"{value:.2g}"
