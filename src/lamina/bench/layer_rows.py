"""What a benchmark of layers found: rows, as lines, as a table, as JSON and back."""

from __future__ import annotations

import json
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from lamina._version import __version__
from lamina.ops.runtime import native
from lamina.ops.tuning.machine import processor
from lamina.report import units
from lamina.report.table import Column, Table
from lamina.theory.limits import Machine

WITH_HUGE_PAGES = ", huge pages"
"""Ends the names of PyTorch's sides with huge pages."""


@dataclass
class Row:
    """One case, layout and direction; times in milliseconds, medians of ``trials`` rounds.

    ``spread_ms`` is half the distance between the quartiles of ours. ``ratio_best`` is the fastest
    peer's time over ours, ``ratio_same_layout`` eager PyTorch's in our layout, the peers with huge
    pages left out of both; ``limit_fraction`` is the machine's limit over our time, with the
    ``bandwidth``, in bytes per second, that was measured just before. ``exchange`` was too:
    what a thread has of another one's data, in bytes per second, None where it was not measured.
    """

    kind: str
    case: str
    shape: tuple[int, ...]
    layout: str
    direction: str
    trials: int
    ours_ms: float
    spread_ms: float
    peers_ms: dict[str, float]
    ratio_best: float
    ratio_same_layout: float
    limit_ms: float
    limit_fraction: float
    bandwidth: float
    saved_bytes: int
    saved_bytes_torch: int
    exchange: float | None = None


def line(row: Row) -> str:
    """One line of a terminal."""
    shape = "×".join(map(str, row.shape))
    return (
        f"{row.kind:16} {row.case:16} {shape:14} {row.layout:13} {row.direction:8} "
        f"{row.ours_ms:8.3f} ms ±{row.spread_ms:.3f}  {row.ratio_best:5.2f}× the best peer, "
        f"{row.ratio_same_layout:5.2f}× torch {row.layout}, {row.limit_fraction:4.0%} of the limit"
    )


def facts() -> dict[str, str | int]:
    """What the figures depend on besides the code: processor, threads, compiler, versions."""
    return {
        "processor": processor(),
        "threads": torch.get_num_threads(),
        "instruction set": native.instruction_set() or "none",
        "compiler": native.kernels.compiler() if native.kinds() else "none",
        "torch": torch.__version__,
        "lamina": __version__,
        "commit": _commit(),
    }


def _commit() -> str:
    """Of the checkout that this file lies in; empty for an installed package."""
    finished = subprocess.run(
        ["git", "-C", str(Path(__file__).parent), "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
    )
    return finished.stdout.strip()


def to_json(machine: Machine, rows: list[Row]) -> str:
    """The rows with what they were measured on."""
    limits = {"peak_flops": machine.peak_flops, "bandwidth": machine.bandwidth}
    return json.dumps({**facts(), **limits, "rows": [asdict(row) for row in rows]}, indent=1)


def from_json(text: str) -> tuple[dict[str, Any], list[Row]]:
    """What ``to_json`` wrote: the facts with the machine's limits, and the rows."""
    found = json.loads(text)
    rows = [Row(**{**row, "shape": tuple(row["shape"])}) for row in found.pop("rows")]
    return found, rows


def table(machine: Machine, rows: list[Row]) -> Table:
    """A row per case and layout, forward and backward together; of inference the forward pass.

    Ratios are a peer's time over ours. The best peer is one without huge pages.
    """
    shown = []
    trained = {(row.kind, row.case, row.shape) for row in rows if row.direction == "both"}
    for row in rows:
        if row.direction != "both" and (row.kind, row.case, row.shape) in trained:
            continue
        plain = {
            name: ms for name, ms in row.peers_ms.items() if not name.endswith(WITH_HUGE_PAGES)
        }
        huge = row.peers_ms.get(f"torch {row.layout}{WITH_HUGE_PAGES}")
        best = min(plain, key=lambda name: plain[name])
        shown.append(
            {
                **asdict(row),
                "shape": "×".join(map(str, row.shape)),
                "ours": f"{row.ours_ms:.2f} ± {row.spread_ms:.2f}",
                "best": f"{row.ratio_best:.2f}× {best.removeprefix('torch ')}",
                "ratio_huge_pages": huge and huge / row.ours_ms,
            }
        )
    conditions = ", ".join(f"{name} {value}" for name, value in facts().items())
    columns = (
        Column("kind", "kind"),
        Column("case", "case"),
        Column("shape", "N×C×H×W"),
        Column("layout", "layout"),
        Column("ours", "ours, ms", align="right"),
        Column("best", "to the best peer", align="right"),
        Column("ratio_same_layout", "to torch, this layout", "{:.2f}×".format, "right"),
        Column("ratio_huge_pages", "to it with huge pages", "{:.2f}×".format, "right"),
        Column("limit_fraction", "of the limit", "{:.0%}".format, "right"),
        Column("saved_bytes", "saved", units.binary_bytes, "right"),
        Column("saved_bytes_torch", "torch saves", units.binary_bytes, "right"),
    )
    limits = f"peak {machine.peak_flops / 1e9:.0f} GFLOP/s, {machine.bandwidth / 1e9:.1f} GB/s"
    return Table(columns, shown, title=f"Forward + backward. {conditions}; {limits}.")
