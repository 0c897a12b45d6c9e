"""Whole networks against PyTorch, ONNX Runtime and OpenVINO: a process per side, sides in turn.

Each side of a case builds its network in a process of its own, compiles, warms up, and then waits
for its turn, blocked on a pipe. A round gives every side one turn, in an order drawn anew: a slow
spell of the machine falls on all of them. A turn is a call that does not count and a few that do.
Threads that a runtime lets spin after its work, for whatever may come next, are given time to fall
asleep before the next side begins. A side that fails is a row that says why.
"""

from __future__ import annotations

import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from math import hypot
from pathlib import Path
from typing import Any

from lamina.bench.layer_rows import facts
from lamina.bench.network_cases import RUNTIMES, NetworkCase, Plan
from lamina.bench.network_rows import Row
from lamina.bench.sides import FailedError, Side, start
from lamina.bench.worker import Job

PAUSE = 0.05
"""Seconds between turns: longer than threads spin, see `lamina.bench.sides.ENVIRONMENT`."""


def _ready(side: Side, job: Job) -> None:
    try:
        side.ready = side.ask(job)
    except FailedError as error:
        side.reason = str(error)


def _export(plan: Plan, job: Job, folder: Path) -> str:
    """Write the network for ONNX's runtimes; why it could not be, or nothing."""
    with start("export", plan.threads, None, folder) as side:
        _ready(side, {**job, "side": side.name})
    return side.reason and f"export to ONNX failed: {side.reason}"


def measure_case(
    network: str, case: NetworkCase, plan: Plan, say: Callable[[str], None] = lambda line: None
) -> tuple[list[Row], dict[str, str]]:
    """Every side of a network's case.

    Args:
        network: a name of `lamina.models`.
        case: the images and what is done with them.
        plan: the sides, rounds and threads, and where the runtimes are.
        say: called with what is going on.

    Returns:
        A row per side, and the versions of what ran.
    """
    names = plan.sides_of(case)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lamina-bench-")))
        job = {
            **asdict(case),
            "network": network,
            "threads": plan.threads,
            "onnx": str(folder / "network.onnx"),
            "images": str(folder / "images.npy"),
        }
        no_export = _export(plan, job, folder) if {*names} & {*RUNTIMES} else ""
        sides = []
        for name in names:
            say(f"{network}, {case.name}: {name} gets ready")
            side = stack.enter_context(start(name, plan.threads, plan.peers, folder))
            sides.append(side)
            if name in RUNTIMES and no_export:
                side.reason = no_export
            else:
                _ready(side, {**job, "side": name})
        say(f"{network}, {case.name}: {plan.rounds} rounds")
        _take_turns([side for side in sides if not side.reason], case.calls, plan.rounds)
    versions: dict[str, str] = {}
    for side in sides:
        versions |= side.ready.get("versions", {})
    reference = next((side.ready["output"] for side in sides if not side.reason), None)
    return [row_of(network, case, side, reference) for side in sides], versions


def _take_turns(sides: list[Side], calls: int, rounds: int) -> None:
    order = random.Random(0)
    for _ in range(rounds):
        order.shuffle(sides)
        for side in sides:
            if side.reason:
                continue
            time.sleep(PAUSE)
            try:
                side.turn(calls)
            except FailedError as error:
                side.reason = str(error)


def row_of(network: str, case: NetworkCase, side: Side, reference: list[float] | None) -> Row:
    """A side's row.

    Args:
        network: its name.
        case: what was done.
        side: with its turns, or the reason why it has none.
        reference: the first side's outputs.
    """
    if side.reason:
        return Row(network, case.name, side.name, reason=side.reason)
    turns = [1e3 * statistics.median(turn) for turn in side.turns]
    quartiles = statistics.quantiles(turns, n=4) if len(turns) > 1 else [0.0] * 3
    output = side.ready["output"]
    return Row(
        network,
        case.name,
        side.name,
        len(turns),
        statistics.median(turns),
        (quartiles[2] - quartiles[0]) / 2,
        1e3 * side.ready["ready_s"],
        side.peak_memory,
        side.faults / sum(map(len, side.turns)),
        _difference(output, reference) if output and reference else None,
    )


def _difference(output: Sequence[float], reference: Sequence[float]) -> float:
    apart = hypot(*(a - b for a, b in zip(output, reference, strict=True)))
    return apart / hypot(*reference) if apart else 0.0


def benchmark_networks(
    plan: Plan,
    *,
    on_row: Callable[[Row], None] = lambda row: None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Any], list[Row]]:
    """Time networks against the peers on this machine.

    Args:
        plan: what is asked for, see `lamina.bench.network_cases.plan`.
        on_row: called with every row as it is measured.
        say: called with what is going on.

    Returns:
        What the figures depend on besides the code, and the rows.
    """
    known = {**facts(), "threads": plan.threads, "load before": round(os.getloadavg()[0], 2)}
    rows = []
    for network in plan.networks:
        for case in plan.cases:
            found, versions = measure_case(network, case, plan, say)
            known |= versions
            for row in found:
                on_row(row)
                rows.append(row)
    return known, rows
