"""Batch normalisation on photographs: a channel's histogram before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from book.figures import canvas, features
from lamina import nn
from lamina.report import svg
from lamina.report.finding.pictures import grey
from lamina.report.html import Html, tag

KOREAN = {
    "Batch normalisation of one channel": "채널 하나의 배치 정규화",
    "a batch of 8 images": "이미지 8장의 배치",
    "their green channel": "초록 채널",
    "Before: x, from 0 to 255": "정규화 전: x (0~255)",
    "After: y": "정규화 후: y",
    "y = γ · (x − mean) / √(variance + ε) + β": "y = γ · (x − 평균) / √(분산 + ε) + β",
    "mean {}": "평균 {}",
    "deviation {}": "표준편차 {}",
}

CROPS = (
    ("china.jpg", 20, 130), ("china.jpg", 120, 80), ("china.jpg", 0, 420), ("china.jpg", 280, 380),
    ("flower.jpg", 60, 170), ("flower.jpg", 140, 280), ("flower.jpg", 20, 0),
    ("flower.jpg", 220, 420),
)  # fmt: skip
"""Photograph, top and left of squares of 128 pixels, shrunk to 32."""
EPS = 1e-5


class Channel(NamedTuple):
    """A channel of a batch, before and after, and the map that leads from one to the other.

    Args:
        images: (N, 3, H, W), from 0 to 255.
        x: the green channel, (N, H, W).
        y: the same, normalised.
        scale: a of y = a · x + b.
        shift: b.
    """

    images: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    scale: float
    shift: float


def channel() -> Channel:
    """Normalise the batch by `lamina.nn.BatchNorm2d` in training, weight 1 and bias 0."""
    photos = {name: load_sample_image(name).astype(np.float64) for name, _, _ in CROPS}
    crops = [
        features.shrunk(photos[name][top : top + 128, left : left + 128].transpose(2, 0, 1), 32)
        for name, top, left in CROPS
    ]
    images = np.stack(crops)
    y = nn.BatchNorm2d(3, eps=EPS, dtype=torch.float64)(torch.tensor(images))
    x = images[:, 1]
    scale = 1 / np.sqrt(x.var() + EPS)
    return Channel(images, x, y[:, 1].detach().numpy(), float(scale), float(-scale * x.mean()))


def draw(words: Mapping[str, str]) -> str:
    """Draw the batch, its green channel, and the histograms around the map's formula."""

    def said(text: str) -> str:
        return words.get(text, text)

    of = channel()
    title = said("Batch normalisation of one channel")
    parts = [svg.text(12, 24, title, class_="title")]
    rows = ((said("a batch of 8 images"), of.images), (said("their green channel"), of.x))
    for row, (name, images) in enumerate(rows):
        top = 38 + 76 * row
        parts.append(svg.text(12, top + 12, name))
        for place, image in enumerate(images):
            pixels = image.transpose(1, 2, 0) if image.ndim == 3 else image
            left = 12 + 49.8 * place
            parts.append(svg.pixels(grey(pixels, 0, 255), left, top + 20, 47, 47))
    parts.append(svg.text(12, 210, said("Before: x, from 0 to 255"), class_="title"))
    parts += _histogram(of.x, svg.Axis(0, 255, 12, 408), 222, (0, 50, 100, 150, 200, 250), said)
    formula = f"y = {of.scale:.4f} · x − {-of.shift:.2f}"
    general = said("y = γ · (x − mean) / √(variance + ε) + β")
    parts.append(svg.text(210, 396, f"{general},  γ = 1, β = 0", anchor="middle"))
    parts.append(svg.text(210, 424, formula, anchor="middle", class_="title"))
    parts.append(svg.text(12, 462, said("After: y"), class_="title"))
    parts += _histogram(of.y, svg.Axis(-3, 3, 12, 408), 474, (-3, -2, -1, 0, 1, 2, 3), said)
    return canvas.figure(420, 632, parts, label=title)


def _histogram(
    values: NDArray[np.float64],
    x: svg.Axis,
    top: float,
    ticks: tuple[float, ...],
    said: Callable[[str], str],
) -> list[Html]:
    """Bars, the mean as a line, and the band of one deviation to both sides."""
    mean, deviation = float(values.mean()), float(values.std())
    low, high = float(values.min()), float(values.max())
    counts, edges = np.histogram(values, 32, (low, high))
    y = svg.Axis(0, float(counts.max()), top + 120, top + 26)
    parts: list[Html] = []
    band = {"x": x(mean - deviation), "width": x(mean + deviation) - x(mean - deviation)}
    parts.append(tag("rect", y=top + 22, height=y(0) - top - 22, **band, class_="band-2"))
    for count, left, right in zip(counts, edges, edges[1:], strict=False):
        bar = {"y": y(float(count)), "height": y(0) - y(float(count))}
        parts.append(tag("rect", x=x(left), width=x(right) - x(left) - 0.8, **bar, class_="fill-1"))
    parts.append(tag("line", x1=x.start, x2=x.stop, y1=y(0), y2=y(0), class_="axis"))
    parts.append(tag("line", x1=x(mean), x2=x(mean), y1=top + 22, y2=y(0), class_="series-2"))
    for tick in ticks:
        name = f"{tick:g}".replace("-", "−")
        parts.append(svg.text(x(tick), y(0) + 18, name, anchor="middle"))
    facts = f"{said('mean {}')}, {said('deviation {}')}".format(_number(mean), _number(deviation))
    parts.append(svg.text(x(mean), top + 14, facts, anchor="middle", class_="label strong"))
    return parts


def _number(value: float) -> str:
    """One decimal of a pixel's value, two of a normalised one; 0 without a sign."""
    return f"{value:.1f}" if abs(value) >= 10 else f"{round(value, 2) + 0.0:.2f}"
