"""The floors of the library, each on those that it may use, and where a kind of layer lives."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from book.figures import canvas
from lamina.report import svg
from lamina.report.html import Html, tag

KOREAN = {
    "The house: a floor uses those below it": "집의 구조: 각 층은 아래층만 사용합니다",
    "the command line": "명령줄",
    "measured: speed, claims about layers": "측정: 속도, 층에 관한 주장",
    "data, the loop, checkpoints, runs": "데이터, 학습 루프, 체크포인트, 실행",
    "a user's model: explained, faster, ported": "사용자의 모델: 설명, 가속, 이식",
    "the classic networks; pages from records": "고전 네트워크, 기록에서 만든 페이지",
    "fusion; Keras's dialect; torch.nn's": "융합, Keras 방언, torch.nn 방언",
    "our kernel, or PyTorch's op": "lamina의 커널 또는 PyTorch의 연산",
    "C++20, compiled for each instruction set": "C++20, 명령어 집합마다 컴파일",
    "formulas: every floor may ask": "공식: 모든 층에서 사용",
    "a kind of layer has a file of its name here": "층의 종류마다 같은 이름의 파일이 있는 곳",
    "and here, where it should be fast": "빨라야 한다면 여기에도",
}

FLOORS: Sequence[tuple[Sequence[str], str]] = (
    (("bench", "lab"), "measured: speed, claims about layers"),
    (("train",), "data, the loop, checkpoints, runs"),
    (("inspector", "optimiser", "interchange"), "a user's model: explained, faster, ported"),
    (("models", "report"), "the classic networks; pages from records"),
    (("graph", "layers", "nn"), "fusion; Keras's dialect; torch.nn's"),
    (("ops",), "our kernel, or PyTorch's op"),
)
"""Rooms that stand side by side use each other in no case; the upper floor comes first."""

KIND = frozenset({"theory", "ops", "nn", "layers"})
"""Rooms where a kind has its file, whether it has a kernel or not."""

LEFT, RIGHT, PILLAR, STEP = 12.0, 408.0, 326.0, 64.0


def draw(words: Mapping[str, str]) -> str:
    """Draw a slab for each floor with its rooms, and theory as a pillar beside them."""

    def said(text: str) -> str:
        return words.get(text, text)

    title = said("The house: a floor uses those below it")
    roof = tag("path", d="M4 98L210 34L416 98Z", class_="slab")
    parts: list[Html] = [svg.text(12, 24, title, class_="title"), roof]
    parts.append(svg.text(210, 72, "cli", anchor="middle", class_="label strong"))
    parts.append(svg.text(210, 90, said("the command line"), anchor="middle"))
    top = 102.0
    for rooms, caption in FLOORS:
        parts += _floor(top, rooms, said(caption), PILLAR - 6)
        top += STEP
    parts += _pillar(102, top - 6, said("formulas: every floor may ask"))
    ground = said("C++20, compiled for each instruction set")
    parts += _floor(top, ("bindings", "kernels"), ground, RIGHT)
    top += STEP + 12
    for class_, meaning in (
        ("kind", "a kind of layer has a file of its name here"),
        ("kind perhaps", "and here, where it should be fast"),
    ):
        parts.append(tag("circle", cx=LEFT + 6, cy=top, r=5, class_=class_))
        parts.append(svg.text(LEFT + 18, top + 5, said(meaning)))
        top += 22
    style = """
.slab { fill: var(--wash); } .room { fill: var(--card); stroke: var(--line); }
.kind { fill: var(--c2); stroke: var(--c2); stroke-width: 2; } .perhaps { fill: none; }"""
    return canvas.figure(420, top - 2, parts, label=title, style=style)


def _floor(top: float, rooms: Sequence[str], caption: str, right: float) -> list[Html]:
    slab = {"x": LEFT, "y": top, "width": right - LEFT, "height": STEP - 6, "rx": 4}
    parts = [tag("rect", **slab, class_="slab")]
    width = (right - LEFT - 6) / len(rooms)
    for place, name in enumerate(rooms):
        parts += _room(LEFT + 6 + place * width, top + 6, width - 6, 28, name)
    parts.append(svg.text((LEFT + right) / 2, top + 51, caption, anchor="middle"))
    return parts


def _room(left: float, top: float, width: float, height: float, name: str) -> list[Html]:
    box = {"x": left, "y": top, "width": width, "height": height, "rx": 3}
    parts = [tag("rect", **box, class_="room")]
    parts.append(
        svg.text(left + width / 2, top + height - 9, name, anchor="middle", class_="label strong")
    )
    if name in KIND or name in {"bindings", "kernels"}:
        class_ = "kind" if name in KIND else "kind perhaps"
        parts.append(tag("circle", cx=left + width - 8, cy=top + 8, r=4, class_=class_))
    return parts


def _pillar(top: float, bottom: float, caption: str) -> list[Html]:
    slab = {"x": PILLAR, "y": top, "width": RIGHT - PILLAR, "height": bottom - top, "rx": 4}
    parts = [tag("rect", **slab, class_="slab")]
    parts += _room(PILLAR + 6, top + 6, RIGHT - PILLAR - 12, 38, "theory")
    for row, line in enumerate(svg.wrapped(caption, 10)):
        x = (PILLAR + RIGHT) / 2
        parts.append(svg.text(x, top + 68 + 20 * row, line, anchor="middle"))
    return parts
