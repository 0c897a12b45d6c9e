"""Batch normalisation along depth: what 50 blocks make of activations and of gradients.

Gradients are those of the finding ``batchnorm-gradients``. Activations are of the same networks,
followed in float64 and kept beside this file; ``python -m book.figures.batch_norm2d_depth``
measures them again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

from book.figures import canvas
from lamina.lab.tools.data import Part, load
from lamina.lab.tools.plain_networks import flow, network
from lamina.report import svg
from lamina.report.html import Html, tag

KOREAN = {
    "Activations and gradients through 50 blocks": "50개 블록을 지나는 활성값과 기울기",
    "without batch norm": "배치 정규화 없이",
    "with batch norm": "배치 정규화 사용",
    "Activations, over the first block's": "활성값 (첫 블록 대비)",
    "Gradients, over the last block's": "기울기 (마지막 블록 대비)",
    "all three": "세 가지 모두",
    "block": "블록",
    "PyTorch's law": "PyTorch 초기화",
    "He's law": "He 초기화",
    "twice He's": "He 분산의 2배",
    "By the initial weights' law:": "초기 가중치의 분포:",
}

LAWS = "PyTorch's law", "He's law", "twice He's"
FINDING = Path(__file__).parents[2] / "docs/findings/batchnorm-gradients.json"
DATA = Path(__file__).with_suffix(".json")

Curves = dict[bool, dict[str, list[float]]]
"""A curve per initial law, by whether there is batch normalisation."""


def activations() -> Curves:
    """Root mean square of each block's output over the first's: the median of five seeds."""
    kept = json.loads(DATA.read_text(encoding="utf-8"))
    return {on: {law: _median(kept[_side(law, on)]) for law in LAWS} for on in (False, True)}


def gradients() -> Curves:
    """Root mean square of the gradient at each block over the last's: the median of five seeds."""
    chart = json.loads(FINDING.read_text(encoding="utf-8"))["chart"]
    return {
        bool(place): {
            mark["name"]: mark["y"] for mark in chart["panels"][place]["marks"] if mark["low"]
        }
        for place in (0, 1)
    }


def draw(words: Mapping[str, str]) -> str:
    """Draw activations above gradients, without batch normalisation beside with it."""

    def said(text: str) -> str:
        return words.get(text, text)

    left, right, wide, high = 60.0, 250.0, 158.0, 150.0
    parts: list[Html] = []
    for start, name in ((left, "without batch norm"), (right, "with batch norm")):
        middle = start + wide / 2
        parts.append(svg.text(middle, 22, said(name), anchor="middle", class_="title"))
    rows = (
        (30.0, "Activations, over the first block's", activations()),
        (242.0, "Gradients, over the last block's", gradients()),
    )
    for top, title, curves in rows:
        parts.append(svg.text(8, top + 22, said(title), class_="label strong"))
        y = svg.Axis(1e-22, 1e8, top + 36 + high, top + 36, log=True)
        parts += _panel(svg.Axis(1, 50, left, left + wide), y, curves[False])
        parts += _powers(left, y)
        parts += _panel(svg.Axis(1, 50, right, right + wide), y, curves[True])
        under = right + wide / 2, y(1.0) + 24
        parts.append(svg.text(*under, said("all three"), anchor="middle"))
    first = gradients()[True]["He's law"][0]
    parts.append(svg.text(right, y(first) - 8, f"{first:,.0f}"))
    parts.append(svg.text((left + right + wide) / 2, 468, said("block"), anchor="middle"))
    parts.append(svg.text(8, 498, said("By the initial weights' law:")))
    for number, law in enumerate(LAWS):
        start = 8 + 142 * number
        parts.append(_line([(start, 517), (start + 20, 517)], number))
        parts.append(svg.text(start + 29, 522, said(law), class_="label strong"))
    label = said("Activations and gradients through 50 blocks")
    return canvas.figure(420, 538, parts, label=label)


def _powers(left: float, y: svg.Axis) -> list[Html]:
    names = {1e-20: "10⁻²⁰", 1e-10: "10⁻¹⁰", 1.0: "1"}
    return [svg.text(left - 6, y(at) + 5, name, anchor="end") for at, name in names.items()]


def _panel(x: svg.Axis, y: svg.Axis, curves: dict[str, list[float]]) -> list[Html]:
    parts: list[Html] = []
    for value in (1e-20, 1e-10, 1.0):
        at = y(value)
        parts.append(tag("line", x1=x.start, x2=x.stop, y1=at, y2=at, class_="grid"))
    for block in (1, 25, 50):
        parts.append(svg.text(x(block), y.start + 18, str(block), anchor="middle"))
    parts.append(tag("line", x1=x.start, x2=x.stop, y1=y.start, y2=y.start, class_="axis"))
    for number, law in enumerate(LAWS):
        points = [(x(block), y(value)) for block, value in enumerate(curves[law], 1)]
        parts.append(_line(points, number))
    return parts


def _line(points: Sequence[tuple[float, float]], number: int) -> Html:
    """A law's line; where all lie on each other, the wider ones show at its edges."""
    width = f"stroke-width:{(6, 3.8, 1.5)[number]}"
    return tag("path", d=svg.path(points), class_=f"series-{number + 1}", style=width)


def _side(law: str, on: bool) -> str:
    return f"{law}, {'with' if on else 'without'}"


def _median(seeds: Sequence[Sequence[float]]) -> list[float]:
    return [median(values) for values in zip(*seeds, strict=True)]


def measured(law: str, on: bool, seed: int) -> list[float]:
    """Follow the activations through one of the finding's networks, in float64."""
    images = load("digits")
    part = images.train.first(32)
    model = network(images, 50, law, on, seed, 64).double()
    sizes, _ = flow(model, Part(part.x.double(), part.y))
    return [float(f"{size / sizes[0]:.6g}") for size in sizes]


if __name__ == "__main__":
    kept = {
        _side(law, on): [measured(law, on, seed) for seed in range(5)]
        for on in (False, True)
        for law in LAWS
    }
    lines = ",\n".join(f"{json.dumps(side)}: {json.dumps(curves)}" for side, curves in kept.items())
    DATA.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
