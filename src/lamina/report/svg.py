"""Charts drawn by hand as inline SVG: they follow the page's colours, light, dark or on paper.

Colours are classes of ``assets/page.css``: ``series-1`` to ``series-6`` for strokes, ``fill-1`` to
``fill-6`` for areas, ``axis``, ``grid`` and ``label`` for the frame.
"""

import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from lamina.report.html import Content, Html, asset, tag


@dataclass(frozen=True)
class Axis:
    """A scale from values to pixels.

    Args:
        low: smallest value shown.
        high: largest value shown; above ``low``.
        start: pixel of ``low``.
        stop: pixel of ``high``; below ``start`` for an upright axis.
        log: logarithmic to the base 10; ``low`` must be positive.

    Example:
        >>> Axis(0, 10, 40, 240)(5)
        140.0
    """

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        """Return the pixel of ``value``."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.stop - self.start)

    def ticks(self, about: int = 5, *, whole: bool = False) -> list[float]:
        """Return round values within the axis, about as many as asked for; ``whole`` ones alone.

        >>> Axis(0, 1, 0, 1).ticks()
        [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        >>> Axis(1, 2, 0, 1).ticks(whole=True)
        [1.0, 2.0]
        """
        if self.log:
            first, last = math.floor(math.log10(self.low)), math.floor(math.log10(self.high))
            every = max(1, round((last - first) / about))
            factors = (1, 2, 5) if last - first < 3 else (1,)
            steps = [
                float(f"{factor}e{power}")
                for power in range(first, last + 1, every)
                for factor in factors
            ]
            return [step for step in steps if self.low <= step <= self.high]
        raw = (self.high - self.low) / about
        unit = 10.0 ** math.floor(math.log10(raw))
        step = unit * min((1, 2, 5, 10), key=lambda factor: abs(factor * unit - raw))
        if whole:
            step = max(1.0, step)
        first, last = math.ceil(self.low / step - 1e-9), math.floor(self.high / step + 1e-9)
        return [round(index * step, 12) for index in range(first, last + 1)]


def drawing(width: float, height: float, *content: Content, label: str, class_: str = "") -> Html:
    """Return an SVG that shrinks with the page; ``label`` is what a screen reader says."""
    return tag(
        "svg",
        content,
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
        class_=class_ or None,
    )


def file(width: float, height: float, *content: Content, label: str, style: str) -> str:
    """Return a file of its own that follows the reader's light or dark scheme and loads nothing.

    Args:
        width: in pixels.
        height: in pixels.
        content: what is drawn, on the scheme's ground.
        label: what a screen reader says.
        style: rules, behind the palette.
    """
    sheet = tag(
        "svg",
        tag("style", Html(f"{asset('palette.css')}{style}")),
        tag("rect", width=width, height=height, style="fill:var(--card)"),
        content,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=label,
    )
    return f"{sheet}\n"


def pixels(png: str, left: float, top: float, width: float, height: float) -> Html:
    """Place a small picture, PNG in base64; its pixels stay square."""
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


def text(x: float, y: float, content: str, *, anchor: str = "start", class_: str = "label") -> Html:
    """Write text at a point; ``anchor`` is start, middle or end."""
    return tag("text", content, x=x, y=y, text_anchor=anchor, class_=class_)


def frame(
    x: Axis,
    y: Axis,
    *,
    x_form: Callable[[float], str] = "{:g}".format,
    y_form: Callable[[float], str] = "{:g}".format,
    x_title: str = "",
    y_title: str = "",
    whole_x: bool = False,
) -> Html:
    """Draw grid lines, tick labels and axis titles around the plot area of two axes."""
    parts: list[Html] = []
    for value in y.ticks():
        parts.append(tag("line", x1=x.start, x2=x.stop, y1=y(value), y2=y(value), class_="grid"))
        parts.append(text(x.start - 8, y(value) + 4, y_form(value), anchor="end"))
    for value in x.ticks(6, whole=whole_x):
        parts.append(text(x(value), y.start + 20, x_form(value), anchor="middle"))
    parts.append(tag("line", x1=x.start, x2=x.stop, y1=y.start, y2=y.start, class_="axis"))
    if x_title:
        parts.append(text((x.start + x.stop) / 2, y.start + 42, x_title, anchor="middle"))
    if y_title:
        parts.append(text(x.start, y.stop - 10, y_title))
    return tag("g", parts)


@dataclass(frozen=True)
class Series:
    """A line of a chart: points (x, y) in order; a y that is not finite leaves a gap."""

    name: str
    points: Sequence[tuple[float, float]]


def line_chart(
    series: Sequence[Series],
    *,
    label: str,
    x_title: str = "",
    y_title: str = "",
    x_form: Callable[[float], str] = "{:g}".format,
    y_form: Callable[[float], str] = "{:.3g}".format,
    y_range: tuple[float, float] | None = None,
    whole_x: bool = False,
    log: bool = False,
    size: tuple[int, int] = (520, 280),
) -> Html:
    """Draw up to six lines with a legend; the page's script reads values out under the pointer.

    Args:
        series: the lines, at least one.
        label: what the chart shows, in words.
        x_title: name and unit of x.
        y_title: name and unit of y.
        x_form: how a value of x is written.
        y_form: how a value of y is written.
        y_range: lowest and highest y; from the points by default.
        whole_x: x is counted: its ticks are whole numbers.
        log: a logarithmic y axis; values that are not positive are left out.
        size: width and height in pixels before the page scales it.
    """
    width, height = size

    def drawable(value: float) -> bool:
        return math.isfinite(value) and (value > 0 or not log)

    known = [(x, y) for line in series for x, y in line.points if drawable(y)]
    if not known:
        return drawing(width, height, text(16, 32, "no finite values"), label=label)
    x_low, x_high = min(x for x, _ in known), max(x for x, _ in known)
    y_low, y_high = y_range or _padded(min(y for _, y in known), max(y for _, y in known), log)
    x = Axis(x_low, x_high if x_high > x_low else x_low + 1, 60, width - 16)
    y = Axis(y_low, y_high, height - 50, 36, log)

    lines: list[Html] = []
    legend_x = width - 16.0
    for position in reversed(range(len(series))):
        name = series[position].name
        legend_x -= 9.5 * len(name) + 28  # room for the larger text of a narrow page
        colour = position % 6 + 1
        lines.append(
            tag(
                "g",
                tag("line", x1=legend_x, x2=legend_x + 14, y1=14, y2=14, class_=f"series-{colour}"),
                text(legend_x + 19, 18, name),
            )
        )
    for position, line in enumerate(series):
        colour = position % 6 + 1
        line_path = path([(x(a), y(b)) if drawable(b) else None for a, b in line.points])
        lines.append(tag("path", d=line_path, class_=f"series-{colour}"))
        for a, b in line.points:
            if drawable(b):
                # An unseen, generous target per point: its title is what the pointer shows.
                title = tag("title", f"{line.name}, {x_title} {x_form(a)}: {y_form(b)}")
                # A line of one point has no length: that point is drawn.
                seen = "point" if len(line.points) == 1 else "dot"
                circle = {"cx": x(a), "cy": y(b), "r": 4 if seen == "point" else 7}
                lines.append(tag("circle", title, **circle, class_=f"{seen} fill-{colour}"))
    axes = frame(
        x, y, x_form=x_form, y_form=y_form, x_title=x_title, y_title=y_title, whole_x=whole_x
    )
    return drawing(width, height, axes, lines, label=label, class_="chart")


def path(points: Iterable[tuple[float, float] | None]) -> str:
    """Return the ``d`` of a line through points in pixels; None leaves a gap.

    >>> path([(0, 0), (1, 2), None, (3, 4)])
    'M0.0 0.0L1.0 2.0M3.0 4.0'
    """
    steps, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        steps.append(f"{pen}{point[0]:.1f} {point[1]:.1f}")
        pen = "L"
    return "".join(steps)


def shortened(name: str, width: float) -> str:
    """Return ``name`` cut in its middle to about ``width`` pixels: its ends tell names apart."""
    most = max(5, int(width / 7))
    if len(name) <= most:
        return name
    tail = (most - 1) // 2
    return f"{name[: most - 1 - tail]}…{name[-tail:]}"


def letters(content: str) -> float:
    """Return the width of a text in Latin letters: a Korean or Chinese one is nearly twice as wide.

    >>> letters("loss"), letters("손실")
    (4.0, 3.6)
    """
    return sum(1.8 if unicodedata.east_asian_width(c) in "WF" else 1.0 for c in content)


def wrapped(content: str, most: float) -> list[str]:
    """Return a text in lines of at most ``most`` `letters`, where its words allow it.

    >>> wrapped("the gap between both losses", 16)
    ['the gap between', 'both losses']
    """
    lines: list[str] = []
    for word in content.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and letters(longer) <= most:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _padded(low: float, high: float, log: bool) -> tuple[float, float]:
    if log:
        below, above = _round_down(low), 1 / _round_down(1 / high)
        return (below, above) if below < above else (below / 2, above * 2)
    room = (high - low) * 0.05 or abs(high) * 0.05 or 1.0
    return (0.0 if 0 <= low < (high - low) / 2 else low - room), high + room


def _round_down(value: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above ``value``."""
    unit = 10.0 ** math.floor(math.log10(value))
    return max((f * unit for f in (1, 2, 5) if f * unit <= value), default=unit)
