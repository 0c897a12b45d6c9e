"""A panel of lines and points on two axes."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lamina.report import svg
from lamina.report.finding.chart import Bars, Line, Mark, Panel, Points
from lamina.report.finding.sheet import (
    EDGE,
    LETTER,
    LINE,
    Drawn,
    Sheet,
    axis,
    number,
)
from lamina.report.html import Html, tag

_PLOT, _LEFT, _RIGHT = 190, 62, 16


def axes(panel: Panel, sheet: Sheet, top: float) -> Drawn:
    """Draw the frame and the marks within it.

    Args:
        panel: with lines and points alone.
        sheet: to draw on.
        top: where they begin.
    """
    parts: list[Html] = []
    y_title = svg.wrapped(sheet.say(panel.y_title), (sheet.width - 2 * EDGE) / LETTER)
    for line in y_title:
        top += LINE
        parts.append(svg.text(EDGE, top - 5, line))
    top += 10 if y_title else 8
    x = axis(panel.x_range, panel.x_log, _xs(panel.marks), _LEFT, sheet.width - _RIGHT)
    y = axis(panel.y_range, panel.y_log, _ys(panel.marks), top + _PLOT, top)
    whole = all(value == int(value) for value in _xs(panel.marks) if math.isfinite(value))
    parts.append(svg.frame(x, y, x_form=number, y_form=number, whole_x=whole))
    if panel.background:  # over the grid
        parts.append(
            svg.pixels(panel.background, x.start, y.stop, x.stop - x.start, y.start - y.stop)
        )
    end = y.start + 20
    if panel.x_title:
        title, end = sheet.text(panel.x_title, (x.start + x.stop) / 2, y.start + 42)
        parts += title
    for mark in panel.marks:
        if isinstance(mark, Line):
            parts += _line(mark, x, y, sheet)
        elif isinstance(mark, Points):
            parts += _points(mark, x, y, sheet)
    return parts, end + 8


def _xs(marks: Iterable[Mark]) -> list[float]:
    return [value for mark in marks if not isinstance(mark, Bars) for value in mark.x]


def _ys(marks: Iterable[Mark]) -> list[float]:
    values: list[float] = []
    for mark in marks:
        if isinstance(mark, Bars):
            continue
        values += mark.y
        if isinstance(mark, Line):
            values += [*(mark.low or ()), *(mark.high or ())]
    return values


def _place(x: svg.Axis, y: svg.Axis, at: float, value: float) -> tuple[float, float] | None:
    """Where a point stands; None for what no axis shows."""
    if not (math.isfinite(at) and math.isfinite(value)):
        return None
    if (x.log and at <= 0) or (y.log and value <= 0):
        return None
    kept = min(max(value, y.low), y.high)  # what leaves the frame runs along its edge
    return x(at), y(kept)


def _line(mark: Line, x: svg.Axis, y: svg.Axis, sheet: Sheet) -> list[Html]:
    parts: list[Html] = []
    colour, name = sheet.colour(mark), sheet.say(mark.name)
    if mark.low is not None and mark.high is not None:
        edge = [(a, high) for a, high in zip(mark.x, mark.high, strict=True)]
        back = [(a, low) for a, low in zip(mark.x, mark.low, strict=True)][::-1]
        around = [place for a, b in edge + back if (place := _place(x, y, a, b))]
        if around:
            parts.append(tag("path", d=svg.path(around) + "Z", class_=f"band-{colour}"))
    places = [_place(x, y, a, b) for a, b in zip(mark.x, mark.y, strict=True)]
    parts.append(
        tag(
            "path",
            d=svg.path(places),
            class_=f"series-{colour}",
            stroke_dasharray="5 4" if mark.dashed else None,
        )
    )
    for place, a, b in zip(places, mark.x, mark.y, strict=True):
        if place is not None:
            title = tag("title", f"{name} {number(a)}: {number(b)}".strip())
            parts.append(tag("circle", title, cx=place[0], cy=place[1], r=6, class_="dot"))
    return parts


def _points(mark: Points, x: svg.Axis, y: svg.Axis, sheet: Sheet) -> list[Html]:
    parts: list[Html] = []
    radius = 4 if len(mark.x) < 60 else 2.5
    for index, (a, b) in enumerate(zip(mark.x, mark.y, strict=True)):
        place = _place(x, y, a, b)
        if place is None:
            continue
        label = sheet.say(mark.labels[index]) if mark.labels else ""
        title = tag("title", f"{label or sheet.say(mark.name)} {number(a)}: {number(b)}".strip())
        colour = f"fill-{sheet.colour(mark)}"
        parts.append(tag("circle", title, cx=place[0], cy=place[1], r=radius, class_=colour))
        if label:
            right = place[0] + 12 + LETTER * svg.letters(label)
            anchor, off = ("end", -9) if right > sheet.width - _RIGHT else ("start", 9)
            parts.append(svg.text(place[0] + off, place[1] + 4, label, anchor=anchor))
    return parts
