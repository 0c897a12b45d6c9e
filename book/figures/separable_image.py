"""A separable convolution of a photograph: a kernel for each colour, then a mixture of the maps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from book.figures import canvas, features
from book.figures.grids import CELL, STYLE, grid, written
from lamina import ops
from lamina.report import svg
from lamina.report.finding.pictures import grey
from lamina.report.html import Html, tag

KOREAN = {
    "Separable: each channel apart, then mixed": "분리 가능: 먼저 채널마다, 그다음 섞기",
    "red": "빨강",
    "green": "초록",
    "blue": "파랑",
    "9 pixels of each, from 0 to 99": "각각의 픽셀 9개, 0에서 99까지",
    "depthwise: times the channel's kernel, summed": "깊이별: 그 채널의 커널을 곱해 더하기",
    "pointwise: weighted sum": "점별: 가중합",
    "The framed pixel:": "테두리 친 픽셀:",
}

COLOURS = "red", "green", "blue"
KERNEL = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
MIX = np.array([0.3, 0.6, 0.1])
SIDE = 60
PLACE = (30, 56)
"""Row and column of the pixel that is followed, not on the border."""
_PICTURE, _COLUMN = 108.0, 144.0


class Separated(NamedTuple):
    """Every stage, in float64.

    Args:
        colours: (3, H, W), whole numbers from 0 to 99.
        maps: (3, H, W), after the depthwise half.
        mixed: (H, W), after the pointwise half.
    """

    colours: NDArray[np.float64]
    maps: NDArray[np.float64]
    mixed: NDArray[np.float64]


def separated() -> Separated:
    """Run `lamina.ops.separable_conv2d`, and its first half alone, on the photograph."""
    x = torch.tensor(np.rint(features.photo(SIDE) * 99))[None]
    depthwise = torch.tensor(KERNEL).expand(3, 1, 3, 3).contiguous()
    maps = ops.depthwise_conv2d(x, depthwise, padding=1)
    pointwise = torch.tensor(MIX)[None, :, None, None]
    mixed = ops.separable_conv2d(x, depthwise, pointwise, padding=1)
    return Separated(x[0].numpy(), maps[0].numpy(), mixed[0, 0].numpy())


def total() -> str:
    """The sum of the chosen pixel over the three maps, written out."""
    of = separated()
    terms = " + ".join(
        f"{weight:g}·{written(value)}"
        for weight, value in zip(MIX, of.maps[:, *PLACE], strict=True)
    )
    return f"{terms} = {written(round(of.mixed[PLACE], 1))}"


def draw(words: Mapping[str, str]) -> str:
    """Draw a column for each colour, from its pixels to its map, and the mixture below them."""

    def said(text: str) -> str:
        return words.get(text, text)

    of = separated()
    reach = float(np.abs(of.maps).max())
    title = said("Separable: each channel apart, then mixed")
    parts: list[Html] = [svg.text(12, 24, title, class_="title")]
    row, column = PLACE
    windows, kernels, maps, mixed = 196.0, 308.0, 418.0, 582.0
    parts.append(svg.text(12, windows - 10, said("9 pixels of each, from 0 to 99")))
    depthwise = said("depthwise: times the channel's kernel, summed")
    parts.append(svg.text(12, kernels - 10, depthwise))
    for at, part in enumerate(svg.wrapped(said("pointwise: weighted sum"), 14)):
        parts.append(svg.text(12 + 2 * _COLUMN, mixed + 50 + 18 * at, part))
    for at, colour in enumerate(COLOURS):
        left = 12 + _COLUMN * at
        middle = left + _PICTURE / 2
        parts.append(svg.text(left, 48, said(colour)))
        parts.append(svg.pixels(grey(of.colours[at], 0, 99), left, 56, _PICTURE, _PICTURE))
        parts.append(_frame(left, 56, 3))
        pixels = of.colours[at, row - 1 : row + 2, column - 1 : column + 2]
        inset = (_PICTURE - 3 * CELL) / 2
        parts += grid(pixels, left + inset, windows)
        parts += grid(KERNEL, left + inset, kernels, "weight")
        value = f"= {written(of.maps[at, *PLACE])}"
        parts.append(svg.text(middle, maps - 10, value, anchor="middle", class_="label strong"))
        parts.append(svg.pixels(grey(of.maps[at], -reach, reach), left, maps, _PICTURE, _PICTURE))
        parts.append(_frame(left, maps, 1))
        ends = {"x1": middle, "x2": 12 + _COLUMN + _PICTURE / 2}
        width = {"style": f"stroke-width:{1 + 3 * MIX[at]:.1f}"}
        line = {"y1": maps + _PICTURE + 3, "y2": mixed - 3, "class_": "series-2"}
        parts.append(tag("line", **ends, **line, **width))
        beside, anchor = (-8, "end") if at == 0 else (8, "start")
        place = (middle + beside, maps + _PICTURE + 22)
        parts.append(svg.text(*place, f"× {MIX[at]:g}", anchor=anchor, class_="label strong"))
    left = 12 + _COLUMN
    parts.append(svg.pixels(grey(of.mixed, -reach, reach), left, mixed, _PICTURE, _PICTURE))
    parts.append(_frame(left, mixed, 1))
    bottom = mixed + _PICTURE + 26
    parts.append(svg.text(12, bottom, said("The framed pixel:")))
    parts.append(svg.text(12, bottom + 22, total(), class_="label strong"))
    return canvas.figure(420, bottom + 38, parts, label=title, style=STYLE)


def _frame(left: float, top: float, pixels: int) -> Html:
    """A frame around so many pixels a side, the followed one in their middle."""
    step = _PICTURE / SIDE
    row, column = (place - pixels // 2 for place in PLACE)
    box = {"x": left + step * column - 2, "y": top + step * row - 2}
    side = step * pixels + 4
    return tag("rect", **box, width=side, height=side, class_="chosen")
