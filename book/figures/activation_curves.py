"""Activations: functions beside derivatives, and what ReLU leaves of a real feature map."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from book.figures import canvas, features
from lamina import ops
from lamina.report import svg
from lamina.report.finding.pictures import grey, signed
from lamina.report.html import Html, tag
from lamina.report.units import percent

KOREAN = {
    "Activations and their derivatives": "활성화 함수와 도함수",
    "slope f′(x)": "기울기 f′(x)",
    "set to zero": "0이 되는 비율",
    "steepest slope": "최대 기울기",
    "The feature map of a photograph": "사진의 특징 맵",
    "x: vertical edges": "x: 세로 가장자리",
    "white: relu′(x) = 1": "흰색: relu′(x) = 1",
    "ReLU cuts {}: no gradient returns there.": "ReLU가 {}를 잘라 내고, 그곳은 기울기가 0입니다.",
}

NAMES = "relu", "hardswish", "silu", "gelu", "sigmoid", "tanh"
SIDE = 60
"""Pixels of the feature map."""


class Curve(NamedTuple):
    """A function and its derivative at the same places, in float64."""

    y: NDArray[np.float64]
    slope: NDArray[np.float64]


def curve(name: str, at: NDArray[np.float64]) -> Curve:
    """Values by `lamina.ops.activation`, slopes by autograd."""
    x = torch.tensor(at, requires_grad=True)
    y = ops.activation(x, name)
    (slope,) = torch.autograd.grad(y.sum(), x)
    return Curve(y.detach().numpy(), slope.numpy())


def feature_map() -> NDArray[np.float64]:
    """Vertical edges of the photograph, (SIDE, SIDE), with mean 0 and deviation 1."""
    edges = features.edges(features.photo(SIDE).mean(0))[0]
    return (edges - edges.mean()) / edges.std()


def draw(words: Mapping[str, str]) -> str:
    """Draw curves, what each does to the feature map, and the map before and after."""

    def said(text: str) -> str:
        return words.get(text, text)

    at = np.linspace(-4, 4, 201)
    title = said("Activations and their derivatives")
    parts = [svg.text(12, 24, title, class_="title")]
    panels = (
        ("y = f(x)", 36.0, svg.Axis(-1.2, 3.2, 200, 60), (-1, 0, 1, 2, 3)),
        (said("slope f′(x)"), 244.0, svg.Axis(-0.3, 1.7, 200, 60), (0, 0.5, 1, 1.5)),
    )
    for place, (name, left, y, ticks) in enumerate(panels):
        x = svg.Axis(-4, 4, left, left + 164)
        parts.append(svg.text(left, 50, name, class_="label strong"))
        parts += _frame(x, y, ticks)
        for number, function in enumerate(NAMES, 1):
            points = zip(at, curve(function, at)[place], strict=True)
            inside = [(x(a), y(b)) if b <= y.high else None for a, b in points]
            parts.append(tag("path", d=svg.path(inside), class_=f"series-{number}"))
    parts += _table(said)
    x_map = feature_map()
    relu = curve("relu", x_map)
    parts.append(svg.text(12, 424, said("The feature map of a photograph"), class_="title"))
    maps = (
        (said("x: vertical edges"), signed(x_map, 4)),
        ("relu(x)", signed(relu.y, 4)),
        (said("white: relu′(x) = 1"), grey(relu.slope, 0, 1)),
    )
    for column, (name, png) in enumerate(maps):
        left = 12 + 138 * column
        parts.append(svg.text(left + 60, 450, name, anchor="middle"))
        parts.append(svg.pixels(png, left, 458, 120, 120))
    cut = percent(float((relu.slope == 0).mean()))
    line = said("ReLU cuts {}: no gradient returns there.").format(cut)
    parts.append(svg.text(12, 602, line, class_="label strong"))
    return canvas.figure(420, 616, parts, label=title)


def _frame(x: svg.Axis, y: svg.Axis, ticks: tuple[float, ...]) -> list[Html]:
    parts: list[Html] = []
    for value in ticks:
        style = "axis" if value == 0 else "grid"
        parts.append(tag("line", x1=x.start, x2=x.stop, y1=y(value), y2=y(value), class_=style))
        name = f"{value:g}".replace("-", "−")
        parts.append(svg.text(x.start - 6, y(value) + 5, name, anchor="end"))
    for value in (-4, -2, 0, 2, 4):
        name = f"{value:g}".replace("-", "−")
        parts.append(svg.text(x(value), y.start + 18, name, anchor="middle"))
    parts.append(tag("line", x1=x(0), x2=x(0), y1=y.start, y2=y.stop, class_="axis"))
    return parts


def _table(said: Callable[[str], str]) -> list[Html]:
    """A line per function: its colour, what it sets to zero on the map, its steepest slope."""
    x_map, at = feature_map(), np.linspace(-4, 4, 8001)
    parts = [
        svg.text(270, 248, said("set to zero"), anchor="end"),
        svg.text(408, 248, said("steepest slope"), anchor="end"),
    ]
    for number, name in enumerate(NAMES, 1):
        y = 248 + 24 * number
        cut = float((curve(name, x_map).y == 0).mean())
        steepest = float(curve(name, at).slope.max())
        parts.append(tag("line", x1=12, x2=34, y1=y - 5, y2=y - 5, class_=f"series-{number}"))
        parts.append(svg.text(42, y, name, class_="label strong"))
        parts.append(svg.text(270, y, percent(cut), anchor="end", class_="label strong"))
        parts.append(svg.text(408, y, f"{steepest:.2f}", anchor="end", class_="label strong"))
    return parts
