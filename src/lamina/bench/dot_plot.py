"""A dot plot of ratios: a line for each thing that was timed, 1 where both sides take as long."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from lamina.report import svg
from lamina.report.html import Html, tag

__all__ = ["Dot", "Panel", "Style", "dot_plot"]

_WIDTH, _RIGHT = 480, 464
_LETTER = 8.2  # pixels, of a wide font
_ROW, _HEAD, _FOOT = 25, 44, 34
_LEGEND, _LINE = 226, 23  # pixels of an entry

_CSS = (
    "text{font:15px system-ui,sans-serif;fill:var(--ink)}"
    ".title{font-weight:600;font-size:16px}"
    ".note{font-size:13px;fill:var(--soft)}"
    ".grid{stroke:var(--line)}.one{stroke:var(--ink);stroke-width:1.5}"
    ".goal{stroke:var(--warm);stroke-width:3}"
)


class Style(NamedTuple):
    """How a dot looks: a colour of the palette, pixels of radius and line, filled or not."""

    colour: str
    radius: int = 5
    width: float = 2.5
    filled: bool = False


class Dot(NamedTuple):
    """A ratio, how it looks, and what it says when it is pointed at."""

    ratio: float
    style: Style
    said: str


@dataclass(frozen=True)
class Panel:
    """Lines of dots under a title.

    Args:
        title: above them.
        dots: by the line's name.
        goals: ratios to reach, by the line's name.
    """

    title: str
    dots: Mapping[str, Sequence[Dot]]
    goals: Mapping[str, float] = field(default_factory=dict)


def dot_plot(
    label: str,
    panels: Sequence[Panel],
    legend: Sequence[tuple[str, Style]],
    known: Mapping[str, Any],
    say: Callable[[str], str] = str,
) -> str:
    """Draw panels below one another on one axis, as an SVG file that follows light and dark.

    Args:
        label: what it shows, for who cannot see it.
        panels: from top to bottom.
        legend: names of styles; a goal's line is told after them where there is one.
        known: facts of the machine.
        say: puts the few words of this figure's own into another language.
    """
    ratios = [dot.ratio for panel in panels for dots in panel.dots.values() for dot in dots]
    goals = [goal for panel in panels for goal in panel.goals.values()]
    low, high = min([0.8, *ratios]) / 1.1, max([1.25, *ratios, *goals]) * 1.1
    names = [len(name) for panel in panels for name in panel.dots]
    x = svg.Axis(low, high, max(150, 24 + _LETTER * max(names)), _RIGHT, log=True)
    parts, top = _legend(legend, say("the goal") if goals else "")
    for panel in panels:
        parts.append(tag("g", _panel(panel, x), transform=f"translate(0 {top})"))
        top += _HEAD + _FOOT + _ROW * len(panel.dots)
    facts = (("processor", ""), ("instruction set", "x86-64 "), ("torch", "PyTorch "))
    where = ", ".join(f"{word}{known[name]}" for name, word in facts if name in known)
    threads = f"{known['threads']} {say('threads')}; " if "threads" in known else ""
    parts.append(svg.text(16, top + 2, f"{threads}{where}", class_="note"))
    return svg.file(_WIDTH, top + 16, parts, label=label, style=_CSS)


def _panel(panel: Panel, x: svg.Axis) -> list[Html]:
    bottom = _HEAD + _ROW * len(panel.dots)
    parts = [svg.text(16, 24, panel.title, class_="title")]
    for tick in x.ticks(4):
        class_ = "one" if tick == 1 else "grid"
        parts.append(_upright(x(tick), _HEAD - 8, bottom, class_))
        parts.append(svg.text(x(tick), bottom + 16, f"{tick:g}×", anchor="middle", class_="note"))
    for number, (name, dots) in enumerate(panel.dots.items()):
        y = _HEAD + _ROW * number + 8
        parts.append(svg.text(16, y + 5, name.replace("_", " ")))
        if name in panel.goals:
            parts.append(_upright(x(panel.goals[name]), y - 9, y + 9, "goal"))
        parts += [_mark(dot.style, x(dot.ratio), y, dot.said) for dot in dots]
    return parts


def _upright(x: float, top: float, bottom: float, class_: str) -> Html:
    return tag("line", "", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=top, y2=bottom, class_=class_)


def _mark(style: Style, x: float, y: float, said: str) -> Html:
    colour = f"var({style.colour})"
    return tag(
        "circle",
        tag("title", said),
        cx=f"{x:.1f}",
        cy=y,
        r=style.radius,
        style=f"stroke:{colour};fill:{colour if style.filled else 'none'}",
        stroke_width=style.width,
    )


def _legend(entries: Sequence[tuple[str, Style]], goal: str) -> tuple[list[Html], int]:
    parts: list[Html] = []
    for at, (label, style) in enumerate([*entries, *([(goal, None)] if goal else [])]):
        x, y = 24 + _LEGEND * (at % 2), 18 + _LINE * (at // 2)
        drawn = _upright(x, y - 8, y + 8, "goal") if style is None else _mark(style, x, y, label)
        parts += [drawn, svg.text(x + 14, y + 5, label)]
    return parts, _LINE * -(-(len(entries) + bool(goal)) // 2) + 12
