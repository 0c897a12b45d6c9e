"""A dense layer on an image: its pixels in one row, each with its weight, summed up to a score.

The layer reads scikit-learn's digits. Its weights are those of least squares, which any machine
finds again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from book.figures import canvas
from lamina.report import svg
from lamina.report.finding.pictures import grey, signed
from lamina.report.html import Html, tag

KOREAN = {
    "A dense layer reads a digit": "완전 연결 층이 숫자를 읽는 방법",
    "image x": "이미지 x",
    "weights w of “{}”": "“{}”의 가중치 w",
    "terms w · x": "항 w · x",
    "flattened: 64 numbers, row by row": "펼치기(flatten): 행 순서로 64개의 수",
    "The largest terms of the sum": "합에서 가장 큰 항",
    "{} others": "나머지 {}개",
    "bias": "편향",
    "score of “{}”": "“{}”의 점수",
    "Every class has its own 64 weights": "클래스마다 64개의 가중치가 따로 있습니다",
}

LEARNT, SHOWN = 1500, 1504
"""Images that the weights are made from, and the image that is shown."""
LARGEST = 5


class Layer(NamedTuple):
    """A dense layer and what it makes of one image, in float64.

    Args:
        image: (64,), from 0 to 1.
        weight: (10, 64).
        bias: (10,).
        label: the digit it is.
    """

    image: NDArray[np.float64]
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    label: int

    @property
    def scores(self) -> NDArray[np.float64]:
        """Of each class."""
        return self.weight @ self.image + self.bias

    @property
    def terms(self) -> NDArray[np.float64]:
        """Of the sum that is the label's score."""
        return self.weight[self.label] * self.image


def layer() -> Layer:
    """Fit 0 and 1 for each class by least squares, with a ridge of 1 on the weights."""
    digits = load_digits()
    images = digits.data / 16
    known = np.c_[images[:LEARNT], np.ones(LEARNT)]
    targets = np.eye(10)[digits.target[:LEARNT]]
    ridge = np.diag([1.0] * 64 + [0.0])
    solved = np.linalg.solve(known.T @ known + ridge, known.T @ targets)
    return Layer(images[SHOWN], solved[:64].T, solved[64], int(digits.target[SHOWN]))


def draw(words: Mapping[str, str]) -> str:
    """Draw image, weights and terms as maps, the largest terms as numbers, the scores as bars."""

    def said(text: str) -> str:
        return words.get(text, text)

    of = layer()
    order = np.argsort(-np.abs(of.terms), kind="stable")[:LARGEST]
    title = said("A dense layer reads a digit")
    parts = [svg.text(12, 24, title, class_="title")]
    maps = (
        (said("image x"), grey(of.image.reshape(8, 8))),
        (said("weights w of “{}”").format(of.label), signed(of.weight[of.label].reshape(8, 8))),
        (said("terms w · x"), signed(of.terms.reshape(8, 8))),
    )
    for column, (name, png) in enumerate(maps):
        left = 12 + 138 * column
        parts.append(svg.text(left + 60, 50, name, anchor="middle"))
        parts.append(svg.pixels(png, left, 58, 120, 120))
        for index in order:
            corner = {"x": left + 15.0 * (index % 8), "y": 58 + 15.0 * (index // 8)}
            parts.append(tag("rect", **corner, width=15, height=15, class_="chosen"))
    parts.append(svg.text(12, 206, said("flattened: 64 numbers, row by row")))
    parts.append(svg.pixels(grey(of.image.reshape(1, 64)), 12, 214, 396, 16))
    for index in order:
        strip = {"x": 12 + 396 / 64 * index, "y": 214, "width": 396 / 64, "height": 16}
        parts.append(tag("rect", **strip, class_="chosen"))
    parts += _sum(of, order, said)
    parts.append(svg.text(12, 482, said("Every class has its own 64 weights"), class_="title"))
    parts += _bars(of, 494)
    return canvas.figure(420, 622, parts, label=title)


def _sum(of: Layer, order: NDArray[np.int64], said: Callable[[str], str]) -> list[Html]:
    """The largest terms, what the others come to, the bias, and the score below a line."""
    rest = float(of.terms.sum() - of.terms[order].sum())
    rows = [
        (
            f"x[{index // 8}, {index % 8}] · w",
            f"{of.image[index]:.3f} × {_number(of.weight[of.label, index])}",
            float(of.terms[index]),
        )
        for index in order
    ]
    rows.append((said("{} others").format(64 - LARGEST), "", rest))
    rows.append((said("bias"), "", float(of.bias[of.label])))
    parts = [svg.text(12, 260, said("The largest terms of the sum"), class_="title")]
    for place, (name, product, value) in enumerate(rows):
        y = 284 + 22 * place
        parts.append(svg.text(12, y, name))
        parts.append(svg.text(320, y, product, anchor="end"))
        parts.append(svg.text(408, y, _number(value), anchor="end", class_="label strong"))
    parts.append(tag("line", x1=12, x2=408, y1=424, y2=424, class_="axis"))
    score = _number(float(of.scores[of.label]))
    parts.append(svg.text(12, 444, said("score of “{}”").format(of.label), class_="title"))
    parts.append(svg.text(408, 444, score, anchor="end", class_="title"))
    return parts


def _bars(of: Layer, top: float) -> list[Html]:
    """The score of each digit, upright; the largest stands out."""
    y = svg.Axis(-0.2, 1, top + 100, top)
    parts = [tag("line", x1=12, x2=408, y1=y(0), y2=y(0), class_="axis")]
    for digit, score in enumerate(of.scores):
        left = 16 + 39.6 * digit
        bar = {"y": min(y(score), y(0)), "height": abs(y(score) - y(0))}
        colour = 1 if digit == of.scores.argmax() else 0
        parts.append(tag("rect", x=left, width=30, **bar, rx=2, class_=f"fill-{colour}"))
        if score > 0.1:  # the others say nothing
            parts.append(svg.text(left + 15, y(score) - 5, f"{score:.2f}", anchor="middle"))
        parts.append(svg.text(left + 15, top + 120, str(digit), anchor="middle", class_="title"))
    return parts


def _number(value: float) -> str:
    return f"{value:.3f}".replace("-", "−")
