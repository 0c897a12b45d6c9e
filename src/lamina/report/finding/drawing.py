"""A chart as SVG: one drawing per panel for a page, all together for a file that stands alone."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence

from lamina.report import svg
from lamina.report.finding.chart import Bars, Chart, Gallery, Line, Mark, Panel, Points
from lamina.report.html import Html, asset, tag

_WIDTH, _PLOT = 460, 190
_LEFT, _RIGHT, _BOTTOM = 62, 16, 50
_LINE = 18  # of text
_LETTER = 6.6  # pixels of a label's letter, about

Words = Mapping[str, str]
"""What the reader's language says for a label; a label without an entry stays as it is."""


def panels(chart: Chart, words: Words | None = None) -> list[Html]:
    """Draw each panel by itself, for a page that sets them as wide as its reader's screen.

    Args:
        chart: what to draw.
        words: labels in another language.
    """
    return [
        svg.drawing(_WIDTH, height, content, label=chart.label, class_="chart")
        for content, height in _drawn(chart, words or {})
    ]


def figure(chart: Chart, words: Words | None = None, columns: int = 2) -> str:
    """Draw all panels as one SVG file that follows the reader's light or dark scheme.

    Args:
        chart: what to draw.
        words: labels in another language.
        columns: panels beside each other.
    """
    drawn = _drawn(chart, words or {})
    parts: list[Html] = []
    top = 0.0
    for first in range(0, len(drawn), columns):
        row = drawn[first : first + columns]
        for column, (content, _) in enumerate(row):
            place = f"translate({column * _WIDTH} {top:g})"
            parts.append(tag("g", content, transform=place))
        top += max(height for _, height in row) + 12
    width = _WIDTH * min(columns, len(drawn))
    font = "text { font-family: system-ui, sans-serif; }"
    style = Html(f"{asset('palette.css')}{asset('chart.css')}{font}")
    picture = tag(
        "svg",
        tag("style", style),
        tag("rect", width=width, height=top, style="fill:var(--card)"),
        parts,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {top:g}",
        width=width,
        height=top,
        role="img",
        aria_label=(words or {}).get(chart.label, chart.label),
    )
    return f"{picture}\n"


def _drawn(chart: Chart, words: Words) -> list[tuple[list[Html], float]]:
    """Content and height of each panel."""
    colours = {name: place % 6 + 1 for place, name in enumerate(chart.names())}
    return [
        _gallery(panel, words) if isinstance(panel, Gallery) else _panel(panel, colours, words)
        for panel in chart.panels
    ]


def _panel(panel: Panel, colours: Mapping[str, int], words: Words) -> tuple[list[Html], float]:
    said = words.get
    parts, top = _title(said(panel.title, panel.title))
    names = list(dict.fromkeys(mark.name for mark in panel.marks if mark.name))
    legend, top = _legend(panel, names, colours, words, top)
    parts += legend
    bars = [mark for mark in panel.marks if isinstance(mark, Bars)]
    if bars:
        drawn, height = _bars(panel, bars, colours, words, top)
        return parts + drawn, height
    top += 28 if panel.y_title else 8
    bottom = _BOTTOM if panel.x_title else _BOTTOM - 22
    height = top + _PLOT + bottom
    x = _axis(panel.x_range, panel.x_log, _xs(panel.marks), _LEFT, _WIDTH - _RIGHT)
    y = _axis(panel.y_range, panel.y_log, _ys(panel.marks), height - bottom, top)
    x_title, y_title = said(panel.x_title, panel.x_title), said(panel.y_title, panel.y_title)
    whole = all(value == int(value) for value in _xs(panel.marks) if math.isfinite(value))
    parts.append(svg.frame(x, y, x_form=_number, y_form=_number, x_title=x_title, whole_x=whole))
    if panel.background:  # over the grid
        parts.append(_pixels(panel.background, x.start, y.stop, x.stop - x.start, y.start - y.stop))
    if y_title:
        parts.append(svg.text(8, top - 15, y_title))
    for mark in panel.marks:
        colour = _colour(mark, colours)
        if isinstance(mark, Line):
            parts += _line(mark, x, y, colour, said(mark.name, mark.name))
        elif isinstance(mark, Points):
            parts += _points(mark, x, y, colour, words)
    return parts, height


def _colour(mark: Mark, colours: Mapping[str, int]) -> int:
    """That of the name; without one the first, or grey where others have names."""
    return colours.get(mark.name, 0 if colours else 1)


def _title(title: str) -> tuple[list[Html], float]:
    lines = textwrap.wrap(title, 58)
    drawn = [svg.text(8, 20 + _LINE * i, line, class_="title") for i, line in enumerate(lines)]
    return drawn, 12.0 + _LINE * len(lines)


def _legend(
    panel: Panel, names: Sequence[str], colours: Mapping[str, int], words: Words, top: float
) -> tuple[list[Html], float]:
    """The names in lines that are filled from the left."""
    parts: list[Html] = []
    left, top = 8.0, top + 14
    for name in names:
        shown = words.get(name, name)
        width = 34 + _LETTER * len(shown)
        if left > 8 and left + width > _WIDTH:
            left, top = 8.0, top + _LINE
        mark = next(mark for mark in panel.marks if mark.name == name)
        parts.append(_sample(mark, left, top - 4, colours[name]))
        parts.append(svg.text(left + 24, top, shown, class_="label strong"))
        left += width + 10
    return parts, top + 6 if names else top - 14


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


def _axis(
    wanted: tuple[float, float] | None,
    log: bool,
    values: Iterable[float],
    start: float,
    stop: float,
) -> svg.Axis:
    """The scale asked for, or one with a little room around the values."""
    if wanted is not None:
        return svg.Axis(*wanted, start, stop, log)
    known = [v for v in values if math.isfinite(v) and (v > 0 or not log)] or [1.0]
    low, high = min(known), max(known)
    if log:
        room = max((high / low) ** 0.04, 1.02)
        return svg.Axis(low / room, high * room, start, stop, log)
    room = (high - low) * 0.04 or abs(high) * 0.05 or 1.0
    below = 0.0 if 0 <= low < (high - low) / 3 else low - room
    return svg.Axis(below, high + room, start, stop)


def _place(x: svg.Axis, y: svg.Axis, at: float, value: float) -> tuple[float, float] | None:
    """Where a point stands; None for what no axis shows."""
    if not (math.isfinite(at) and math.isfinite(value)):
        return None
    if (x.log and at <= 0) or (y.log and value <= 0):
        return None
    kept = min(max(value, y.low), y.high)  # what leaves the frame runs along its edge
    return x(at), y(kept)


def _line(mark: Line, x: svg.Axis, y: svg.Axis, colour: int, name: str) -> list[Html]:
    parts: list[Html] = []
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
            title = tag("title", f"{name} {_number(a)}: {_number(b)}".strip())
            parts.append(tag("circle", title, cx=place[0], cy=place[1], r=6, class_="dot"))
    return parts


def _points(mark: Points, x: svg.Axis, y: svg.Axis, colour: int, words: Words) -> list[Html]:
    parts: list[Html] = []
    radius = 4 if len(mark.x) < 60 else 2.5
    for index, (a, b) in enumerate(zip(mark.x, mark.y, strict=True)):
        place = _place(x, y, a, b)
        if place is None:
            continue
        label = mark.labels[index] if mark.labels else ""
        label = words.get(label, label)
        title = tag("title", f"{label or mark.name} {_number(a)}: {_number(b)}".strip())
        parts.append(
            tag("circle", title, cx=place[0], cy=place[1], r=radius, class_=f"fill-{colour}")
        )
        if label:
            left = place[0] > _WIDTH - _RIGHT - 12 - _LETTER * len(label)
            anchor, off = ("end", -9) if left else ("start", 9)
            parts.append(svg.text(place[0] + off, place[1] + 4, label, anchor=anchor))
    return parts


def _bars(
    panel: Panel, bars: Sequence[Bars], colours: Mapping[str, int], words: Words, top: float
) -> tuple[list[Html], float]:
    labels = [words.get(label, label) for label in bars[0].labels]
    left = min(210.0, 20 + _LETTER * max(map(len, labels)))
    thick = 16 if len(bars) == 1 else 11
    row = thick * len(bars) + 12
    height = top + 8 + row * len(labels) + _BOTTOM
    ends = [value for mark in bars for value in [*mark.values, *(mark.high or ())]]
    low = min([0.0, *(value for mark in bars for value in mark.values)])
    wanted = panel.x_range or (None if panel.x_log else (low, max(ends) * 1.16 or 1.0))
    x = _axis(wanted, panel.x_log, ends, left, _WIDTH - _RIGHT - 20)
    parts: list[Html] = []
    bottom = top + 8 + row * len(labels)
    for tick in x.ticks(3 if x.log else 5):
        parts.append(tag("line", x1=x(tick), x2=x(tick), y1=top + 4, y2=bottom, class_="grid"))
        parts.append(svg.text(x(tick), bottom + 18, _number(tick), anchor="middle"))
    title = words.get(panel.x_title, panel.x_title)
    parts.append(svg.text((x.start + x.stop) / 2, bottom + 40, title, anchor="middle"))
    origin = x.start if x.log else x(max(0.0, x.low))
    for place, label in enumerate(labels):
        middle = top + 8 + row * place + row / 2
        shown = svg.shortened(label, left * 1.06)
        parts.append(svg.text(left - 8, middle + 4, shown, anchor="end", class_="label strong"))
        for order, mark in enumerate(bars):
            value = mark.values[place]
            if not math.isfinite(value):
                continue
            y = middle + (order - len(bars) / 2) * thick
            end = x(min(max(value, x.low), x.high))
            said = tag("title", f"{label} {words.get(mark.name, mark.name)}: {_number(value)}")
            colour = _colour(mark, colours)
            parts.append(
                tag(
                    "rect",
                    said,
                    x=min(origin, end),
                    y=y + 1,
                    width=max(1.0, abs(end - origin)),
                    height=thick - 2,
                    rx=2,
                    class_=f"fill-{colour}",
                )
            )
            beyond = end
            if mark.low is not None and mark.high is not None:
                a, b = (x(min(max(v[place], x.low), x.high)) for v in (mark.low, mark.high))
                y_mid = y + thick / 2
                parts.append(tag("line", x1=a, x2=b, y1=y_mid, y2=y_mid, class_="whisker"))
                beyond = max(end, b)
            short = _number(float(f"{value:.3g}"))
            parts.append(svg.text(beyond + 5, y + thick / 2 + 4, short))
    return parts, height


def _gallery(gallery: Gallery, words: Words) -> tuple[list[Html], float]:
    parts, top = _title(words.get(gallery.title, gallery.title))
    columns = min(gallery.columns, len(gallery.pictures))
    cell = (_WIDTH - 16) / columns
    side = min(cell - 10, 150.0)
    letters = max(6, int(cell / _LETTER))
    captions = [
        textwrap.wrap(words.get(picture.caption, picture.caption), letters)
        for picture in gallery.pictures
    ]
    top += 8
    for first in range(0, len(gallery.pictures), columns):
        row = range(first, min(first + columns, len(gallery.pictures)))
        for index in row:
            left = 8 + cell * (index - first) + (cell - side) / 2
            parts.append(_pixels(gallery.pictures[index].png, left, top, side, side))
            for line, text in enumerate(captions[index]):
                y = top + side + 15 + 15 * line
                parts.append(svg.text(left + side / 2, y, text, anchor="middle"))
        top += side + 12 + 15 * max(len(captions[index]) for index in row)
    return parts, top + 4


def _pixels(png: str, left: float, top: float, width: float, height: float) -> Html:
    return tag(
        "image",
        href=f"data:image/png;base64,{png}",
        x=left,
        y=top,
        width=width,
        height=height,
        preserveAspectRatio="none",
        class_="pixels",
    )


def _number(value: float) -> str:
    """As few digits as tell ticks apart: 1500, 1.5 k only beyond ten thousand, 1e-05."""
    if value == 0 or 1e-3 <= abs(value) < 1e4:
        return f"{value:.4g}"
    for power, unit in ((9, "G"), (6, "M"), (3, "k")):
        if 10**power <= abs(value) < 1000 * 10**power:
            return f"{value / 10**power:.3g}{unit}"
    return f"{value:.0e}" if abs(value) < 1e-3 else f"{value:.2g}"
