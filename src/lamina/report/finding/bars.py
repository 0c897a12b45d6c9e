"""A panel of horizontal bars."""

from __future__ import annotations

import math
from collections.abc import Sequence

from lamina.report import svg
from lamina.report.finding.chart import Bars, Panel
from lamina.report.finding.sheet import LETTER, Drawn, Sheet, axis, number
from lamina.report.html import Html, tag

_RIGHT = 44.0  # for a value beyond the longest bar
_LINE = 14.0  # of a label in two lines


def bars(panel: Panel, marks: Sequence[Bars], sheet: Sheet, top: float) -> Drawn:
    """Draw a group of bars per label, each with its value.

    Args:
        panel: that has them.
        marks: one or several of equal labels.
        sheet: to draw on.
        top: where they begin.
    """
    most = 0.46 * sheet.width
    labels = [svg.wrapped(sheet.say(one), (most - 20) / LETTER) for one in marks[0].labels]
    left = min(most, 20 + LETTER * max(svg.letters(line) for one in labels for line in one))
    thick = 16 if len(marks) == 1 else 13
    row = max(thick * len(marks), _LINE * max(map(len, labels))) + 12
    ends = [value for mark in marks for value in [*mark.values, *(mark.high or ())]]
    low = min([0.0, *(value for mark in marks for value in mark.values)])
    wanted = panel.x_range or (None if panel.x_log else (low, max(ends) * 1.16 or 1.0))
    x = axis(wanted, panel.x_log, ends, left, sheet.width - _RIGHT)
    parts: list[Html] = []
    bottom = top + 8 + row * len(labels)
    for tick in x.ticks(3 if x.log else 5):
        parts.append(tag("line", x1=x(tick), x2=x(tick), y1=top + 4, y2=bottom, class_="grid"))
        parts.append(svg.text(x(tick), bottom + 18, number(tick), anchor="middle"))
    title, end = sheet.text(panel.x_title, (x.start + x.stop) / 2, bottom + 40)
    parts += title
    for place, lines in enumerate(labels):
        middle = top + 8 + row * (place + 0.5)
        first = middle + 4 - _LINE * (len(lines) - 1) / 2
        for index, line in enumerate(lines):
            y = first + _LINE * index
            parts.append(svg.text(left - 8, y, line, anchor="end", class_="label strong"))
        for order, mark in enumerate(marks):
            above = middle + (order - len(marks) / 2) * thick
            parts += _bar(mark, place, x, above, thick, sheet)
    return parts, end + 10


def _bar(mark: Bars, place: int, x: svg.Axis, top: float, thick: float, sheet: Sheet) -> list[Html]:
    """One bar with its whisker and its value; nothing for what is no finite number."""
    value = mark.values[place]
    if not math.isfinite(value):
        return []

    def within(at: float) -> float:
        return x(min(max(at, x.low), x.high))

    origin, end = x.start if x.log else x(max(0.0, x.low)), within(value)
    said = tag("title", f"{sheet.say(mark.labels[place])} {sheet.say(mark.name)}: {number(value)}")
    parts = [
        tag(
            "rect",
            said,
            x=min(origin, end),
            y=top + 1,
            width=max(1.0, abs(end - origin)),
            height=thick - 2,
            rx=2,
            class_=f"fill-{sheet.colour(mark)}",
        )
    ]
    middle = top + thick / 2
    if mark.low is not None and mark.high is not None:
        a, b = within(mark.low[place]), within(mark.high[place])
        parts.append(tag("line", x1=a, x2=b, y1=middle, y2=middle, class_="whisker"))
        end = max(end, b)
    parts.append(svg.text(end + 5, middle + 4, number(float(f"{value:.3g}"))))
    return parts
