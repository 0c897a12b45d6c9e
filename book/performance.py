"""Writes the tables of docs/performance.md anew from the rows of a benchmark.

    lamina bench layers --json benchmarks/results/layers.json
    lamina bench networks --peers PYTHON --json benchmarks/results/networks.json
    python benchmarks/zoo.py --json benchmarks/results/zoo.json
    python book/performance.py

A table stands between ``<!-- rows: KIND KIND ... -->`` and ``<!-- end -->``, what it was measured
on between ``<!-- facts -->`` and ``<!-- end -->``. Between ``<!-- goals: KIND KIND ... -->`` and
``<!-- end -->`` stands what was aimed at, beside what these rows and those of a wider processor
reach. Between ``<!-- networks -->`` and ``<!-- end -->`` stand whole networks, which
``docs/images/networks.svg`` shows too; between ``<!-- zoo -->`` and ``<!-- end -->`` those of other
people's, which ``docs/images/zoo.svg`` shows.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from lamina.bench import layer_rows, network_rows
from lamina.bench.layer_rows import Row
from lamina.bench.network_cases import RUNTIMES, TORCH
from lamina.bench.network_figure import network_figure, zoo_figure
from lamina.report.table import Column, Table, to_markdown
from lamina.theory.limits import Machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/layers.json"
WIDER = ROOT / "benchmarks/results/zen5.json"  # of a processor with twice the peak
NETWORKS = ROOT / "benchmarks/results/networks.json"
PAGE = ROOT / "docs/performance.md"
FIGURE = ROOT / "docs/images/networks.svg"
ZOO = ROOT / "benchmarks/results/zoo.json"
ZOO_FIGURE = ROOT / "docs/images/zoo.svg"

_SMALL_CALL = [1, 8, 8, 8]  # measures what a call costs, not a kernel


@dataclass(frozen=True)
class Goal:
    """At least ``aim`` in every row of the kind whose case begins so."""

    name: str
    kind: str
    case: str
    direction: str
    aim: float
    layout: str = "channels_last"
    of: Callable[[Row], float] = attrgetter("ratio_best")

    def holds_for(self, row: Row) -> bool:
        """Whether the row is one of those that the goal is about."""
        return (
            (row.kind, row.direction, row.layout) == (self.kind, self.direction, self.layout)
            and re.match(self.case, row.case) is not None
            and list(row.shape) != _SMALL_CALL
        )


def _both_ways(name: str, kind: str, case: str, forward: float, both: float) -> list[Goal]:
    return [
        Goal(f"{name}, forward", kind, case, "forward", forward),
        Goal(f"{name}, with backward", kind, case, "both", both),
    ]


def _both_layouts(name: str, kind: str, case: str, channels_last: float, nchw: float) -> list[Goal]:
    same = attrgetter("ratio_same_layout")
    return [
        Goal(f"{name}, channels-last", kind, case, "both", channels_last, of=same),
        Goal(f"{name}, NCHW", kind, case, "both", nchw, "nchw", same),
    ]


GOALS = [
    *_both_ways("3×3", "conv2d", "3×3$", 1.6, 1.8),
    Goal(
        "3×3, forward, over the direct sum's limit",
        *("conv2d", "3×3$", "forward", 1.2),
        of=attrgetter("limit_fraction"),
    ),
    *_both_ways("3×3 stride 2", "conv2d", "3×3 s2", 1.0, 1.2),
    *_both_ways("5×5", "conv2d", "5×5", 1.0, 1.2),
    *_both_ways("7×7 stride 2 stem", "conv2d", "7×7", 1.0, 1.2),
    *_both_ways("pointwise", "conv2d", "1×1", 1.0, 1.1),
    *_both_ways("dense, 1 to 4096 rows", "dense", "", 1.0, 1.1),
    Goal("separable block, training", "separable_conv2d", "block, training", "both", 1.6),
    Goal("separable block, inference", "separable_conv2d", "block, inference", "forward", 1.8),
    Goal("inverted residual, inference", "separable_conv2d", "inverted", "forward", 1.8),
    *_both_layouts("batch norm, training", "batch_norm2d", "training$", 1.3, 1.8),
    *_both_layouts("batch norm + ReLU", "batch_norm2d", r"training \+", 2.0, 2.0),
    *_both_layouts("activations", "activation", "", 1.0, 1.0),
    *_both_layouts("max pool", "pool2d", "max", 1.4, 4.0),
    *_both_layouts("average pool", "pool2d", "average", 1.2, 4.0),
    *_both_layouts("global pool", "pool2d", "global", 1.0, 1.0),
    *_both_layouts("depthwise 3×3", "depthwise_conv2d", "3×3", 1.6, 5.0),
    *_both_layouts("depthwise 5×5", "depthwise_conv2d", "5×5", 3.5, 8.0),
    *_both_layouts("dropout", "dropout", "elements", 25.0, 25.0),
    *_both_layouts("dropout of channels", "dropout", "channels", 1.0, 1.0),
]


def render(page: str, results: str, wider: str, networks: str, zoo: str) -> str:
    """The page with its tables and facts made of the results, those of a wider processor beside."""
    page = _with_zoo(_with_networks(page, networks), zoo)
    facts, rows = layer_rows.from_json(results)
    _, wider_rows = layer_rows.from_json(wider)
    machine = Machine(facts["peak_flops"], facts["bandwidth"])

    def rows_of(match: re.Match[str]) -> str:
        kinds = match[1].split()
        table = layer_rows.table(machine, [row for row in rows if row.kind in kinds])
        return f"<!-- rows: {match[1]} -->\n{to_markdown(table)}\n<!-- end -->"

    def goals_of(match: re.Match[str]) -> str:
        goals = [goal for goal in GOALS if goal.kind in match[1].split()]
        table = _goals(goals, rows, wider_rows)
        return f"<!-- goals: {match[1]} -->\n{to_markdown(table)}\n<!-- end -->"

    page = re.sub(r"<!-- goals: ([\w ]+?) -->.*?<!-- end -->", goals_of, page, flags=re.DOTALL)
    page = re.sub(r"<!-- rows: ([\w ]+?) -->.*?<!-- end -->", rows_of, page, flags=re.DOTALL)
    bandwidths = [row.bandwidth / 1e9 for row in rows]
    facts["bandwidth"] = f"{min(bandwidths):.1f} to {max(bandwidths):.1f} GB/s, before each case"
    exchanges = [row.exchange / 1e9 for row in rows if row.exchange]
    if exchanges:
        facts["between cores"] = f"{min(exchanges):.0f} to {max(exchanges):.0f} GB/s, likewise"
    trials = [row.trials for row in rows]
    facts["trials of a row"] = f"{min(trials)} to {max(trials)}"
    shown = f"<!-- facts -->\n{to_markdown(_facts(facts))}\n<!-- end -->"
    return re.sub(r"<!-- facts -->.*?<!-- end -->", lambda _: shown, page, flags=re.DOTALL)


def _with_networks(page: str, networks: str) -> str:
    known, rows = network_rows.from_json(networks)
    said = ", ".join(f"{name} {value}" for name, value in known.items())
    tables = (to_markdown(network_rows.means_table(rows)), to_markdown(_networks(rows)))
    shown = "\n\n".join(("<!-- networks -->", *tables, f"Measured on: {said}.", "<!-- end -->"))
    return re.sub(r"<!-- networks -->.*?<!-- end -->", lambda _: shown, page, flags=re.DOTALL)


def zoo_of(text: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The facts and the rows of `benchmarks/zoo.py`."""
    known = json.loads(text)
    return known, known.pop("rows")


def _with_zoo(page: str, zoo: str) -> str:
    _, rows = zoo_of(zoo)
    shown = []
    for case in dict.fromkeys(row["case"] for row in rows):
        ratios = [row["ratio"] for row in rows if row["case"] == case]
        shown.append(
            {
                "case": case,
                "networks": len(ratios),
                "mean": geometric_mean(ratios),
                "low": min(ratios),
                "high": max(ratios),
            }
        )
    columns = (
        Column("case", "case"),
        Column("networks", "networks", align="right"),
        Column("mean", "geometric mean", "{:.2f}×".format, "right"),
        Column("low", "lowest", "{:.2f}×".format, "right"),
        Column("high", "highest", "{:.2f}×".format, "right"),
    )
    table = f"<!-- zoo -->\n{to_markdown(Table(columns, shown))}\n<!-- end -->"
    return re.sub(r"<!-- zoo -->.*?<!-- end -->", lambda _: table, page, flags=re.DOTALL)


def _networks(rows: list[network_rows.Row]) -> Table:
    """A row per network and case: ours, and the fastest peers beside it."""
    shown = []
    for row in rows:
        if row.side != "lamina-optimize":
            continue
        torch_row = network_rows.best(rows, row.network, row.case, TORCH)
        runtime = network_rows.best(rows, row.network, row.case, RUNTIMES)
        shown.append(
            {
                "case": row.case,
                "network": row.network,
                "ours": row.reason or f"{row.median_ms:.2f} ± {row.spread_ms:.2f}",
                "ratio_torch": network_rows.ratio(rows, row, TORCH),
                "torch": torch_row and f"{torch_row.median_ms:.2f} {torch_row.side}",
                "ratio_runtimes": network_rows.ratio(rows, row, RUNTIMES),
                "runtime": runtime and f"{runtime.median_ms:.2f} {runtime.side}",
            }
        )
    order = list(dict.fromkeys(row["case"] for row in shown))
    shown.sort(key=lambda row: order.index(row["case"]))
    columns = (
        Column("case", "case"),
        Column("network", "network"),
        Column("ours", "optimised, ms", align="right"),
        Column("ratio_torch", "to PyTorch's best", "{:.2f}×".format, "right"),
        Column("torch", "which is, ms", align="right"),
        Column("ratio_runtimes", "to the better runtime", "{:.2f}×".format, "right"),
        Column("runtime", "which is, ms", align="right"),
    )
    return Table(columns, shown)


def _goals(goals: list[Goal], rows: list[Row], wider: list[Row]) -> Table:
    shown = []
    for goal in goals:
        reached, met = _reached(goal, rows)
        reached_wider, met_wider = _reached(goal, wider)
        shown.append(
            {
                "name": goal.name,
                "aim": f"{goal.aim:g}×",
                "reached": reached,
                "met": met,
                "reached_wider": reached_wider,
                "met_wider": met_wider,
            }
        )
    columns = (
        Column("name", "to reach"),
        Column("aim", "at least", align="right"),
        Column("reached", "reached", align="right"),
        Column("met", "rows that reach it", align="right"),
        Column("reached_wider", "Zen 5, earlier", align="right"),
        Column("met_wider", "rows", align="right"),
    )
    return Table(columns, shown)


def _reached(goal: Goal, rows: list[Row]) -> tuple[str, str]:
    """The lowest and the highest of the goal's rows, and how many of them reach it."""
    reached = sorted(goal.of(row) for row in rows if goal.holds_for(row))
    met = sum(value >= goal.aim for value in reached)
    return (
        " to ".join(dict.fromkeys(f"{reached[at]:.2f}×" for at in (0, -1))),
        f"{met} of {len(reached)}" if met < len(reached) else "all",
    )


def _facts(facts: dict[str, Any]) -> Table:
    known = {
        **{name: str(value) for name, value in facts.items()},
        "peak_flops": f"{facts['peak_flops'] / 1e9:.0f} GFLOP/s",
    }
    columns = (Column("name", "measured on"), Column("value", ""))
    return Table(
        columns, [{"name": name.replace("_flops", ""), "value": known[name]} for name in known]
    )


if __name__ == "__main__":
    files = [file.read_text() for file in (PAGE, RESULTS, WIDER, NETWORKS, ZOO)]
    PAGE.write_text(render(*files))
    FIGURE.write_text(network_figure(*network_rows.from_json(files[3])))
    ZOO_FIGURE.write_text(zoo_figure(*zoo_of(files[4])))
