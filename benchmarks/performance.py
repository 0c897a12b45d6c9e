"""Writes the tables of docs/performance.md anew from the rows of a benchmark.

    lamina bench layers --json benchmarks/results/layers.json
    python benchmarks/performance.py

A table stands between ``<!-- rows: KIND KIND ... -->`` and ``<!-- end -->``, what it was measured
on between ``<!-- facts -->`` and ``<!-- end -->``.
"""

import re
from pathlib import Path
from typing import Any

from lamina.lab import benchmark
from lamina.report.table import Column, Table, to_markdown
from lamina.theory.limits import Machine

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks/results/layers.json"
PAGE = ROOT / "docs/performance.md"


def render(page: str, results: str) -> str:
    """The page with its tables and facts made of the results."""
    facts, rows = benchmark.from_json(results)
    machine = Machine(facts["peak_flops"], facts["bandwidth"])

    def rows_of(match: re.Match[str]) -> str:
        kinds = match[1].split()
        table = benchmark.table(machine, [row for row in rows if row.kind in kinds])
        return f"<!-- rows: {match[1]} -->\n{to_markdown(table)}\n<!-- end -->"

    page = re.sub(r"<!-- rows: ([\w ]+?) -->.*?<!-- end -->", rows_of, page, flags=re.DOTALL)
    trials = [row.trials for row in rows]
    facts["trials of a row"] = f"{min(trials)} to {max(trials)}"
    shown = f"<!-- facts -->\n{to_markdown(_facts(facts))}\n<!-- end -->"
    return re.sub(r"<!-- facts -->.*?<!-- end -->", lambda _: shown, page, flags=re.DOTALL)


def _facts(facts: dict[str, Any]) -> Table:
    known = {
        **{name: str(value) for name, value in facts.items()},
        "peak_flops": f"{facts['peak_flops'] / 1e9:.0f} GFLOP/s",
        "bandwidth": f"{facts['bandwidth'] / 1e9:.1f} GB/s",
    }
    columns = (Column("name", "measured on"), Column("value", ""))
    return Table(
        columns, [{"name": name.replace("_flops", ""), "value": known[name]} for name in known]
    )


if __name__ == "__main__":
    PAGE.write_text(render(PAGE.read_text(), RESULTS.read_text()))
