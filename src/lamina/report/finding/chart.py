"""Figures as data: what is drawn, not how, so that a finding's file redraws its figure.

A `Chart` is a row of panels; a `Panel` has axes and marks on them, a `Gallery` has pictures. A
name has one colour in all panels of a chart. `lamina.report.finding.drawing` draws them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

Numbers = Sequence[float]


@dataclass(frozen=True)
class Line:
    """Points joined in order, with the band of their spread.

    Args:
        name: in the legend; lines of one name have one colour; empty for none.
        x: positions.
        y: values; one that is not finite leaves a gap.
        low: lower edge of the band, one per point; None for no band.
        high: upper edge of the band.
        dashed: as what theory predicts is drawn.
    """

    name: str
    x: Numbers
    y: Numbers
    low: Numbers | None = None
    high: Numbers | None = None
    dashed: bool = False


@dataclass(frozen=True)
class Points:
    """Points alone.

    Args:
        name: in the legend; empty for none.
        x: positions.
        y: values.
        labels: written beside each point; None for none.
    """

    name: str
    x: Numbers
    y: Numbers
    labels: Sequence[str] | None = None


@dataclass(frozen=True)
class Bars:
    """A horizontal bar per label; several in one panel stand beside each other.

    Args:
        name: in the legend; empty for none.
        labels: what each bar is; the same ones for every `Bars` of a panel.
        values: their lengths.
        low: lower end of the spread, one per bar; None for none.
        high: upper end of the spread.
    """

    name: str
    labels: Sequence[str]
    values: Numbers
    low: Numbers | None = None
    high: Numbers | None = None


Mark = Line | Points | Bars


@dataclass(frozen=True)
class Picture:
    """A small image, shown pixel by pixel.

    Args:
        caption: below it.
        png: a PNG file's bytes in base64; `lamina.report.finding.pictures` makes them.
    """

    caption: str
    png: str


@dataclass(frozen=True)
class Panel:
    """Axes with marks on them.

    Args:
        title: what is seen, as a short sentence.
        marks: lines and points, or bars alone.
        x_title: name and unit of x.
        y_title: name and unit of y.
        x_log: a logarithmic x axis; what is not positive is left out.
        y_log: a logarithmic y axis.
        x_range: least and largest x; from the marks by default.
        y_range: least and largest y; from the marks by default.
        background: an image that fills the whole of ``x_range`` by ``y_range``, in base64.
    """

    title: str
    marks: Sequence[Mark]
    x_title: str = ""
    y_title: str = ""
    x_log: bool = False
    y_log: bool = False
    x_range: tuple[float, float] | None = None
    y_range: tuple[float, float] | None = None
    background: str = ""


@dataclass(frozen=True)
class Gallery:
    """Pictures in a grid, row by row.

    Args:
        title: what is seen, as a short sentence.
        pictures: all of one size, best.
        columns: pictures of a row.
    """

    title: str
    pictures: Sequence[Picture]
    columns: int = 4


@dataclass(frozen=True)
class Chart:
    """One figure.

    Args:
        label: what it shows, in words, for those who do not see it.
        panels: in reading order.
    """

    label: str
    panels: Sequence[Panel | Gallery]

    def names(self) -> list[str]:
        """Names of the legends, in order of their first mark: their places are their colours."""
        marks = (mark for panel in self.panels for mark in _marks(panel))
        return list(dict.fromkeys(mark.name for mark in marks if mark.name))

    def to_dict(self) -> dict[str, Any]:
        """Return plain values; each part carries its class's name as ``"is"``."""
        return {
            "label": self.label,
            "panels": [
                {
                    **asdict(panel),
                    "is": type(panel).__name__,
                    **(
                        {"marks": [{**asdict(m), "is": type(m).__name__} for m in panel.marks]}
                        if isinstance(panel, Panel)
                        else {}
                    ),
                }
                for panel in self.panels
            ],
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Chart:
        """Read what `to_dict` wrote.

        Example:
            >>> chart = Chart("a line", [Panel("up", [Line("a", [0, 1], [0, 1])])])
            >>> Chart.from_dict(chart.to_dict()) == chart
            True
        """
        return cls(values["label"], [_part(panel) for panel in values["panels"]])


_PARTS = {kind.__name__: kind for kind in (Line, Points, Bars, Panel, Gallery)}


def _part(values: dict[str, Any]) -> Any:  # noqa: ANN401 - one of _PARTS
    values = dict(values)
    kind = _PARTS[values.pop("is")]
    if kind is Panel:
        values["marks"] = [_part(mark) for mark in values["marks"]]
        for axis in ("x_range", "y_range"):
            values[axis] = tuple(values[axis]) if values[axis] else None
    if kind in (Line, Points, Bars):
        # What is no finite number is a word in JSON.
        values |= {key: _numbers(item) for key, item in values.items() if key in _NUMBERS}
    if kind is Gallery:
        values["pictures"] = [Picture(**picture) for picture in values["pictures"]]
    return kind(**values)


_NUMBERS = ("x", "y", "low", "high", "values")


def _numbers(values: Sequence[float | str] | None) -> list[float] | None:
    return None if values is None else [v if isinstance(v, int) else float(v) for v in values]


def _marks(panel: Panel | Gallery) -> Iterator[Mark]:
    if isinstance(panel, Panel):
        yield from panel.marks
