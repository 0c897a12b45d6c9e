"""How much of a network stands in its dense layers: of the parameters, and of the work."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

import torch

import lamina
from book.figures import canvas
from lamina.report import svg
from lamina.report.html import Html, tag
from lamina.report.units import percent, si

KOREAN = {
    "The dense layers' share of a network": "네트워크에서 완전 연결 층이 차지하는 비율",
    "parameters": "파라미터",
    "multiply-accumulates": "곱셈-누산(MAC)",
    "{} of {}": "{1} 중 {0}",
    "of one image of 224×224 pixels, 1000 classes": "224×224 이미지 한 장, 1000개 클래스 기준",
}

NETWORKS = {
    "vgg16": "VGG16",
    "resnet18": "ResNet-18",
    "resnet50": "ResNet-50",
    "mobilenet_v1": "MobileNetV1",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_large": "MobileNetV3-L",
    "efficientnet_b0": "EfficientNet-B0",
}


class Share(NamedTuple):
    """Of a network, what is the dense layers' and what is all.

    Args:
        parameters: of the dense layers.
        all_parameters: of the network.
        macs: of the dense layers, for one image.
        all_macs: of the network.
    """

    parameters: int
    all_parameters: int
    macs: int
    all_macs: int


@cache
def share(name: str) -> Share:
    """Count one of `lamina.models` by `lamina.inspect`, on an image of 224×224 pixels."""
    with torch.device("meta"):
        model = lamina.models.get(name)
    account = lamina.inspect(model, (1, 3, 224, 224), backward=False)
    dense = [row for row in account.rows if row.kind == "dense"]
    return Share(
        sum(row.parameters for row in dense),
        account.totals.parameters,
        sum(row.forward.macs for row in dense),
        account.totals.forward.macs,
    )


def draw(words: Mapping[str, str]) -> str:
    """Draw two bars per network: the share of parameters, and of multiply-accumulates."""

    def said(text: str) -> str:
        return words.get(text, text)

    title = said("The dense layers' share of a network")
    x = svg.Axis(0, 1, 12, 300)
    parts = [svg.text(12, 24, title, class_="title")]
    at = 12.0
    for colour, name in ((2, "parameters"), (1, "multiply-accumulates")):
        parts.append(tag("rect", x=at, y=37, width=14, height=12, rx=2, class_=f"fill-{colour}"))
        parts.append(svg.text(at + 20, 48, said(name), class_="label strong"))
        at += 140
    parts.append(svg.text(12, 70, said("of one image of 224×224 pixels, 1000 classes")))
    top = 80.0
    for name, title_of in NETWORKS.items():
        of = share(name)
        parts.append(svg.text(12, top + 18, title_of, class_="label strong"))
        whole = said("{} of {}").format(si(of.parameters), si(of.all_parameters))
        parts.append(svg.text(408, top + 18, whole, anchor="end"))
        parts += _bar(x, top + 25, of.parameters / of.all_parameters, 2)
        parts += _bar(x, top + 41, of.macs / of.all_macs, 1)
        top += 64
    return canvas.figure(420, top + 4, parts, label=title)


def _bar(x: svg.Axis, top: float, of_all: float, colour: int) -> list[Html]:
    digits = 1 if of_all >= 0.001 else 2
    bar = {"x": x.start, "y": top, "height": 13, "rx": 2}
    return [
        tag("rect", **bar, width=x.stop - x.start, class_="track"),
        tag("rect", **bar, width=max(1.5, x(of_all) - x.start), class_=f"fill-{colour}"),
        svg.text(x.stop + 8, top + 12, percent(of_all, digits)),
    ]
