"""What the networks' benchmark found: rows, geometric means, as lines, as a table, as JSON."""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from lamina.bench.network_cases import OURS, RUNTIMES, TORCH
from lamina.report import units
from lamina.report.table import Column, Table


@dataclass(frozen=True)
class Row:
    """One side of a network's case; times in milliseconds, of a call.

    ``median_ms`` is the median of ``rounds`` turns, each the median of its calls, ``spread_ms``
    half the distance between the turns' quartiles. ``ready_ms`` is what came before: compiling,
    choosing, the first call. ``peak_memory`` is the process's while its calls ran, in bytes,
    ``faults`` the page faults of a call. ``difference`` is that of the first image's outputs to
    the first side's, relative to their length; None in training. Where ``reason`` says why there
    are none, all are None.
    """

    network: str
    case: str
    side: str
    rounds: int = 0
    median_ms: float | None = None
    spread_ms: float | None = None
    ready_ms: float | None = None
    peak_memory: int | None = None
    faults: float | None = None
    difference: float | None = None
    reason: str = ""


def best(rows: Sequence[Row], network: str, case: str, group: Sequence[str]) -> Row | None:
    """The fastest row of a group of sides; None where none of them ran."""
    ran = [
        (row.median_ms, at)
        for at, row in enumerate(rows)
        if (row.network, row.case) == (network, case) and row.side in group and row.median_ms
    ]
    return rows[min(ran)[1]] if ran else None


def ratio(rows: Sequence[Row], row: Row, group: Sequence[str]) -> float | None:
    """How many times as fast as the group's fastest a row is; None where either did not run."""
    peer = best(rows, row.network, row.case, group)
    if peer is None or peer.median_ms is None or row.median_ms is None:
        return None
    return peer.median_ms / row.median_ms


@dataclass(frozen=True)
class Mean:
    """Geometric means over the networks of a case that one of our sides is compared in.

    ``networks`` counts those with a time of ours; None is a group of which nothing ran.
    """

    case: str
    side: str
    networks: int
    ratio_torch: float | None
    ratio_runtimes: float | None


def means(rows: Sequence[Row]) -> list[Mean]:
    """Of each case and each of our sides."""
    found = []
    for case in dict.fromkeys(row.case for row in rows):
        for side in OURS:
            ours = [row for row in rows if (row.case, row.side) == (case, side) and row.median_ms]
            if ours:
                groups = (
                    [known for row in ours if (known := ratio(rows, row, group)) is not None]
                    for group in (TORCH, RUNTIMES)
                )
                of_groups = (
                    statistics.geometric_mean(ratios) if ratios else None for ratios in groups
                )
                found.append(Mean(case, side, len(ours), *of_groups))
    return found


def line(row: Row) -> str:
    """One line of a terminal.

    Example:
        >>> line(Row("vgg16", "training", "torch-compile", reason="left with 1"))
        'vgg16              training     torch-compile       failed: left with 1'
    """
    head = f"{row.network:18} {row.case:12} {row.side:19}"
    if row.reason or row.median_ms is None:
        return f"{head} failed: {row.reason}"
    return (
        f"{head} {row.median_ms:9.2f} ms ±{row.spread_ms:.2f}, ready in "
        f"{units.duration((row.ready_ms or 0) / 1e3)}, at most "
        f"{units.binary_bytes(row.peak_memory)}, {row.faults:.0f} page faults"
    )


def to_json(known: dict[str, Any], rows: Sequence[Row]) -> str:
    """The facts, the geometric means, and the rows with their ratios to both groups of peers."""
    ratios = [
        {
            **asdict(row),
            "ratio_torch": ratio(rows, row, TORCH),
            "ratio_runtimes": ratio(rows, row, RUNTIMES),
        }
        for row in rows
    ]
    return json.dumps(
        {**known, "means": [asdict(mean) for mean in means(rows)], "rows": ratios}, indent=1
    )


def from_json(text: str) -> tuple[dict[str, Any], list[Row]]:
    """What ``to_json`` wrote: the facts, and the rows."""
    found = json.loads(text)
    names = Row.__dataclass_fields__
    rows = [Row(**{name: row[name] for name in names}) for row in found.pop("rows")]
    del found["means"]
    return found, rows


def table(known: dict[str, Any], rows: Sequence[Row]) -> Table:
    """A row per side: its time and its ratios, or why there are none."""
    columns = (
        Column("network", "network"),
        Column("case", "case"),
        Column("side", "side"),
        Column("time", "ms", align="right"),
        Column("ratio_torch", "to PyTorch's best", "{:.2f}×".format, "right"),
        Column("ratio_runtimes", "to the better runtime", "{:.2f}×".format, "right"),
        Column("ready_ms", "ready in, s", lambda ms: f"{ms / 1e3:.1f}", "right"),
        Column("peak_memory", "peak memory", units.binary_bytes, "right"),
        Column("faults", "page faults", "{:.0f}".format, "right"),
        Column("difference", "differs by", "{:.0e}".format, "right"),
    )
    shown = [
        {
            **asdict(row),
            "time": row.reason or f"{row.median_ms:.2f} ± {row.spread_ms:.2f}",
            "ratio_torch": ratio(rows, row, TORCH),
            "ratio_runtimes": ratio(rows, row, RUNTIMES),
        }
        for row in rows
    ]
    return Table(columns, shown, title=_title(known))


def means_table(rows: Sequence[Row]) -> Table:
    """A row per case and side of ours.

    Example:
        >>> from lamina.report.table import to_text
        >>> sides = {"torch-nchw": 8.0, "torch-compile": 6.0, "lamina-optimize": 3.0}
        >>> rows = [Row("vgg16", "training", name, 9, ms) for name, ms in sides.items()]
        >>> print(to_text(means_table(rows)))
        Geometric means: the fastest peer's time over ours.
        case      side             networks  PyTorch's best  the better runtime
        ───────────────────────────────────────────────────────────────────────
        training  lamina-optimize         1           2.00×                   –
    """
    columns = (
        Column("case", "case"),
        Column("side", "side"),
        Column("networks", "networks", align="right"),
        Column("ratio_torch", "PyTorch's best", "{:.2f}×".format, "right"),
        Column("ratio_runtimes", "the better runtime", "{:.2f}×".format, "right"),
    )
    title = "Geometric means: the fastest peer's time over ours."
    return Table(columns, [asdict(mean) for mean in means(rows)], title=title)


def _title(known: dict[str, Any]) -> str:
    return f"Networks. {', '.join(f'{name} {value}' for name, value in known.items())}."
