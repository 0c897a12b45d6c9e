"""Put beside each row what it took, what this machine allows, and what was seen in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from time import perf_counter

import torch
from torch.nn.functional import conv2d

from lamina.inspect.timing import Times
from lamina.ops import machine
from lamina.report.account import Health, Row, Timing, Totals
from lamina.theory.limits import Machine, bound_by, time_limit

__all__ = ["add_health", "add_limits", "add_times", "measured_machine"]

_ROUNDS = 12


def measured_machine() -> Machine:
    """Peak and bandwidth of this machine; the peak is that of the faster of two.

    PyTorch's matrix products and its convolutions come from different libraries, which need not
    use the same instructions: on some processors convolutions reach twice as much.
    """
    measured = machine.measure()
    peak = max(measured.peak_flops, _convolution_peak(torch.get_num_threads()))
    return replace(measured, peak_flops=peak)


@cache
def _convolution_peak(threads: int) -> float:
    """FLOP/s of a 3×3 convolution that stays in the cache, the best of several rounds."""
    channels, side = 256, 28
    layout = torch.channels_last
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        x = torch.rand(1, channels, side, side).contiguous(memory_format=layout)
        weight = torch.rand(channels, channels, 3, 3).contiguous(memory_format=layout)
        fastest = float("inf")
        for _ in range(_ROUNDS):
            start = perf_counter()
            conv2d(x, weight, padding=1)
            fastest = min(fastest, perf_counter() - start)
    return 2 * channels**2 * 9 * side**2 / fastest


def add_times(rows: list[Row], totals: Totals, times: Times) -> Totals:
    """Give rows their times; what they leave of the whole goes into the totals."""
    for row in rows:
        if row.call is not None and not row.is_container:
            row.time_forward = times.forward.get((row.name, row.call))
            row.time_backward = times.backward.get((row.name, row.call))

    def rest(whole: Timing | None, parts: list[Timing | None]) -> float | None:
        if whole is None:
            return None
        return whole.median - sum(part.median for part in parts if part is not None)

    return replace(
        totals,
        time_forward=times.whole_forward,
        time_backward=times.whole_backward,
        rest_forward=rest(times.whole_forward, [row.time_forward for row in rows]),
        rest_backward=rest(times.whole_backward, [row.time_backward for row in rows]),
    )


def add_health(rows: list[Row], health: Mapping[tuple[str, int], Health]) -> None:
    """Give rows what was seen of them; gradients and updates belong to a module's first call."""
    for row in rows:
        if row.call is not None:
            row.health = health.get((row.name, row.call))


def add_limits(rows: list[Row], totals: Totals, machine: Machine) -> Totals:
    """Give rows the least time that peak and bandwidth allow, and say which of them decides."""
    for row in rows:
        row.limit_forward = time_limit(row.forward, machine)
        row.limit_backward = time_limit(row.backward, machine)
        if row.forward.flops or row.forward.bytes_moved:
            row.bound_by = bound_by(row.forward, machine)
    return replace(
        totals,
        limit_forward=sum(row.limit_forward or 0.0 for row in rows),
        limit_backward=sum(row.limit_backward or 0.0 for row in rows),
    )
