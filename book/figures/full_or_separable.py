"""A full convolution beside a depthwise and a pointwise one, with what each takes."""

from __future__ import annotations

from collections.abc import Mapping

from book.figures import canvas
from lamina.report import svg
from lamina.report.html import Html, tag
from lamina.theory import conv2d, depthwise_conv2d
from lamina.theory.cost import Cost

KOREAN = {
    "A full convolution, or a separable one": "표준 합성곱과 분리 가능 합성곱",
    "full: every output sees every channel": "표준: 모든 출력이 모든 채널을 봅니다",
    "depthwise: one kernel a channel": "깊이별: 채널마다 커널 하나",
    "pointwise: a sum at each pixel": "점별: 픽셀마다 합 하나",
    "{} weights, {} MACs": "가중치 {}개, MAC {}",
    "Together {} of the full one's:": "합하면 표준의 {}:",
    "M = {} channels of {}×{} pixels, K = {}": "M = {}채널, {}×{}픽셀, K = {}",
}

CHANNELS, SIDE, KERNEL = 4, 16, 3


def costs() -> tuple[Cost, Cost, Cost]:
    """Of the full convolution, the depthwise and the pointwise one, by `lamina.theory`."""
    shape = (1, CHANNELS, SIDE, SIDE)
    same = {"padding": KERNEL // 2, "bias": False}
    full = conv2d.cost(shape, CHANNELS, KERNEL, **same)
    depthwise = depthwise_conv2d.cost(shape, KERNEL, **same)
    return full, depthwise, conv2d.cost(shape, CHANNELS, 1, bias=False)


def draw(words: Mapping[str, str]) -> str:
    """Draw inputs above outputs with a line for each kernel, three times, and the counts."""

    def said(text: str) -> str:
        return words.get(text, text)

    full, depthwise, pointwise = costs()
    title = said("A full convolution, or a separable one")
    sizes = said("M = {} channels of {}×{} pixels, K = {}").format(CHANNELS, SIDE, SIDE, KERNEL)
    parts: list[Html] = [svg.text(12, 24, title, class_="title"), svg.text(12, 46, sizes)]
    rows = (
        ("full: every output sees every channel", full, True, KERNEL),
        ("depthwise: one kernel a channel", depthwise, False, KERNEL),
        ("pointwise: a sum at each pixel", pointwise, True, 1),
    )
    top = 62.0
    for name, cost, crosses, kernel in rows:
        parts.append(svg.text(12, top + 18, said(name), class_="label strong"))
        parts += _lines(top + 32, crosses, kernel)
        count = said("{} weights, {} MACs").format(f"{cost.parameters:,}", f"{cost.macs:,}")
        parts.append(svg.text(12, top + 158, count))
        top += 176
    share = (depthwise.macs + pointwise.macs) / full.macs
    total = said("Together {} of the full one's:").format(f"{100 * share:.1f} %")
    parts.append(svg.text(12, top + 14, total, class_="label strong"))
    formula = f"1/M + 1/K² = 1/{CHANNELS} + 1/{KERNEL**2}"
    parts.append(svg.text(12, top + 36, formula, class_="label strong"))
    return canvas.figure(420, top + 52, parts, label=title)


def _lines(top: float, crosses: bool, kernel: int) -> list[Html]:
    """Squares for channels, above and below; between them the kernels, as small squares."""
    parts: list[Html] = []
    places = [72 + 88.0 * channel for channel in range(CHANNELS)]
    for one, x1 in enumerate(places):
        for other, x2 in enumerate(places):
            if crosses or one == other:
                ends = {"x1": x1, "x2": x2, "y1": top + 26, "y2": top + 84}
                parts.append(tag("line", **ends, class_=f"series-{1 + one}"))
                share = 1 / (CHANNELS + 1)  # sets all kernels equally far apart
                x, y = x1 + share * (x2 - x1), top + 26 + share * 58
                side = 5.0 * kernel
                box = {"x": x - side / 2, "y": y - side / 2, "width": side, "height": side}
                parts.append(tag("rect", **box, rx=1, class_=f"fill-{1 + one}"))
    for channel, x in enumerate(places):
        for y, colour in (
            (top, f"fill-{1 + channel}"),
            (top + 84, "fill-6" if crosses else f"fill-{1 + channel}"),
        ):
            parts.append(tag("rect", x=x - 13, y=y, width=26, height=26, rx=4, class_=colour))
    return parts
