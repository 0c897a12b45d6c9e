"""Whole networks as a figure: how many times as fast as PyTorch each side runs them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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


def network_figure(known: dict[str, Any], rows: Sequence[Row]) -> str:
    """A panel per case, a line per network: the fastest of PyTorch's ways in float32 stands at 1.

    Args:
        known: the facts of the machine.
        rows: as the benchmark found them.
    """
    cases = [case for case in _TITLES if any(row.case == case and row.median_ms for row in rows)]
    ratios = [ratio for row in rows if (ratio := _speed(rows, row)) is not None]
    low, high = min([0.8, *ratios]) / 1.1, max([1.25, *ratios]) * 1.1
    x = svg.Axis(low, high, _LEFT, _RIGHT, log=True)
    parts: list[Html] = []
    top = 56
    for case in cases:
        of_case = [row for row in rows if row.case == case]
        parts.append(tag("g", _panel(rows, of_case, x), transform=f"translate(0 {top})"))
        top += _HEAD + _FOOT + _ROW * len(dict.fromkeys(row.network for row in of_case))
    facts = ("processor", "instruction set", "torch")
    where = ", ".join(f"{name} {known[name]}" for name in facts if name in known)
    threads = f"{known['threads']} threads; " if "threads" in known else ""
    height = top + 16
    picture = tag(
        "svg",
        [
            tag("style", _STYLE),
            tag("rect", "", width=_WIDTH, height=height, rx=8, fill="#ffffff"),
            *_legend({row.side for row in rows}),
            *parts,
            svg.text(16, top + 2, f"{threads}{where}", class_="note"),
        ],
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {_WIDTH} {height}",
        width=_WIDTH,
        height=height,
        role="img",
        aria_label="Speed of whole networks against the fastest of PyTorch's ways",
    )
    return f"{picture}\n"


def _speed(rows: Sequence[Row], row: Row) -> float | None:
    """How many times as fast as PyTorch's fastest; None for what is not drawn."""
    peer = best(rows, row.network, row.case, TORCH)
    if peer is None or peer.median_ms is None or row.median_ms is None:
        return None
    return peer.median_ms / row.median_ms if row.side in (*_MARKS, *TORCH) else None


def _panel(rows: Sequence[Row], of_case: Sequence[Row], x: svg.Axis) -> list[Html]:
    networks = list(dict.fromkeys(row.network for row in of_case))
    bottom = _HEAD + _ROW * len(networks)
    compiled = any(row.side == "torch-compile" and row.median_ms for row in of_case)
    title = _TITLES[of_case[0].case] + ("" if compiled else "; PyTorch eager")
    parts = [svg.text(16, 24, title, class_="title")]
    for tick in x.ticks(4):
        at = f"{x(tick):.1f}"
        class_ = "one" if tick == 1 else "grid"
        parts.append(tag("line", "", x1=at, x2=at, y1=_HEAD - 8, y2=bottom, class_=class_))
        parts.append(svg.text(x(tick), bottom + 16, f"{tick:g}×", anchor="middle", class_="note"))
    for number, network in enumerate(networks):
        y = _HEAD + _ROW * number + 8
        parts.append(svg.text(16, y + 5, network.replace("_", " ")))
        # Ours is drawn last, over the others.
        for row in sorted(of_case, key=lambda row: row.side == "lamina-optimize"):
            speed = _speed(rows, row) if row.network == network else None
            if speed is not None:
                said = f"{network}, {_name(row.side)}: {row.median_ms:.2f} ms, {speed:.2f}×"
                parts.append(_mark(row.side, x(speed), y, said))
    return parts


def _name(side: str) -> str:
    return side if side in TORCH else _MARKS[side][0]


def _mark(side: str, x: float, y: float, said: str) -> Html:
    colour = _MARKS["torch-nchw" if side in TORCH else side][1]
    is_ours = side == "lamina-optimize"
    return tag(
        "circle",
        tag("title", said),
        cx=f"{x:.1f}",
        cy=y,
        r=7 if is_ours else 5,
        fill=colour if is_ours else "none",
        stroke=colour,
        stroke_width=2.5 if side in (*RUNTIMES, "lamina-optimize") else 1.5,
    )


def _legend(sides: set[str]) -> list[Html]:
    shown = [side for side in _MARKS if side in sides]
    parts = []
    for at, side in enumerate(shown):
        x, y = 24 + 200 * (at % 3), 18 + 22 * (at // 3)
        label = _MARKS[side][0]
        parts += [_mark(side, x, y, label), svg.text(x + 14, y + 5, label)]
    return parts
