"""A chart as SVG: one drawing per panel for a page, all together for a file that stands alone."""

from __future__ import annotations

from lamina.report import svg
from lamina.report.finding.axes import axes
from lamina.report.finding.bars import bars
from lamina.report.finding.chart import Bars, Chart, Gallery, Panel
from lamina.report.finding.sheet import LETTER, Drawn, Sheet, Words
from lamina.report.html import Html, asset, tag

WIDTH = 460
"""Pixels of a panel beside others, on a page that has room for them."""
NARROW = 340
"""Pixels of a panel on a phone: its text is as large there as drawn."""


def panels(chart: Chart, words: Words | None = None) -> list[Html]:
    """Draw each panel by itself, for a page that sets them as wide as its reader's screen.

    Args:
        chart: what to draw.
        words: labels in another language.
    """
    sheet = _sheet(chart, words, WIDTH)
    drawn = [_drawn(panel, sheet) for panel in chart.panels]
    label = sheet.say(chart.label)
    return [
        svg.drawing(WIDTH, height, content, label=label, class_="chart")
        for content, height in drawn
    ]


def figure(
    chart: Chart,
    words: Words | None = None,
    columns: int = 2,
    width: float = WIDTH,
    only: int | None = None,
) -> str:
    """Draw the panels as one SVG file that follows the reader's light or dark scheme.

    Args:
        chart: what to draw.
        words: labels in another language.
        columns: panels beside each other.
        width: of a panel, in pixels.
        only: the place of a panel that is drawn alone, in its colours; all by default.
    """
    sheet = _sheet(chart, words, width)
    shown = chart.panels if only is None else [chart.panels[only]]
    drawn = [_drawn(panel, sheet) for panel in shown]
    parts: list[Html] = []
    top = 0.0
    for first in range(0, len(drawn), columns):
        row = drawn[first : first + columns]
        for column, (content, _) in enumerate(row):
            place = f"translate({column * width:g} {top:g})"
            parts.append(tag("g", content, transform=place))
        top += max(height for _, height in row) + 12
    whole = width * min(columns, len(drawn))
    font = "text { font-family: system-ui, sans-serif; }"
    style = f"{asset('chart.css')}{font}"
    return svg.file(whole, top, parts, label=sheet.say(chart.label), style=style)


def _sheet(chart: Chart, words: Words | None, width: float) -> Sheet:
    colours = {name: place % 6 + 1 for place, name in enumerate(chart.names())}
    return Sheet(width, words or {}, colours)


def _drawn(panel: Panel | Gallery, sheet: Sheet) -> Drawn:
    """Content and height of a panel."""
    parts, top = sheet.title(panel.title)
    if isinstance(panel, Gallery):
        drawn, end = _gallery(panel, sheet, top)
        return parts + drawn, end
    legend, top = sheet.legend(panel.marks, top)
    marks = [mark for mark in panel.marks if isinstance(mark, Bars)]
    drawn, end = bars(panel, marks, sheet, top) if marks else axes(panel, sheet, top)
    return parts + legend + drawn, end


def _gallery(gallery: Gallery, sheet: Sheet, top: float) -> Drawn:
    parts: list[Html] = []
    columns = min(gallery.columns, len(gallery.pictures))
    cell = (sheet.width - 16) / columns
    side = min(cell - 10, 150.0)
    captions = [
        svg.wrapped(sheet.say(picture.caption), max(6.0, (cell - 6) / LETTER))
        for picture in gallery.pictures
    ]
    top += 8
    for first in range(0, len(gallery.pictures), columns):
        row = range(first, min(first + columns, len(gallery.pictures)))
        for index in row:
            left = 8 + cell * (index - first) + (cell - side) / 2
            parts.append(svg.pixels(gallery.pictures[index].png, left, top, side, side))
            for line, text in enumerate(captions[index]):
                y = top + side + 15 + 15 * line
                parts.append(svg.text(left + side / 2, y, text, anchor="middle"))
        top += side + 12 + 15 * max(len(captions[index]) for index in row)
    return parts, top + 4
