"""A separable convolution of a photograph: a kernel for each colour, then a mixture of the maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from book.figures import canvas, features
from lamina import ops
from lamina.report import svg
from lamina.report.finding.pictures import grey
from lamina.report.html import Html, tag

KOREAN = {
    "Separable: first each channel apart, then mixed": "분리 가능: 먼저 채널마다, 그다음 섞기",
    "red": "빨강",
    "green": "초록",
    "blue": "파랑",
    "depthwise: edges of each": "깊이별: 각각의 가장자리",
    "pointwise: weighted sum": "점별: 가중합",
    "edges of all, one pixel:": "모든 가장자리, 픽셀 하나:",
}

COLOURS = "red", "green", "blue"
KERNEL = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]]) / 4
MIX = np.array([0.3, 0.6, 0.1])
SIDE = 60
PLACE = (30, 56)
_PICTURE = 124.0


class Separated(NamedTuple):
    """Every stage, in float64: the colours, their maps, both (3, H, W), and the sum, (H, W)."""

    colours: NDArray[np.float64]
    maps: NDArray[np.float64]
    mixed: NDArray[np.float64]


def separated() -> Separated:
    """Run `lamina.ops.separable_conv2d`, and its first half alone, on the photograph."""
    x = torch.tensor(features.photo(SIDE))[None]
    depthwise = torch.tensor(KERNEL).expand(3, 1, 3, 3).contiguous()
    maps = ops.depthwise_conv2d(x, depthwise, padding=1)
    pointwise = torch.tensor(MIX)[None, :, None, None]
    mixed = ops.separable_conv2d(x, depthwise, pointwise, padding=1)
    return Separated(x[0].numpy(), maps[0].numpy(), mixed[0, 0].numpy())


def total() -> str:
    """The sum of the chosen pixel over the three maps, written out."""
    of = separated()
    terms = " + ".join(
        f"{weight:g}·{value:.3f}" for weight, value in zip(MIX, of.maps[:, *PLACE], strict=True)
    )
    return f"{terms} = {of.mixed[PLACE]:.3f}".replace("-", "−")


def draw(words: Mapping[str, str]) -> str:
    """Draw three columns of colour and map, and the mixture below them."""

    def said(text: str) -> str:
        return words.get(text, text)

    of = separated()
    reach = float(np.abs(of.maps).max())
    title = said("Separable: first each channel apart, then mixed")
    parts: list[Html] = [svg.text(12, 24, title, class_="title")]
    second = 56 + _PICTURE + 40
    third = second + _PICTURE + 62
    parts.append(svg.text(12, second - 10, said("depthwise: edges of each")))
    for at, line in enumerate(svg.wrapped(said("pointwise: weighted sum"), 14)):
        parts.append(svg.text(284, third + _PICTURE / 2 + 18 * at, line))
    left_of_sum = 12 + 136.0
    for at, colour in enumerate(COLOURS):
        left = 12 + 136.0 * at
        parts.append(svg.text(left, 48, said(colour)))
        parts.append(svg.pixels(grey(of.colours[at], 0, 1), left, 56, _PICTURE, _PICTURE))
        png = grey(of.maps[at], -reach, reach)
        parts.append(svg.pixels(png, left, second, _PICTURE, _PICTURE))
        parts.append(_frame(left, second))
        ends = {"x1": left + _PICTURE / 2, "x2": left_of_sum + _PICTURE / 2}
        width = {"style": f"stroke-width:{1 + 3 * MIX[at]:.1f}"}
        line = {"y1": second + _PICTURE + 3, "y2": third - 3, "class_": "series-2"}
        parts.append(tag("line", **ends, **line, **width))
    png = grey(of.mixed, -reach, reach)
    parts.append(svg.pixels(png, left_of_sum, third, _PICTURE, _PICTURE))
    parts.append(_frame(left_of_sum, third))
    bottom = third + _PICTURE + 24
    parts.append(svg.text(12, bottom, said("edges of all, one pixel:")))
    parts.append(svg.text(12, bottom + 24, total(), class_="label strong"))
    return canvas.figure(420, bottom + 40, parts, label=title)


def _frame(left: float, top: float) -> Html:
    step = _PICTURE / SIDE
    row, column = PLACE
    box = {"x": left + step * column - 2, "y": top + step * row - 2}
    return tag("rect", **box, width=step + 4, height=step + 4, class_="chosen")
