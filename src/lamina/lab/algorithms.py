"""Claim: Winograd's algorithm beats the direct sum where its predicted time is the shorter one.

Each 3×3 convolution of the grid runs by Winograd's algorithm and by PyTorch's own, in turn, three
passes each; the theory's time, at the peak and bandwidth measured here, stands beside.
"""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import product

import torch
from torch import Tensor

from lamina import ops
from lamina.lab.benchmark import LAYOUTS, facts
from lamina.ops import machine as machine_measurement
from lamina.report.table import Column, Table
from lamina.theory import conv2d as theory
from lamina.theory.conv2d_problem import Pass
from lamina.theory.limits import Machine

PASSES: tuple[Pass, ...] = ("forward", "input_gradient", "weight_gradient")
NETWORKS = tuple(
    (16, channels, size) for channels, size in ((64, 56), (128, 28), (256, 14), (512, 7))
)
"""(N, channels, pixels) of a ResNet's four stages."""
GRID = tuple(product((1, 16), (8, 16, 32, 64, 128, 256), (4, 7, 14, 28, 56)))


@dataclass(frozen=True)
class Row:
    """One pass of one convolution by one algorithm; times in milliseconds.

    ``predicted_ms`` is the theory's time at the measured limits, with nothing lost;
    ``efficiency`` is it over the measured median, ``speedup`` the median of PyTorch's own over
    this one's, ``rate`` the direct sum's GFLOPs over the measured time in seconds.
    """

    batch: int
    channels: int
    pixels: int
    layout: str
    direction: str
    algorithm: str
    trials: int
    measured_ms: float
    spread_ms: float
    predicted_ms: float
    efficiency: float
    speedup: float
    rate: float


def benchmark_algorithms(
    shapes: Sequence[tuple[int, int, int]] = NETWORKS,
    *,
    layout: str = "channels_last",
    seconds: float = 0.5,
    on_row: Callable[[Row], None] = lambda row: None,
) -> tuple[Machine, list[Row]]:
    """Predicted beside measured time of 3×3 convolutions with as many channels out as in.

    Args:
        shapes: (N, channels, pixels of a side).
        layout: ``"channels_last"`` or ``"nchw"``.
        seconds: about how long the rounds of a shape and pass take, after warming up.
        on_row: called with every row as it is measured.

    Returns:
        What the machine can do at most, and two rows per shape and pass.
    """
    machine = machine_measurement.measure()
    rows = []
    for shape in shapes:
        for row in _measure(shape, layout, machine, seconds):
            on_row(row)
            rows.append(row)
    return machine, rows


def _calls(
    shape: tuple[int, int, int], layout: str, algorithm: str
) -> dict[Pass, Callable[[], object]]:
    batch, channels, pixels = shape
    torch.manual_seed(0)
    x = torch.randn(batch, channels, pixels, pixels).to(memory_format=LAYOUTS[layout])
    weight = torch.randn(channels, channels, 3, 3).to(memory_format=LAYOUTS[layout])
    dy = torch.randn_like(x)

    def forward() -> Tensor:
        with torch.no_grad():
            return ops.conv2d(x, weight, padding=1, algorithm=algorithm)

    def gradient(*, of_input: bool) -> Callable[[], object]:
        wanted = (x if of_input else weight).detach().requires_grad_()
        image, kernel = (wanted, weight) if of_input else (x, wanted)
        y = ops.conv2d(image, kernel, padding=1, algorithm=algorithm)
        return lambda: torch.autograd.grad(y, wanted, dy, retain_graph=True)

    return {
        "forward": forward,
        "input_gradient": gradient(of_input=True),
        "weight_gradient": gradient(of_input=False),
    }


def _measure(
    shape: tuple[int, int, int], layout: str, machine: Machine, seconds: float
) -> Iterator[Row]:
    batch, channels, pixels = shape
    sides = {name: _calls(shape, layout, name) for name in ("winograd", "onednn")}
    for direction in PASSES:
        times = _times({name: calls[direction] for name, calls in sides.items()}, seconds)
        problem = theory.problem(
            (batch, channels, pixels, pixels),
            channels,
            3,
            padding=1,
            pass_=direction,
            threads=torch.get_num_threads(),
        )
        table = theory.compare(
            (batch, channels, pixels, pixels),
            channels,
            3,
            padding=1,
            machine=machine,
            pass_=direction,
            threads=torch.get_num_threads(),
        )
        for name, theorys in (("winograd", "winograd_4x4"), ("onednn", "direct")):
            median = statistics.median(times[name])
            quartiles = statistics.quantiles(times[name], n=4)
            predicted = table[theorys].seconds
            yield Row(
                batch,
                channels,
                pixels,
                layout,
                direction,
                name,
                len(times[name]),
                1e3 * median,
                1e3 * (quartiles[2] - quartiles[0]) / 2,
                1e3 * predicted,
                predicted / median,
                statistics.median(times["onednn"]) / median,
                2e-9 * problem.macs / median,
            )


def _times(calls: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds of every call, the sides in turn: at least 7 rounds, at most 200."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in calls.values():
        call()
    began = time.perf_counter()
    for trial in range(200):
        if trial >= 7 and time.perf_counter() - began > seconds:
            break
        for name, call in calls.items():
            start = time.perf_counter()
            result = call()
            times[name].append(time.perf_counter() - start)
            del result
    return times


def line(row: Row) -> str:
    """One line of a terminal."""
    shape = f"{row.batch}×{row.channels}×{row.pixels}×{row.pixels}"
    return (
        f"{shape:15} {row.direction:15} {row.algorithm:9} measured {row.measured_ms:8.3f} ms "
        f"±{row.spread_ms:.3f}, predicted {row.predicted_ms:8.3f} ms ({row.efficiency:4.0%}), "
        f"{row.rate:5.0f} GFLOP/s of the direct sum, {row.speedup:5.2f}× onednn"
    )


def to_json(machine: Machine, rows: list[Row]) -> str:
    """The rows with what they were measured on."""
    limits = {"peak_flops": machine.peak_flops, "bandwidth": machine.bandwidth}
    return json.dumps({**facts(), **limits, "rows": [asdict(row) for row in rows]}, indent=1)


def table(machine: Machine, rows: list[Row]) -> Table:
    """A row per shape, pass and algorithm."""
    columns = (
        Column("batch", "N"),
        Column("channels", "channels"),
        Column("pixels", "pixels"),
        Column("direction", "pass"),
        Column("algorithm", "algorithm"),
        Column("measured_ms", "measured, ms", "{:.2f}".format, "right"),
        Column("spread_ms", "± ms", "{:.2f}".format, "right"),
        Column("predicted_ms", "predicted, ms", "{:.2f}".format, "right"),
        Column("rate", "direct GFLOP/s", "{:.0f}".format, "right"),
        Column("speedup", "to onednn", "{:.2f}×".format, "right"),
    )
    conditions = ", ".join(f"{name} {value}" for name, value in facts().items())
    limits = f"peak {machine.peak_flops / 1e9:.0f} GFLOP/s, {machine.bandwidth / 1e9:.1f} GB/s"
    title = f"3×3 convolutions, {rows[0].layout if rows else ''}. {conditions}; {limits}."
    return Table(columns, [asdict(row) for row in rows], title=title)
