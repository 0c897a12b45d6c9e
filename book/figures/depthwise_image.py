"""A depthwise convolution of a photograph: each colour by a kernel of its own."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from book.figures import canvas, features
from book.figures.grids import CELL, STYLE, grid
from lamina import ops
from lamina.report import svg
from lamina.report.finding.pictures import grey

KOREAN = {
    "Depthwise: each channel by a kernel of its own": "깊이별 합성곱: 채널마다 자기 커널 하나",
    "red": "빨강",
    "green": "초록",
    "blue": "파랑",
    "channel": "채널",
    "its kernel": "커널",
    "its map": "특징 맵",
    "edges |": "가장자리 |",
    "edges —": "가장자리 —",
    "the mean: ÷ 9": "평균: ÷ 9",
}

COLOURS = "red", "green", "blue"
NAMES = "edges |", "edges —", "the mean: ÷ 9"
KERNELS = np.array(
    [
        [[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]],
        [[1.0, 2.0, 1.0], [0.0, 0.0, 0.0], [-1.0, -2.0, -1.0]],
        [[1.0, 1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 1.0, 1.0]],
    ]
)
"""(3, 3, 3): a kernel for each colour; the last one is divided by 9."""
_SCALE = np.array([1.0, 1.0, 9.0])


def maps(side: int = 60) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The photograph and what `lamina.ops.depthwise_conv2d` makes of it, (3, side, side) each."""
    x = features.photo(side)
    weight = torch.tensor(KERNELS / _SCALE[:, None, None])[:, None]
    y = ops.depthwise_conv2d(torch.tensor(x)[None], weight, padding=1)[0].numpy()
    return x, y


def draw(words: Mapping[str, str]) -> str:
    """Draw a row for each colour: channel, kernel, map."""

    def said(text: str) -> str:
        return words.get(text, text)

    x, y = maps()
    title = said("Depthwise: each channel by a kernel of its own")
    parts = [svg.text(12, 24, title, class_="title")]
    for left, name in ((12.0, "channel"), (166.0, "its kernel"), (288.0, "its map")):
        parts.append(svg.text(left, 52, said(name)))
    for at, colour in enumerate(COLOURS):
        top = 62 + 146.0 * at
        parts.append(svg.pixels(grey(x[at], 0, 1), 12, top, 120, 120))
        parts.append(svg.text(12, top + 136, said(colour)))
        parts += grid(KERNELS[at], 166, top + 21)
        parts.append(svg.text(166, top + 21 + 3 * CELL + 18, said(NAMES[at])))
        reach = float(np.abs(y[at]).max())
        low, high = (-reach, reach) if KERNELS[at].sum() == 0 else (0.0, 1.0)
        parts.append(svg.pixels(grey(y[at], low, high), 288, top, 120, 120))
        for left, sign in ((149.0, "⋆"), (267.0, "=")):
            parts.append(svg.text(left, top + 66, sign, anchor="middle", class_="title"))
    return canvas.figure(420, 62 + 146 * 3, parts, label=title, style=STYLE)
