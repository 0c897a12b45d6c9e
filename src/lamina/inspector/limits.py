"""Put beside each row what it took, what this machine allows, and what was seen in training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lamina.inspector.timing import Times
from lamina.report.records import Health, Row, Timing, Totals
from lamina.theory.limits import Machine, bound_by, time_limit

__all__ = ["add_health", "add_limits", "add_times"]


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
