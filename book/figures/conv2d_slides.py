"""A kernel that slides over an image: plain, padded with a stride, dilated, and in groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from book.figures import canvas
from book.figures.grids import CELL, STYLE, around, grid, products, written
from lamina import ops
from lamina.report import svg
from lamina.report.html import Html, tag

KOREAN = {
    "A kernel slides over an image": "커널이 이미지 위를 미끄러집니다",
    "Plain: a window at every place": "기본: 모든 위치에 윈도 하나",
    "Padding 1, stride 2: every other place": "패딩 1, 보폭 2: 한 칸 건너 하나",
    "Dilation 2: a wider window": "팽창 2: 더 넓은 윈도",
    "Groups: channels are convolved apart": "그룹: 채널을 나누어 합성곱",
    "image": "이미지",
    "kernel": "커널",
    "output": "출력",
    "one group": "그룹 1개",
    "two groups": "그룹 2개",
    "{} kernels of 3×3": "3×3 커널 {}개",
}

KERNEL = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])
PLACES = 9
STILL = 4
"""The place that stands where nothing moves: the middle one."""
_SECONDS = 1.4  # that a place is shown
_OUTPUT, _KERNEL = 326.0, 222.0


class Slide(NamedTuple):
    """A case: its title, its image before padding, and how the windows lie."""

    title: str
    side: int
    padding: int = 0
    stride: int = 1
    dilation: int = 1


SLIDES = (
    Slide("Plain: a window at every place", 5),
    Slide("Padding 1, stride 2: every other place", 5, padding=1, stride=2),
    Slide("Dilation 2: a wider window", 7, dilation=2),
)


def image(side: int) -> NDArray[np.float64]:
    """Small whole numbers, (side, side)."""
    return np.random.default_rng(43).integers(0, 5, (side, side)).astype(float)


def output(slide: Slide) -> NDArray[np.float64]:
    """What `lamina.ops.conv2d` makes of the image, (3, 3)."""
    x, weight = torch.tensor(image(slide.side))[None, None], torch.tensor(KERNEL)[None, None]
    y = ops.conv2d(x, weight, stride=slide.stride, padding=slide.padding, dilation=slide.dilation)
    return np.asarray(y[0, 0].numpy(), dtype=np.float64)


def draw(words: Mapping[str, str]) -> str:
    """Draw the three cases, whose windows move, and the groups."""

    def said(text: str) -> str:
        return words.get(text, text)

    parts: list[Html] = []
    top = 8.0
    for slide in SLIDES:
        drawn, height = _slide(slide, top, said)
        parts += drawn
        top += height
    parts += _groups(top, said)
    label = said("A kernel slides over an image")
    return canvas.figure(420, top + 170, parts, label=label, style=STYLE + _motion())


def _motion() -> str:
    """Show one place after the other, and each number of the output from its place on."""
    period = f"{_SECONDS * PLACES:.1f}s step-end infinite"
    starts = [f"{100 * place / PLACES:.3f}%" for place in range(PLACES)]
    filled = "".join(
        f"""
      .made-{place} {{ animation: made-{place} {period}; }}
      @keyframes made-{place} {{ 0% {{ opacity: 0; }} {starts[place]} {{ opacity: 1; }} }}"""
        for place in range(1, PLACES)
    )
    return f"""
    .place {{ opacity: 0; }} .place.still {{ opacity: 1; }}
    @media screen and (prefers-reduced-motion: no-preference) {{
      .place, .place.still {{ opacity: 0; animation: shown {period}; }}
      @keyframes shown {{ 0% {{ opacity: 1; }} {starts[1]} {{ opacity: 0; }} }}{filled}
    }}"""


def _slide(slide: Slide, top: float, say: Callable[[str], str]) -> tuple[list[Html], float]:
    padded = np.pad(image(slide.side), slide.padding)
    made = output(slide)
    side = len(padded)
    grids = top + 52
    parts = [svg.text(12, top + 18, say(slide.title), class_="title")]
    middle = grids + CELL * (side - 3) / 2
    for left, width, name in (
        (12.0, side, "image"),
        (_KERNEL, 3, "kernel"),
        (_OUTPUT, 3, "output"),
    ):
        at = grids if name == "image" else middle
        head = say(name)
        parts.append(svg.text(left + CELL * width / 2, at - 8, head, anchor="middle"))
    parts += grid(padded, 12, grids, border=slide.padding)
    parts += grid(KERNEL, _KERNEL, middle, "weight")
    for place, value in enumerate(made.ravel()):
        x, y = _OUTPUT + CELL * (place % 3), middle + CELL * (place // 3)
        parts.append(tag("rect", x=x, y=y, width=CELL, height=CELL, class_="cell"))
        kind = f"number made-{place}"
        at, line = x + CELL / 2, y + CELL / 2 + 4.5
        parts.append(svg.text(at, line, written(value), anchor="middle", class_=kind))
    bottom = grids + CELL * side
    for place in range(PLACES):
        row, column = divmod(place, 3)
        first, reach = (row * slide.stride, column * slide.stride), 2 * slide.dilation + 1
        taps = [
            (first[0] + u * slide.dilation, first[1] + v * slide.dilation)
            for u in range(3)
            for v in range(3)
        ]
        shown: list[Html] = [around(12, grids, *first, reach)]
        if slide.dilation > 1:
            shown += [around(12, grids, *tap, 1, "tap") for tap in taps]
        shown.append(around(_OUTPUT, middle, row, column, 1))
        weights = KERNEL.ravel()
        terms = [(padded[tap], w) for tap, w in zip(taps, weights, strict=True) if w]
        total = f"{products(terms)} = {written(made[row, column])}"
        shown.append(svg.text(12, bottom + 22, total, class_="number"))
        still = "place still" if place == STILL else "place"
        delay = f"animation-delay:{_SECONDS * place:.1f}s"
        parts.append(tag("g", shown, class_=still, style=delay))
    return parts, 52 + CELL * side + 44


def _groups(top: float, say: Callable[[str], str]) -> list[Html]:
    """Four channels to four, in one group and in two: a line for each kernel of 3×3."""
    title = say("Groups: channels are convolved apart")
    parts = [svg.text(12, top + 18, title, class_="title")]
    for left, groups, name in ((12.0, 1, "one group"), (222.0, 2, "two groups")):
        parts.append(svg.text(left, top + 44, say(name)))
        per = 4 // groups
        lines = 0
        for one in range(4):
            for other in range(4):
                if one // per == other // per:
                    ends = {"x1": left + 22 + 44 * one, "x2": left + 22 + 44 * other}
                    colour = f"series-{1 + one // per}"
                    parts.append(tag("line", **ends, y1=top + 76, y2=top + 120, class_=colour))
                    lines += 1
        for channel in range(4):
            for y in (top + 56, top + 120):
                box = {"x": left + 12 + 44 * channel, "y": y, "width": 20, "height": 20, "rx": 3}
                parts.append(tag("rect", **box, class_=f"fill-{1 + channel // per}"))
        count = say("{} kernels of 3×3").format(lines)
        parts.append(svg.text(left, top + 160, count))
    return parts
