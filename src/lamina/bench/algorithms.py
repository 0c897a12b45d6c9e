"""Claim: the cost model takes the fastest algorithm, or one within a tenth of its time.

Each convolution runs by every algorithm that serves it, the sides in turn, three passes each; the
time that the theory predicts, as this machine is calibrated, stands beside, and what the choice of
``algorithm="auto"`` costs over the fastest: its regret. What auto never takes is left out where it
is predicted to take eight times as long as the fastest.
"""

from __future__ import annotations

import json
import random
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product

import torch
from torch import Tensor

from lamina.bench.benchmark import LAYOUTS, check_seconds
from lamina.bench.layer_rows import facts
from lamina.ops.tuning import calibration, choice, timing
from lamina.ops.tuning import machine as machine_measurement
from lamina.ops.tuning.timing import Case
from lamina.report.table import Column, Table
from lamina.theory.conv2d_algorithms import cost
from lamina.theory.conv2d_problem import PASSES, Pass
from lamina.theory.limits import Machine

NETWORKS = tuple(
    Case(16, channels, channels, size)
    for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7))
)
"""A ResNet's four stages."""

GRID = (
    *(
        Case(batch, channels, channels, pixels)
        for batch, channels, pixels in product(
            (1, 16), (8, 16, 32, 64, 128, 256), (4, 7, 14, 28, 56)
        )
    ),
    *(
        Case(batch, inputs, 2 * inputs, pixels, 3, 2)
        for batch in (1, 16)
        for inputs, pixels in ((32, 56), (64, 56), (128, 28), (256, 14))
    ),
    *(
        Case(batch, inputs, outputs, pixels, 1)
        for batch in (1, 16)
        for inputs, outputs, pixels in (
            (64, 256, 56),
            (256, 64, 56),
            (512, 128, 28),
            (960, 160, 7),
            (16, 96, 112),
        )
    ),
    *(
        Case(batch, channels, channels, pixels, 5)
        for batch in (1, 16)
        for channels, pixels in ((32, 28), (64, 28), (128, 14))
    ),
    *(Case(batch, 3, 64, 112, 7, 2) for batch in (1, 16)),
    *(
        Case(batch, inputs, outputs, pixels)
        for batch in (1, 16)
        for inputs, outputs, pixels in ((64, 192, 28), (256, 32, 28), (24, 72, 56), (3, 32, 112))
    ),
)
"""Few and many channels, images and pixels; strides, kernels and unequal channels of the classic
networks."""

WITHIN = 1.1
"""A choice is right whose time is at most this many times the fastest's."""

_HOPELESS = 3.0  # times the fastest: not worth more than two rounds
_BEYOND_HOPE = 8.0  # times the fastest, as predicted: not run at all


@dataclass(frozen=True)
class Row:
    """One pass of one convolution by one algorithm; times in milliseconds.

    ``predicted_ms`` is the theory's time on the calibrated machine; ``rate`` the direct sum's
    GFLOPs over the measured time in seconds; ``speedup`` the median of PyTorch's own over this
    one's; ``slowdown`` this one's median over the fastest algorithm's; ``chosen`` whether auto
    takes it; ``exchange`` the bytes per second that a thread had of another one's data just before.
    """

    batch: int
    inputs: int
    outputs: int
    pixels: int
    kernel_size: int
    stride: int
    layout: str
    direction: str
    algorithm: str
    trials: int
    measured_ms: float
    spread_ms: float
    predicted_ms: float
    rate: float
    speedup: float
    slowdown: float
    chosen: bool
    exchange: float | None = None


def benchmark_algorithms(
    shapes: Sequence[Case] = NETWORKS,
    *,
    layout: str = "channels_last",
    seconds: float = 0.5,
    on_row: Callable[[Row], None] = lambda row: None,
) -> tuple[Machine, list[Row]]:
    """Predicted beside measured time of convolutions by every algorithm.

    Args:
        shapes: the convolutions, padded by half their kernel.
        layout: ``"channels_last"`` or ``"nchw"``.
        seconds: about how long the rounds of a shape and pass take, after warming up.
        on_row: called with every row as it is measured.

    Returns:
        What the machine can do at most, and a row per shape, pass and algorithm.

    Raises:
        InputError: a time that is none.
    """
    check_seconds(seconds)
    machine = machine_measurement.measure()
    if calibration.current().measured is None:
        calibration.calibrate()
    rows = []
    for case in shapes:
        for row in _measure(case, layout, seconds):
            on_row(row)
            rows.append(row)
    return machine, rows


def calls(case: Case, layout: str, algorithm: str) -> dict[Pass, Callable[[], Tensor]]:
    """The three passes by an algorithm of the theory's names, as the op runs them."""
    torch.manual_seed(0)
    form = LAYOUTS[layout]
    x = torch.randn(case.batch, case.inputs, case.pixels, case.pixels).to(memory_format=form)
    taps = (case.kernel_size, case.kernel_size)
    weight = torch.randn(case.outputs, case.inputs, *taps).to(memory_format=form)
    padding = case.kernel_size // 2
    window = ((case.stride,) * 2, (padding,) * 4, (1, 1), 1, algorithm)
    nothing = (None, None, None, None, None, 0.0)  # behind the sum
    op = torch.ops.lamina
    dy = torch.randn_like(op.conv2d(x, weight, *nothing, *window[:4], "onednn", "none", 0.0))
    return {
        "forward": lambda: op.conv2d(x, weight, *nothing, *window, "none", 0.0),
        "input_gradient": lambda: op.conv2d_input_gradient(x, dy, weight, *window),
        "weight_gradient": lambda: op.conv2d_weight_gradient(x, dy, weight, *window),
    }


def _measure(case: Case, layout: str, seconds: float) -> Iterator[Row]:
    problems = {pass_: timing.problem_of(case, pass_) for pass_ in PASSES}
    names = [name for name in choice.RUNNING if choice.serves(name, problems["forward"])]
    sides = {name: calls(case, layout, name) for name in names}
    for direction, problem in problems.items():
        exchange = machine_measurement.exchange()
        calibrated = calibration.machine(problem)
        predicted = {name: cost(name, problem).predicted_time(calibrated) for name in names}
        most = _BEYOND_HOPE * min(predicted.values())
        times = rounds(
            {
                name: side[direction]
                for name, side in sides.items()
                if name in choice.CANDIDATES or predicted[name] <= most
            },
            seconds,
        )
        medians = {name: statistics.median(measured) for name, measured in times.items()}
        chosen = choice.choose(problem)
        for name, measured in times.items():
            quartiles = statistics.quantiles(measured, n=4)
            yield Row(
                *case,
                layout,
                direction,
                name,
                len(measured),
                1e3 * medians[name],
                1e3 * (quartiles[2] - quartiles[0]) / 2,
                1e3 * predicted[name],
                2e-9 * problem.macs / medians[name],
                medians["onednn"] / medians[name],
                medians[name] / min(medians.values()),
                name == chosen,
                exchange,
            )


def rounds(sides: dict[str, Callable[[], Tensor]], seconds: float) -> dict[str, list[float]]:
    """Seconds of every call, the sides in turn: at least 5 rounds, at most 200.

    Each in an order of its own: what a side leaves of caches and free memory, the next one pays.
    A side that takes three times as long as the fastest is called twice and no more.
    """
    times: dict[str, list[float]] = {name: [] for name in sides}

    def run(name: str) -> None:
        start = time.perf_counter()
        result = sides[name]()
        times[name].append(time.perf_counter() - start)
        del result

    with torch.no_grad():
        for name, call in sides.items():
            call()
            run(name)
            run(name)
        fastest = min(map(min, times.values()))
        hopeful = [name for name in sides if min(times[name]) <= _HOPELESS * fastest]
        for name in hopeful:
            times[name].clear()
        began, order = time.perf_counter(), random.Random(0)
        for trial in range(200):
            if trial >= 5 and time.perf_counter() - began > seconds:
                break
            order.shuffle(hopeful)
            for name in hopeful:
                run(name)
    return times


# ---- what is shown ------------------------------------------------------------------------------


def shape(row: Row) -> str:
    """N×C×H×W → channels, kernel and stride."""
    image = f"{row.batch}×{row.inputs}×{row.pixels}×{row.pixels}"
    return f"{image} → {row.outputs}, {row.kernel_size}×{row.kernel_size} / {row.stride}"


def line(row: Row) -> str:
    """One line of a terminal."""
    mark = "auto" if row.chosen else ""
    return (
        f"{shape(row):32} {row.direction:15} {row.algorithm:12} measured {row.measured_ms:8.3f} ms "
        f"±{row.spread_ms:.3f}, predicted {row.predicted_ms:8.3f} ms, {row.rate:5.0f} GFLOP/s of "
        f"the direct sum, {row.speedup:5.2f}× onednn, {row.slowdown:5.2f}× the fastest {mark}"
    )


def regrets(rows: Sequence[Row]) -> list[float]:
    """The time of auto's choice over the fastest algorithm's, for every shape and pass."""
    return [row.slowdown for row in rows if row.chosen]


def summary(rows: Sequence[Row]) -> str:
    """How often auto is within a tenth of the fastest, and how far off it is otherwise."""
    costs = sorted(regrets(rows))
    right = sum(cost <= WITHIN for cost in costs)
    return (
        f"auto is within {WITHIN - 1:.0%} of the fastest in {right} of {len(costs)} cases "
        f"({right / len(costs):.1%}); it costs {statistics.fmean(costs) - 1:.1%} on average, "
        f"{costs[-1] - 1:.0%} at worst"
    )


def to_json(machine: Machine, rows: list[Row]) -> str:
    """The rows with what they were measured on."""
    limits = {"peak_flops": machine.peak_flops, "bandwidth": machine.bandwidth}
    head = {**facts(), **limits, "calibrated": calibration.current().measured}
    return json.dumps(
        {**head, "summary": summary(rows), "rows": [asdict(row) for row in rows]}, indent=1
    )


def table(machine: Machine, rows: list[Row]) -> Table:
    """A row per shape, pass and algorithm."""
    columns = (
        Column("shape", "N×C×H×W → channels, kernel / stride"),
        Column("direction", "pass"),
        Column("algorithm", "algorithm"),
        Column("measured_ms", "measured, ms", "{:.3f}".format, "right"),
        Column("spread_ms", "± ms", "{:.3f}".format, "right"),
        Column("predicted_ms", "predicted, ms", "{:.3f}".format, "right"),
        Column("rate", "direct GFLOP/s", "{:.0f}".format, "right"),
        Column("speedup", "to onednn", "{:.2f}×".format, "right"),
        Column("slowdown", "to the fastest", "{:.2f}×".format, "right"),
        Column("chosen", "auto", lambda chosen: "✓" if chosen else ""),
    )
    conditions = ", ".join(f"{name} {value}" for name, value in facts().items())
    limits = f"peak {machine.peak_flops / 1e9:.0f} GFLOP/s, {machine.bandwidth / 1e9:.1f} GB/s"
    title = f"Convolutions, {rows[0].layout if rows else ''}. {conditions}; {limits}."
    shown = [{**asdict(row), "shape": shape(row)} for row in rows]
    return Table(columns, shown, title=title)
