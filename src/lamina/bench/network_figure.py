"""Whole networks as a figure: how many times as fast as PyTorch each side runs them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from lamina.bench.dot_plot import Dot, Panel, Style, dot_plot
from lamina.bench.network_cases import RUNTIMES, TORCH
from lamina.bench.network_rows import Row, best
from lamina.report.finding.sheet import Words

_TITLES = {
    "inference-1": "One image of 224 pixels",
    "inference-16": "16 images of 128 pixels",
    "training": "A training step of 16 images of 128 pixels",
}
_MARKS = {
    "lamina-optimize": ("lamina.optimize", "--c1"),
    "onnxruntime": ("ONNX Runtime", "--c2"),
    "openvino": ("OpenVINO", "--c5"),
    "torch-bf16": ("PyTorch in bfloat16", "--c4"),
    "torch-nchw": ("PyTorch, its other ways", "--soft"),
}
_STYLES = {
    side: Style(
        colour,
        radius=7 if side == "lamina-optimize" else 5,
        width=2.5 if side in (*RUNTIMES, "lamina-optimize") else 1.5,
        filled=side == "lamina-optimize",
    )
    for side, (_, colour) in _MARKS.items()
}
_ZOO_MARKS = {
    "1 image": ("one image", Style("--c1")),
    "8 images": ("8 images", Style("--c2")),
    "training, 8": ("a training step of 8", Style("--c3")),
}


def network_figure(known: dict[str, Any], rows: Sequence[Row], words: Words | None = None) -> str:
    """A panel per case, a line per network: the fastest of PyTorch's ways in float32 stands at 1.

    Args:
        known: the facts of the machine.
        rows: as the benchmark found them.
        words: what another language says for a text.
    """

    def say(text: str) -> str:
        return (words or {}).get(text, text)

    cases = [case for case in _TITLES if any(row.case == case and row.median_ms for row in rows)]
    panels = []
    for case in cases:
        of_case = [row for row in rows if row.case == case]
        panels.append(Panel(_title(of_case, say), _dots(rows, of_case)))
    sides = {row.side for row in rows}
    legend = [(say(_MARKS[side][0]), _STYLES[side]) for side in _MARKS if side in sides]
    label = say("Speed of whole networks against the fastest of PyTorch's ways")
    return dot_plot(label, panels, legend, known, say)


def zoo_figure(known: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """A line per network, a mark per case: plain PyTorch in its better layout stands at 1.

    Args:
        known: the facts of the machine.
        rows: a dictionary per network and case: "network", "case", "ours_ms", "ratio".
    """
    dots: dict[str, list[Dot]] = {}
    for row in rows:
        label, style = _ZOO_MARKS[row["case"]]
        said = f"{row['network']}, {label}: {row['ours_ms']:.1f} ms, {row['ratio']:.2f}×"
        dots.setdefault(row["network"], []).append(Dot(row["ratio"], style, said))
    panel = Panel("lamina.optimize against plain PyTorch", dots)
    label = "Speed of other people's networks, optimised, against plain PyTorch"
    return dot_plot(label, [panel], list(_ZOO_MARKS.values()), known)


def _speed(rows: Sequence[Row], row: Row) -> float | None:
    """How many times as fast as PyTorch's fastest; None for what is not drawn."""
    peer = best(rows, row.network, row.case, TORCH)
    if peer is None or peer.median_ms is None or row.median_ms is None:
        return None
    return peer.median_ms / row.median_ms if row.side in (*_MARKS, *TORCH) else None


def _title(of_case: Sequence[Row], say: Callable[[str], str]) -> str:
    compiled = any(row.side == "torch-compile" and row.median_ms for row in of_case)
    return say(_TITLES[of_case[0].case]) + ("" if compiled else "; PyTorch eager")


def _dots(rows: Sequence[Row], of_case: Sequence[Row]) -> dict[str, list[Dot]]:
    dots: dict[str, list[Dot]] = {row.network: [] for row in of_case}
    # Ours is drawn last, over the others.
    for row in sorted(of_case, key=lambda row: row.side == "lamina-optimize"):
        speed = _speed(rows, row)
        if speed is not None:
            style = _STYLES["torch-nchw" if row.side in TORCH else row.side]
            name = row.side if row.side in TORCH else _MARKS[row.side][0]
            said = f"{row.network}, {name}: {row.median_ms:.2f} ms, {speed:.2f}×"
            dots[row.network].append(Dot(speed, style, said))
    return dots
