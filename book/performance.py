"""Writes the numbers and figures of the pages on speed from the rows of the benchmarks.

    lamina bench layers --json benchmarks/results/layers.json
    lamina bench networks --peers PYTHON --json benchmarks/results/networks.json
    python benchmarks/zoo.py --json benchmarks/results/zoo.json
    python -m book.performance

What stands between ``<!-- NAME -->`` and ``<!-- end -->`` in a page of `PAGES` is made anew:
``speed``, ``shortfalls``, ``accuracy``, ``products`` and ``memory`` are sentences of
`book.claims`, ``networks`` the means over networks, ``each network`` a row for each,
``zoo`` those of other people's, ``goals: KIND ...`` what was aimed at for single layers beside what
was reached, ``rows: KIND ...`` every row, ``facts`` the machine.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from statistics import geometric_mean
from typing import Any, NamedTuple

from book import claims
from book.goals import GOALS, GROUPS, goals_figure, goals_table
from lamina.bench import layer_rows, network_rows
from lamina.bench.network_cases import RUNTIMES, TORCH
from lamina.bench.network_figure import network_figure, zoo_figure
from lamina.report.table import Column, Table, to_markdown
from lamina.theory.limits import Machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results"
IMAGES = ROOT / "docs/images"
PAGES = (
    ROOT / "README.md",
    ROOT / "docs/performance.md",
    ROOT / "docs/reference/performance_tables.md",
)
KOREAN = {
    "One image of 224 pixels": "224픽셀 이미지 1장",
    "16 images of 128 pixels": "128픽셀 이미지 16장",
    "A training step of 16 images of 128 pixels": "128픽셀 이미지 16장의 학습 한 단계",
    "PyTorch in bfloat16": "bfloat16의 PyTorch",
    "PyTorch, its other ways": "PyTorch의 다른 방법들",
    "Speed of whole networks against the fastest of PyTorch's ways": (
        "PyTorch의 가장 빠른 방법에 대한 전체 네트워크의 속도"
    ),
    "threads": "스레드",
}


class Results(NamedTuple):
    """Facts and rows of each benchmark."""

    layers: tuple[dict[str, Any], list[layer_rows.Row]]
    wider: list[layer_rows.Row]
    networks: tuple[dict[str, Any], list[network_rows.Row]]
    zoo: tuple[dict[str, Any], list[dict[str, Any]]]


def read() -> Results:
    """The rows that are checked in; those of the wider processor have twice the peak."""
    texts = {file.stem: file.read_text() for file in RESULTS.glob("*.json")}
    zoo = json.loads(texts["zoo"])
    return Results(
        layer_rows.from_json(texts["layers"]),
        layer_rows.from_json(texts["zen5"])[1],
        network_rows.from_json(texts["networks"]),
        (zoo, zoo.pop("rows")),
    )


def figures(results: Results) -> dict[str, str]:
    """Each figure's text by its file's name."""
    known, rows = results.layers
    return {
        "networks.svg": network_figure(*results.networks),
        "networks-ko.svg": network_figure(*results.networks, words=KOREAN),
        "zoo.svg": zoo_figure(*results.zoo),
        **{
            f"layers-{group}.svg": goals_figure(group, known, rows, results.wider)
            for group in GROUPS
        },
    }


def render(page: str, results: Results) -> str:
    """A page with what stands between its marks made of the results."""
    makers: dict[str, Callable[[list[str], Results], str]] = {
        "speed": lambda _, found: claims.speed(*found.networks),
        "shortfalls": lambda _, found: claims.shortfalls(found.networks[1]),
        "accuracy": lambda _, found: claims.accuracy(found.zoo[1]),
        "products": lambda _, found: claims.products(found.layers[1]),
        "memory": lambda _, found: claims.memory(found.layers[1]),
        "networks": _means,
        "each network": _each_network,
        "zoo": _zoo,
        "goals": _goals,
        "rows": _rows,
        "facts": _facts,
    }

    def made(match: re.Match[str]) -> str:
        name, _, kinds = match[1].partition(": ")
        return f"<!-- {match[1]} -->\n{makers[name](kinds.split(), results)}\n<!-- end -->"

    return re.sub(r"<!-- (?!end)([\w: ]+?) -->.*?<!-- end -->", made, page, flags=re.DOTALL)


def _means(_: list[str], results: Results) -> str:
    known, rows = results.networks
    said = ", ".join(f"{name} {value}" for name, value in known.items())
    return f"{to_markdown(network_rows.means_table(rows))}\n\nMeasured on: {said}."


def _each_network(_: list[str], results: Results) -> str:
    return to_markdown(_networks(results.networks[1]))


def _goals(kinds: list[str], results: Results) -> str:
    goals = [goal for goal in GOALS if goal.kind in kinds]
    return to_markdown(goals_table(goals, results.layers[1], results.wider))


def _rows(kinds: list[str], results: Results) -> str:
    known, rows = results.layers
    machine = Machine(known["peak_flops"], known["bandwidth"])
    return to_markdown(layer_rows.table(machine, [row for row in rows if row.kind in kinds]))


def _facts(_: list[str], results: Results) -> str:
    known, rows = results.layers
    bandwidths = [row.bandwidth / 1e9 for row in rows]
    exchanges = [row.exchange / 1e9 for row in rows if row.exchange]
    trials = [row.trials for row in rows]
    said = {name.replace("_flops", ""): str(value) for name, value in known.items()}
    said["peak"] = f"{known['peak_flops'] / 1e9:.0f} GFLOP/s"
    said["bandwidth"] = f"{min(bandwidths):.1f} to {max(bandwidths):.1f} GB/s, before each case"
    if exchanges:
        said["between cores"] = f"{min(exchanges):.0f} to {max(exchanges):.0f} GB/s, likewise"
    said["trials of a row"] = f"{min(trials)} to {max(trials)}"
    columns = (Column("name", "measured on"), Column("value", ""))
    return to_markdown(Table(columns, [{"name": k, "value": v} for k, v in said.items()]))


def _zoo(_: list[str], results: Results) -> str:
    rows = results.zoo[1]
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
    return to_markdown(Table(columns, shown))


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


if __name__ == "__main__":
    found = read()
    for page in PAGES:
        page.write_text(render(page.read_text(), found))
    for name, text in figures(found).items():
        (IMAGES / name).write_text(text)
