"""Dropout's mask: another one in every step of training, none in evaluation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from book.figures import canvas, features
from lamina import nn
from lamina.report import svg
from lamina.report.finding.pictures import grey
from lamina.report.html import Html, tag

KOREAN = {
    "Dropout, p = 0.5: each number by itself": "드롭아웃, p = 0.5: 값마다 따로",
    "Spatial dropout: whole channels": "공간 드롭아웃: 채널 전체",
    "feature map": "특징 맵",
    "four channels": "채널 4개",
    "training, step {}": "학습, {}단계",
    "evaluation": "평가",
    "mean {}": "평균 {}",
    "The masks of three steps": "세 단계의 마스크",
    "step {}": "{}단계",
    "What is kept is multiplied by 1 / (1 − p) = 2.": "남은 값에는 1 / (1 − p) = 2를 곱합니다.",
}

P, SEED, STEPS = 0.5, 0, 3
CELL = 20


def number_map() -> NDArray[np.float64]:
    """Edges of the photograph in 6×6 whole numbers up to 9."""
    edges = np.hypot(*features.edges(features.photo(60).mean(0)))
    means = features.shrunk(edges[None], 6)[0]
    return np.rint(9 * means / means.max())


def steps(values: NDArray[np.float64], layer: torch.nn.Module) -> list[NDArray[np.float64]]:
    """What a dropout layer makes of (C, H, W) in each of the first steps of training."""
    x = torch.tensor(values)[None]
    return [layer.train()(x)[0].numpy() for _ in range(STEPS)]


def draw(words: Mapping[str, str]) -> str:
    """Draw a map and four channels: before, in the steps of training, in evaluation."""

    def said(text: str) -> str:
        return words.get(text, text)

    title = said("Dropout, p = 0.5: each number by itself")
    x = number_map()
    trained = [y[0] for y in steps(x[None], nn.Dropout(P, seed=SEED))]
    parts = [svg.text(12, 24, title, class_="title")]
    parts += _heads(said, "feature map", 50)
    parts += [_numbers(x, 12), _numbers(x, 288)]
    parts += _steps([_numbers(y, 150) for y in trained])
    for left, mean in ((12, x.mean()), (288, x.mean())):
        parts.append(_mean(left, mean, said))
    parts += _steps([_mean(150, y.mean(), said) for y in trained])
    parts.append(svg.text(12, 226, said("The masks of three steps"), class_="label strong"))
    for place, y in enumerate(trained):
        left = 12 + 138 * place
        parts.append(_mask(y != 0, left, 236))
        parts.append(svg.text(left + 50, 254, said("step {}").format(place + 1)))
        parts.append(svg.text(left + 50, 274, said("mean {}").format(f"{y.mean():.2f}")))
    note = said("What is kept is multiplied by 1 / (1 − p) = 2.")
    parts.append(svg.text(12, 302, note))

    maps = features.channels(60)
    maps = maps / maps.max((1, 2), keepdims=True)
    spatial = steps(maps, nn.Dropout2d(P, seed=SEED))
    parts.append(svg.text(12, 342, said("Spatial dropout: whole channels"), class_="title"))
    parts += _heads(said, "four channels", 368)
    parts += [_channels(maps, 12), _channels(maps, 288)]
    parts += _steps([_channels(y, 150) for y in spatial])
    return canvas.figure(420, 508, parts, label=title, style=_STYLE)


def _heads(said: Callable[[str], str], first: str, y: float) -> list[Html]:
    training = [
        svg.text(210, y, said("training, step {}").format(step + 1), anchor="middle")
        for step in range(STEPS)
    ]
    return [
        svg.text(72, y, said(first), anchor="middle"),
        svg.text(348, y, said("evaluation"), anchor="middle"),
        *_steps(training),
    ]


def _steps(drawn: list[Html]) -> list[Html]:
    """One after the other where motion is welcome, else the first alone."""
    return [tag("g", one, class_=f"step step-{place}") for place, one in enumerate(drawn)]


_STYLE = """
.step-1, .step-2 { opacity: 0; }
@media screen and (prefers-reduced-motion: no-preference) {
  .step { animation: step 9s step-end infinite; }
  .step-1 { animation-delay: -6s; } .step-2 { animation-delay: -3s; }
}
@keyframes step { 0% { opacity: 1; } 33.33% { opacity: 0; } 100% { opacity: 0; } }
.cell { stroke: var(--line); } .cell text { fill: var(--ink); stroke: none; }
"""


def _numbers(values: NDArray[np.float64], left: float) -> Html:
    """A map whose numbers are written in; the larger, the darker."""
    parts: list[Html] = []
    for (row, column), value in np.ndenumerate(values):
        x, y = left + CELL * column, 58 + CELL * row
        shade = {"fill_opacity": float(value / 36)}
        parts.append(tag("rect", x=x, y=y, width=CELL, height=CELL, class_="fill-1 cell", **shade))
        style = "label strong" if value else "label"
        middle = x + CELL / 2
        parts.append(svg.text(middle, y + 15, f"{value:g}", anchor="middle", class_=style))
    return tag("g", parts)


def _mean(left: float, mean: float, said: Callable[[str], str]) -> Html:
    return svg.text(left + 60, 198, said("mean {}").format(f"{mean:.2f}"), anchor="middle")


def _mask(kept: NDArray[np.bool_], left: float, top: float) -> Html:
    parts = [tag("rect", x=left, y=top, width=42, height=42, class_="track")]
    for row, column in np.argwhere(kept):
        place = {"x": left + 7.0 * column, "y": top + 7.0 * row}
        parts.append(tag("rect", **place, width=7, height=7, class_="fill-1"))
    return tag("g", parts)


def _channels(maps: NDArray[np.float64], left: float) -> Html:
    """Four maps in a square, white at twice the largest number that comes in."""
    parts: list[Html] = []
    for place, values in enumerate(maps):
        x, y = left + 62 * (place % 2), 376 + 62 * (place // 2)
        if values.any():
            parts.append(svg.pixels(grey(values, 0, 2), x, y, 58, 58))
        else:
            parts.append(tag("rect", x=x, y=y, width=58, height=58, class_="track"))
    return tag("g", parts)
