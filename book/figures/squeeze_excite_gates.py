"""Squeeze and excite on a photograph: means, two small layers, gates, and the maps behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from book.figures import canvas, features
from lamina import nn, ops
from lamina.report import svg
from lamina.report.finding.pictures import grey
from lamina.report.html import Html, tag

KOREAN = {
    "Squeeze and excite: a gate for every channel": "스퀴즈-익사이트: 채널마다 게이트 하나",
    "light": "밝기",
    "red": "빨강",
    "edges |": "가장자리 |",
    "edges —": "가장자리 —",
    "mean {}": "평균 {}",
    "gate {}": "게이트 {}",
    "two small layers": "작은 두 계층",
    "Weights, set by hand here:": "직접 정한 가중치:",
    "above 0": "양수",
    "below 0": "음수",
}

NAMES = "light", "red", "edges |", "edges —"
FIRST = ((-2.0, 6.0, 0.0, 0.0), (0.0, 0.0, 6.0, 6.0))
"""Weights to the two numbers between: one asks for red, one for edges."""
FIRST_BIAS = (0.0, 0.0)
SECOND = ((-3.0, 1.0), (2.5, -1.0), (0.0, 1.0), (-1.5, 0.5))
"""Weights to the four gates."""
SECOND_BIAS = (0.0, 0.0, 0.0, 0.0)


class Excited(NamedTuple):
    """What the layer makes of the maps, in float64.

    Args:
        x: (4, H, W), from 0 to 1.
        means: (4,).
        hidden: (2,), after ReLU.
        gates: (4,), after the sigmoid.
        y: as x.
    """

    x: NDArray[np.float64]
    means: NDArray[np.float64]
    hidden: NDArray[np.float64]
    gates: NDArray[np.float64]
    y: NDArray[np.float64]


def excited() -> Excited:
    """Run `lamina.nn.SqueezeExcite` on four feature maps of the photograph."""
    maps = features.channels(60)
    x = torch.tensor(maps / maps.max((1, 2), keepdims=True))[None]
    layer = nn.SqueezeExcite(4, 2, dtype=torch.float64)
    values = (FIRST, FIRST_BIAS, SECOND, SECOND_BIAS)
    with torch.no_grad():
        for parameter, value in zip(layer.parameters(), values, strict=True):
            parameter.copy_(torch.tensor(value).reshape(parameter.shape))
        means = ops.global_avg_pool2d(x)
        hidden = ops.activation(layer.fc1(means), layer.activation)
        gates = ops.activation(layer.fc2(hidden), layer.gate)
        y = layer(x)
    return Excited(*(t.squeeze().numpy() for t in (x, means, hidden, gates, y)))


def draw(words: Mapping[str, str]) -> str:
    """Draw the maps, the small network from means to gates, and the maps behind the gates."""

    def said(text: str) -> str:
        return words.get(text, text)

    of = excited()
    title = said("Squeeze and excite: a gate for every channel")
    parts = [svg.text(12, 24, title, class_="title")]
    columns = [12 + 100.67 * place for place in range(4)]
    for place, left in enumerate(columns):
        middle = left + 47
        parts.append(svg.text(middle, 48, said(NAMES[place]), anchor="middle"))
        parts.append(svg.pixels(grey(of.x[place], 0, 1), left, 56, 94, 94))
        mean = said("mean {}").format(f"{of.means[place]:.3f}")
        parts.append(svg.text(middle, 170, mean, anchor="middle", class_="label strong"))
        gate = said("gate {}").format(f"{of.gates[place]:.3f}")
        parts.append(svg.text(middle, 352, gate, anchor="middle", class_="label strong"))
        bar = {"x": left, "y": 360, "height": 8, "rx": 2}
        parts.append(tag("rect", **bar, width=94, class_="track"))
        parts.append(tag("rect", **bar, width=94 * float(of.gates[place]), class_="fill-1"))
        parts.append(svg.pixels(grey(of.y[place], 0, 1), left, 376, 94, 94))
    parts += _network(of, [left + 47 for left in columns])
    parts.append(svg.text(12, 260, said("two small layers")))
    parts.append(svg.text(408, 260, "ReLU, sigmoid", anchor="end"))
    parts.append(svg.text(12, 494, said("Weights, set by hand here:")))
    at = 222.0
    for colour, name in ((2, "above 0"), (3, "below 0")):
        ends = {"x1": at, "x2": at + 18, "y1": 489, "y2": 489}
        parts.append(tag("line", **ends, class_=f"series-{colour}"))
        parts.append(svg.text(at + 24, 494, said(name)))
        at += 92
    return canvas.figure(420, 508, parts, label=title)


def _network(of: Excited, columns: list[float]) -> list[Html]:
    """A line per weight that is not 0, as wide as the weight is large; the numbers between."""
    between = (160.0, 260.0)
    parts: list[Html] = []
    for unit, weights in enumerate(FIRST):
        for place, weight in enumerate(weights):
            parts += _line(columns[place], 180, between[unit], 242, weight)
    for place, inputs in enumerate(SECOND):
        for unit, weight in enumerate(inputs):
            parts += _line(between[unit], 268, columns[place], 334, weight)
    for x, value in zip(between, of.hidden, strict=True):
        box = {"x": x - 28, "y": 242, "width": 56, "height": 26, "rx": 6}
        parts.append(tag("rect", **box, class_="track"))
        parts.append(svg.text(x, 260, f"{value:.3f}", anchor="middle", class_="label strong"))
    return parts


def _line(x1: float, y1: float, x2: float, y2: float, weight: float) -> list[Html]:
    if not weight:
        return []
    ends = {"x1": x1, "y1": y1, "x2": x2, "y2": y2}
    width = {"style": f"stroke-width:{0.8 + abs(weight):.2f}"}
    said = tag("title", f"{weight:g}")
    return [tag("line", said, **ends, **width, class_=f"series-{2 if weight > 0 else 3}")]
