"""A convolution of a photograph: a kernel, the feature map, and the sum behind one pixel of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from book.figures import canvas, features
from book.figures.grids import CELL, STYLE, grid, products, written
from lamina import ops
from lamina.report import svg
from lamina.report.finding.pictures import grey
from lamina.report.html import Html, tag

KOREAN = {
    "What a kernel makes of a photograph": "커널이 사진에서 만드는 것",
    "the photograph, in grey": "회색조 사진",
    "its feature map: grey is 0": "특징 맵: 회색이 0",
    "its pixels here": "여기의 픽셀",
    "the kernel": "커널",
    "the product of each pair": "쌍마다의 곱",
    "their sum, this pixel of the map: {}": "이들의 합, 맵의 이 픽셀: {}",
}

KERNEL = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
SIDE = 60
PLACE = (26, 17)
"""The chosen pixel of the map, row and column."""
_PICTURE = 190.0


class Seen(NamedTuple):
    """What the convolution read and made, in float64.

    Args:
        image: (H, W), whole numbers from 0 to 99.
        map: (H, W), with a border of zeros around the image.
        window: (3, 3) pixels around the place.
        value: of the map at the place.
    """

    image: NDArray[np.float64]
    map: NDArray[np.float64]
    window: NDArray[np.float64]
    value: float


def seen() -> Seen:
    """Convolve the grey photograph by `lamina.ops.conv2d`."""
    image = np.rint(features.photo(SIDE).mean(0) * 99)
    x, weight = torch.tensor(image)[None, None], torch.tensor(KERNEL)[None, None]
    made = ops.conv2d(x, weight, padding=1)[0, 0].numpy()
    row, column = PLACE
    window = image[row - 1 : row + 2, column - 1 : column + 2]
    return Seen(image, made, window, float(made[row, column]))


def draw(words: Mapping[str, str]) -> str:
    """Draw image, map, and the arithmetic of the chosen pixel."""

    def said(text: str) -> str:
        return words.get(text, text)

    of = seen()
    title = said("What a kernel makes of a photograph")
    parts = [svg.text(12, 24, title, class_="title")]
    reach = float(np.abs(of.map).max())
    pictures = (
        (12.0, "the photograph, in grey", grey(of.image, 0, 99), 3),
        (218.0, "its feature map: grey is 0", grey(of.map, -reach, reach), 1),
    )
    step = _PICTURE / SIDE
    for left, name, png, size in pictures:
        parts.append(svg.text(left, 48, said(name)))
        parts.append(svg.pixels(png, left, 56, _PICTURE, _PICTURE))
        row, column = (at - size // 2 for at in PLACE)
        box = {"x": left + step * column - 1, "y": 56 + step * row - 1}
        parts.append(
            tag("rect", **box, width=step * size + 2, height=step * size + 2, class_="chosen")
        )
    top = 300.0
    heads = ("its pixels here", "the kernel", "the product of each pair")
    grids = (of.window, KERNEL, of.window * KERNEL)
    for left, head, values, kind in zip(
        (12.0, 124.0, 236.0), heads, grids, ("cell", "weight", "cell"), strict=True
    ):
        parts.append(svg.text(left, top - 12, said(head)))
        if head == "the product of each pair":
            parts += _wide(values, left, top)
        else:
            parts += grid(values, left, top, kind)
    parts.append(svg.text(106, top + 45, "×", anchor="middle"))
    parts.append(svg.text(218, top + 45, "=", anchor="middle"))
    terms = [(x, w) for x, w in zip(of.window.ravel(), KERNEL.ravel(), strict=True) if w]
    total = f"{products(terms)} = {written(of.value)}"
    parts.append(svg.text(12, top + 108, total, class_="number"))
    sum_ = said("their sum, this pixel of the map: {}").format(written(of.value))
    parts.append(svg.text(12, top + 132, sum_, class_="label strong"))
    return canvas.figure(420, top + 148, parts, label=title, style=STYLE)


def _wide(values: NDArray[np.float64], left: float, top: float) -> list[Html]:
    """A grid whose squares have room for three figures and a sign."""
    parts: list[Html] = []
    for (row, column), value in np.ndenumerate(values):
        x, y = left + 42 * column, top + CELL * row
        parts.append(tag("rect", x=x, y=y, width=42, height=CELL, class_="cell"))
        parts.append(svg.text(x + 21, y + 17.5, written(value), anchor="middle", class_="number"))
    return parts
