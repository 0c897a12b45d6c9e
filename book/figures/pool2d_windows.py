"""Pooling on a photograph: the largest of a window, the mean of a window, the mean of all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from book.figures import canvas, features
from book.figures.grids import CELL, STYLE, WIDE, around, grid
from lamina import ops
from lamina.report import svg
from lamina.report.finding.pictures import grey
from lamina.report.html import Html, tag

KOREAN = {
    "Pooling: one number for each window": "풀링: 윈도마다 수 하나",
    "4×4 pixels of the photograph, from 0 to 99": "사진의 4×4 픽셀, 0에서 99까지",
    "the largest": "최댓값",
    "the mean": "평균",
    "the photograph": "사진",
    "maximum, 1/2": "최댓값, 1/2",
    "mean, 1/2": "평균, 1/2",
    "maximum, 1/4": "최댓값, 1/4",
    "mean, 1/4": "평균, 1/4",
    "Global mean: one number a channel": "전역 평균: 채널마다 수 하나",
    "red": "빨강",
    "green": "초록",
    "blue": "파랑",
}

COLOURS = "red", "green", "blue"
SIDE = 60
PLACE = (20, 12)
"""The corner of the patch, a multiple of 4."""
_PICTURE = 124.0


class Pooled(NamedTuple):
    """What the pools read and made, in float64.

    Args:
        image: (H, W), whole numbers from 0 to 99.
        patch: (4, 4) of it.
        largest: (2, 2), of the patch.
        means: (2, 2), of the patch.
        halves: by "max" and "mean", (H/2, W/2).
        quarters: by "max" and "mean", (H/4, W/4).
        globals: (3,), of the colours, from 0 to 1.
    """

    image: NDArray[np.float64]
    patch: NDArray[np.float64]
    largest: NDArray[np.float64]
    means: NDArray[np.float64]
    halves: dict[str, NDArray[np.float64]]
    quarters: dict[str, NDArray[np.float64]]
    globals: NDArray[np.float64]


def pooled() -> Pooled:
    """Run lamina's pools on the photograph in grey, and the global one on its colours."""
    colours = features.photo(SIDE)
    image = np.rint(colours.mean(0) * 99)
    x = torch.tensor(image)[None, None]
    row, column = PLACE
    patch = image[row : row + 4, column : column + 4]
    pools = {"max": ops.max_pool2d, "mean": ops.avg_pool2d}
    made = {
        size: {name: pool(x, size)[0, 0].numpy() for name, pool in pools.items()} for size in (2, 4)
    }
    of_patch = torch.tensor(patch)[None, None]
    return Pooled(
        image,
        patch,
        ops.max_pool2d(of_patch, 2)[0, 0].numpy(),
        ops.avg_pool2d(of_patch, 2)[0, 0].numpy(),
        made[2],
        made[4],
        ops.global_avg_pool2d(torch.tensor(colours)[None])[0, :, 0, 0].numpy(),
    )


def draw(words: Mapping[str, str]) -> str:
    """Draw a patch with what is kept of it, the smaller images, and the global means."""

    def said(text: str) -> str:
        return words.get(text, text)

    of = pooled()
    title = said("Pooling: one number for each window")
    parts: list[Html] = [svg.text(12, 24, title, class_="title")]
    parts.append(svg.text(12, 50, said("4×4 pixels of the photograph, from 0 to 99")))
    parts += grid(of.patch, 12, 60)
    for row in (0, 2):
        for column in (0, 2):
            parts.append(around(12, 60, row, column, 2))
            window = of.patch[row : row + 2, column : column + 2]
            u, v = np.unravel_index(int(window.argmax()), window.shape)
            box = {"x": 12 + CELL * (column + int(v)), "y": 60 + CELL * (row + int(u))}
            parts.append(tag("rect", **box, width=CELL, height=CELL, class_="won"))
    for left, name, values in (
        (200.0, "the largest", of.largest),
        (310.0, "the mean", of.means),
    ):
        parts.append(svg.text(left, 76, said(name)))
        parts += grid(values, left, 86, "weight", width=WIDE)
    top = 204.0
    parts.append(svg.text(12, top, said("the photograph")))
    parts.append(svg.pixels(grey(of.image, 0, 99), 12, top + 10, _PICTURE, _PICTURE))
    row, column = (at * _PICTURE / SIDE for at in PLACE)
    step = 4 * _PICTURE / SIDE
    box = {"x": 12 + column, "y": top + 10 + row, "width": step, "height": step}
    parts.append(tag("rect", **box, class_="chosen"))
    shown = (
        (148.0, top, "maximum, 1/2", of.halves["max"]),
        (284.0, top, "mean, 1/2", of.halves["mean"]),
        (148.0, top + 160, "maximum, 1/4", of.quarters["max"]),
        (284.0, top + 160, "mean, 1/4", of.quarters["mean"]),
    )
    for left, y, name, values in shown:
        parts.append(svg.text(left, y, said(name)))
        parts.append(svg.pixels(grey(values, 0, 99), left, y + 10, _PICTURE, _PICTURE))
    parts.append(svg.text(12, top + 332, said("Global mean: one number a channel")))
    means = ", ".join(
        f"{said(name)} {value:.3f}" for name, value in zip(COLOURS, of.globals, strict=True)
    )
    parts.append(svg.text(12, top + 356, means, class_="label strong"))
    won = ".won { fill: var(--c2); fill-opacity: .25; }"
    return canvas.figure(420, top + 374, parts, label=title, style=STYLE + won)
