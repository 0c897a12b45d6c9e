"""Measured curves as an SVG file that stands alone."""

from __future__ import annotations

from collections.abc import Sequence

from lamina.bench.exponents import Growth
from lamina.report import svg
from lamina.report.html import Html, tag

_WIDTH, _HEIGHT, _LEFT, _TOP, _BOTTOM = 400, 300, 62, 44, 46
_COLOURS = {"direct": "#2563eb", "winograd_4x4": "#c2410c", "limit": "#6b7280"}
_TITLES = {"C": "against input channels", "H·W": "against pixels of an image"}
_STYLE = (
    "text{font:12px system-ui,sans-serif;fill:#374151}"
    ".title{font-weight:600;font-size:14px}"
    ".grid{stroke:#e5e7eb}.axis{stroke:#9ca3af}"
)


def growth_figure(found: Sequence[Growth], conditions: str) -> str:
    """Time against channels and against pixels, log-log, the direct sum's limit drawn in."""
    panels = []
    for index, symbol in enumerate(_TITLES):
        curves = [one for one in found if one.symbol == symbol]
        panels.append(tag("g", _panel(symbol, curves), transform=f"translate({index * _WIDTH} 0)"))
    width = _WIDTH * len(_TITLES)
    picture = tag(
        "svg",
        [
            tag("style", _STYLE),
            tag("rect", "", width=width, height=_HEIGHT + 24, fill="#ffffff"),
            *panels,
            svg.text(_LEFT, _HEIGHT + 14, f"3×3, forward; {conditions}"),
        ],
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {_HEIGHT + 24}",
        width=width,
        height=_HEIGHT + 24,
        role="img",
        aria_label="Time of a 3×3 convolution against channels and against pixels",
    )
    return f"{picture}\n"


def _panel(symbol: str, curves: Sequence[Growth]) -> list[Html]:
    sizes = curves[0].sizes
    lines = {one.algorithm: one.seconds for one in curves}
    lines["limit"] = curves[0].limits
    values = [1e3 * second for seconds in lines.values() for second in seconds]
    x = svg.Axis(sizes[0] / 1.1, sizes[-1] * 1.1, _LEFT, _WIDTH - 24, log=True)
    y = svg.Axis(min(values) / 1.3, max(values) * 1.3, _HEIGHT - _BOTTOM, _TOP, log=True)
    parts = [
        svg.text(_LEFT, 22, f"Milliseconds {_TITLES[symbol]}", class_="title"),
        *_grid(x, y, sizes),
    ]
    for name, seconds in lines.items():
        points = [(x(size), y(1e3 * t)) for size, t in zip(sizes, seconds, strict=True)]
        parts += _curve(name, points)
    for row, name in enumerate(lines):
        label = "limit of the direct sum" if name == "limit" else name
        top = _TOP + 12 + 17 * row
        parts.append(
            tag("rect", "", x=_LEFT + 10, y=top - 8, width=16, height=3, fill=_COLOURS[name])
        )
        parts.append(svg.text(_LEFT + 32, top - 2, label))
    return parts


def _grid(x: svg.Axis, y: svg.Axis, sizes: Sequence[float]) -> list[Html]:
    parts = []
    for tick in y.ticks(4):
        parts.append(_line(x.start, y(tick), x.stop, y(tick), "grid"))
        parts.append(svg.text(x.start - 6, y(tick) + 4, f"{tick:g}", anchor="end"))
    for size in sizes:
        parts.append(_line(x(size), y.start, x(size), y.start + 4, "axis"))
        parts.append(svg.text(x(size), y.start + 18, f"{size:g}", anchor="middle"))
    parts.append(_line(x.start, y.start, x.stop, y.start, "axis"))
    return parts


def _line(left: float, top: float, right: float, bottom: float, class_: str) -> Html:
    return tag(
        "line",
        "",
        x1=f"{left:.1f}",
        y1=f"{top:.1f}",
        x2=f"{right:.1f}",
        y2=f"{bottom:.1f}",
        class_=class_,
    )


def _curve(name: str, points: Sequence[tuple[float, float]]) -> list[Html]:
    path = " ".join(f"{'L' if at else 'M'}{px:.1f} {py:.1f}" for at, (px, py) in enumerate(points))
    stroke = tag(
        "path",
        "",
        d=path,
        fill="none",
        stroke=_COLOURS[name],
        stroke_width=2,
        stroke_dasharray="5 4" if name == "limit" else None,
    )
    if name == "limit":
        return [stroke]
    return [stroke] + [
        tag("circle", "", cx=f"{px:.1f}", cy=f"{py:.1f}", r=3.5, fill=_COLOURS[name])
        for px, py in points
    ]
