"""Whole networks as a figure: how many times as fast as PyTorch each side runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from lamina.bench.network_cases import RUNTIMES, TORCH
from lamina.bench.network_rows import Row, best
from lamina.report import svg
from lamina.report.html import Html, tag

_WIDTH, _LEFT, _RIGHT = 640, 172, 620
_ROW, _HEAD, _FOOT = 24, 44, 34

_TITLES = {
    "inference-1": "One image of 224 pixels",
    "inference-16": "16 images of 128 pixels",
    "training": "A training step of 16 images of 128 pixels",
}
_MARKS = {
    "lamina-optimize": ("lamina.optimize", "#2563eb"),
    "onnxruntime": ("ONNX Runtime", "#c2410c"),
    "openvino": ("OpenVINO", "#7c3aed"),
    "torch-bf16": ("PyTorch in bfloat16", "#0f766e"),
    "torch-nchw": ("PyTorch, its other ways", "#9ca3af"),
}
_STYLE = (
    "text{font:14px system-ui,sans-serif;fill:#374151}"
    ".title{font-weight:600;font-size:16px}"
    ".note{font-size:12px;fill:#6b7280}"
    ".grid{stroke:#e5e7eb}.one{stroke:#374151;stroke-width:1.5}"
)


_ZOO_MARKS = {
    "1 image": ("one image", "#2563eb"),
    "8 images": ("8 images", "#c2410c"),
    "training, 8": ("a training step of 8", "#0f766e"),
}


def network_figure(known: dict[str, Any], rows: Sequence[Row]) -> str:
    """A panel per case, a line per network: the fastest of PyTorch's ways in float32 stands at 1.

    Args:
        known: the facts of the machine.
        rows: as the benchmark found them.
    """
    cases = [case for case in _TITLES if any(row.case == case and row.median_ms for row in rows)]
    ratios = [ratio for row in rows if (ratio := _speed(rows, row)) is not None]
    x = _axis(ratios)
    parts: list[Html] = []
    top = 56
    for case in cases:
        of_case = [row for row in rows if row.case == case]
        panel = _panel(_title(of_case), _dots(rows, of_case), x)
        parts.append(tag("g", panel, transform=f"translate(0 {top})"))
        top += _HEAD + _FOOT + _ROW * len(dict.fromkeys(row.network for row in of_case))
    sides = {row.side for row in rows}
    legend = [(_MARKS[side][0], _STYLES[side]) for side in _MARKS if side in sides]
    label = "Speed of whole networks against the fastest of PyTorch's ways"
    return _picture(label, [*_legend(legend), *parts], top, known)


def zoo_figure(known: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """A line per network, a mark per case: plain PyTorch in its better layout stands at 1.

    Args:
        known: the facts of the machine.
        rows: a dictionary per network and case: "network", "case", "ours_ms", "ratio".
    """
    dots: dict[str, list[_Dot]] = {}
    for row in rows:
        label, colour = _ZOO_MARKS[row["case"]]
        said = f"{row['network']}, {label}: {row['ours_ms']:.1f} ms, {row['ratio']:.2f}×"
        dot = _Dot(row["ratio"], _Style(colour, 5, 2.5, False), said)
        dots.setdefault(row["network"], []).append(dot)
    x = _axis([row["ratio"] for row in rows])
    panel = _panel("lamina.optimize against plain PyTorch", dots, x)
    top = 34
    legend = [(label, _Style(colour, 5, 2.5, False)) for label, colour in _ZOO_MARKS.values()]
    parts = [*_legend(legend), tag("g", panel, transform=f"translate(0 {top})")]
    label = "Speed of other people's networks, optimised, against plain PyTorch"
    return _picture(label, parts, top + _HEAD + _FOOT + _ROW * len(dots), known)


class _Style(NamedTuple):
    colour: str
    radius: int
    width: float
    filled: bool


class _Dot(NamedTuple):
    speed: float
    style: _Style
    said: str


_STYLES = {
    side: _Style(
        colour,
        radius=7 if side == "lamina-optimize" else 5,
        width=2.5 if side in (*RUNTIMES, "lamina-optimize") else 1.5,
        filled=side == "lamina-optimize",
    )
    for side, (_, colour) in _MARKS.items()
}


def _axis(ratios: Sequence[float]) -> svg.Axis:
    return svg.Axis(min([0.8, *ratios]) / 1.1, max([1.25, *ratios]) * 1.1, _LEFT, _RIGHT, log=True)


def _picture(label: str, parts: list[Html], top: int, known: dict[str, Any]) -> str:
    facts = ("processor", "instruction set", "torch")
    where = ", ".join(f"{name} {known[name]}" for name in facts if name in known)
    threads = f"{known['threads']} threads; " if "threads" in known else ""
    height = top + 16
    picture = tag(
        "svg",
        [
            tag("style", _STYLE),
            tag("rect", "", width=_WIDTH, height=height, rx=8, fill="#ffffff"),
            *parts,
            svg.text(16, top + 2, f"{threads}{where}", class_="note"),
        ],
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {height}",
        width=_WIDTH,
        height=height,
        role="img",
        aria_label=label,
    )
    return f"{picture}\n"


def _speed(rows: Sequence[Row], row: Row) -> float | None:
    """How many times as fast as PyTorch's fastest; None for what is not drawn."""
    peer = best(rows, row.network, row.case, TORCH)
    if peer is None or peer.median_ms is None or row.median_ms is None:
        return None
    return peer.median_ms / row.median_ms if row.side in (*_MARKS, *TORCH) else None


def _title(of_case: Sequence[Row]) -> str:
    compiled = any(row.side == "torch-compile" and row.median_ms for row in of_case)
    return _TITLES[of_case[0].case] + ("" if compiled else "; PyTorch eager")


def _dots(rows: Sequence[Row], of_case: Sequence[Row]) -> dict[str, list[_Dot]]:
    dots: dict[str, list[_Dot]] = {row.network: [] for row in of_case}
    # Ours is drawn last, over the others.
    for row in sorted(of_case, key=lambda row: row.side == "lamina-optimize"):
        speed = _speed(rows, row)
        if speed is not None:
            style = _STYLES["torch-nchw" if row.side in TORCH else row.side]
            said = f"{row.network}, {_name(row.side)}: {row.median_ms:.2f} ms, {speed:.2f}×"
            dots[row.network].append(_Dot(speed, style, said))
    return dots


def _panel(title: str, dots: dict[str, list[_Dot]], x: svg.Axis) -> list[Html]:
    bottom = _HEAD + _ROW * len(dots)
    parts = [svg.text(16, 24, title, class_="title")]
    for tick in x.ticks(4):
        at = f"{x(tick):.1f}"
        class_ = "one" if tick == 1 else "grid"
        parts.append(tag("line", "", x1=at, x2=at, y1=_HEAD - 8, y2=bottom, class_=class_))
        parts.append(svg.text(x(tick), bottom + 16, f"{tick:g}×", anchor="middle", class_="note"))
    for number, (network, marks) in enumerate(dots.items()):
        y = _HEAD + _ROW * number + 8
        parts.append(svg.text(16, y + 5, network.replace("_", " ")))
        parts += [_mark(dot.style, x(dot.speed), y, dot.said) for dot in marks]
    return parts


def _name(side: str) -> str:
    return side if side in TORCH else _MARKS[side][0]


def _mark(style: _Style, x: float, y: float, said: str) -> Html:
    return tag(
        "circle",
        tag("title", said),
        cx=f"{x:.1f}",
        cy=y,
        r=style.radius,
        fill=style.colour if style.filled else "none",
        stroke=style.colour,
        stroke_width=style.width,
    )


def _legend(entries: Sequence[tuple[str, _Style]]) -> list[Html]:
    parts = []
    for at, (label, style) in enumerate(entries):
        x, y = 24 + 200 * (at % 3), 18 + 22 * (at // 3)
        parts += [_mark(style, x, y, label), svg.text(x + 14, y + 5, label)]
    return parts
