"""A pointwise convolution of a photograph: the colours of each pixel, weighted and added."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from book.figures import canvas, features
from lamina import ops
from lamina.report import svg
from lamina.report.finding.pictures import grey
from lamina.report.html import Html, tag

KOREAN = {
    "Pointwise: the channels of each pixel, mixed": "점별 합성곱: 픽셀마다 섞은 채널",
    "red": "빨강",
    "green": "초록",
    "blue": "파랑",
    "lightness": "밝기",
    "red − green": "빨강 − 초록",
    "The chosen pixel:": "고른 픽셀:",
}

COLOURS = "red", "green", "blue"
NAMES = "lightness", "red − green"
WEIGHTS = np.array([[0.3, 0.6, 0.1], [1.0, -1.0, 0.0]])
"""(2, 3): of each output to each colour."""
SIDE = 60
PLACE = (30, 26)
_PICTURE = 124.0
_STYLE = ".weight { stroke: var(--card); stroke-width: 5; paint-order: stroke; }"


def maps() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The photograph in hundredths, (3, H, W), and `lamina.ops.conv2d`'s mixtures, (2, H, W)."""
    x = np.rint(features.photo(SIDE) * 100) / 100
    y = ops.conv2d(torch.tensor(x)[None], torch.tensor(WEIGHTS)[:, :, None, None])[0].numpy()
    return x, y


def sums() -> list[str]:
    """The sum of each output at the chosen pixel, written out."""
    x, y = maps()
    lines = []
    for weights, value in zip(WEIGHTS, y[:, *PLACE], strict=True):
        said = ""
        for weight, pixel in zip(weights, x[:, *PLACE], strict=True):
            if weight:
                sign = "−" if weight < 0 else "+"
                said += f" {sign} " if said else ("−" if weight < 0 else "")
                said += f"{abs(weight):g}·{pixel:.2f}"
        lines.append(f"{said} = {value:.3f}".replace("-", "−"))
    return lines


def draw(words: Mapping[str, str]) -> str:
    """Draw the colours, the two mixtures, and the sums of one pixel."""

    def said(text: str) -> str:
        return words.get(text, text)

    x, y = maps()
    title = said("Pointwise: the channels of each pixel, mixed")
    parts = [svg.text(12, 24, title, class_="title")]
    for at, colour in enumerate(COLOURS):
        left = 12 + 136.0 * at
        parts.append(svg.text(left, 48, said(colour)))
        parts += _picture(grey(x[at], 0, 1), left, 56)
    tops = 56 + _PICTURE + 92
    for at, (name, weights) in enumerate(zip(NAMES, WEIGHTS, strict=True)):
        left = 12 + 68 + 136.0 * at
        parts += _lines(weights, left, 56 + _PICTURE + 6, tops - 26)
        parts.append(svg.text(left, tops - 8, said(name)))
        low, high = (0.0, 1.0) if at == 0 else (-1.0, 1.0)
        parts += _picture(grey(y[at], low, high), left, tops)
    bottom = tops + _PICTURE + 28
    parts.append(svg.text(12, bottom, said("The chosen pixel:")))
    for at, (name, line) in enumerate(zip(NAMES, sums(), strict=True)):
        parts.append(
            svg.text(12, bottom + 24 + 22 * at, f"{said(name)}: {line}", class_="label strong")
        )
    return canvas.figure(420, bottom + 62, parts, label=title, style=_STYLE)


def _lines(weights: NDArray[np.float64], left: float, top: float, bottom: float) -> list[Html]:
    """A line to the picture at ``left`` from each colour that has a weight, with the weight."""
    parts: list[Html] = []
    for place, weight in enumerate(map(float, weights)):
        if weight:
            start, stop = 12 + 136 * place + _PICTURE / 2, left + _PICTURE / 2
            ends = {"x1": start, "x2": stop, "y1": top, "y2": bottom}
            kind, width = f"series-{2 if weight > 0 else 3}", f"stroke-width:{1 + 3 * abs(weight)}"
            parts.append(tag("line", **ends, class_=kind, style=width))
            x, y = start + 0.3 * (stop - start), top + 0.3 * (bottom - top) + 5
            number = f"{weight:g}".replace("-", "−")
            parts.append(svg.text(x, y, number, anchor="middle", class_="label strong weight"))
    return parts


def _picture(png: str, left: float, top: float) -> list[Html]:
    step = _PICTURE / SIDE
    row, column = PLACE
    box = {"x": left + step * column - 2, "y": top + step * row - 2}
    frame = tag("rect", **box, width=step + 4, height=step + 4, class_="chosen")
    return [svg.pixels(png, left, top, _PICTURE, _PICTURE), frame]
