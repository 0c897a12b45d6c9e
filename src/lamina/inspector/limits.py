"""Put beside each row what it took, what this machine allows, and what was seen in training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lamina.inspector.timing import Times
from lamina.report.records import Health, Row, Timing, Totals
from lamina.theory.limits import Machine, bound_by, time_limit

__all__ = ["add_health", "add_limits", "add_times", "contradiction"]


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


_CLEAR = 1.10  # times above what was measured, before a row is held against the measurement


def contradiction(rows: Sequence[Row], machine: Machine, cache_bytes: int) -> str | None:
    """The row that did what this machine is said to be unable to do, in words; else None.

    Left aside are convolutions that an algorithm may do with fewer operations than are counted, and
    what may lie in a cache, beyond whose bandwidth memory does not count.

    Args:
        rows: with their times.
        machine: peak and bandwidth, as measured.
        cache_bytes: of the last cache.
    """
    for row in rows:
        if row.time_forward is None or row.time_forward.median <= 0:
            continue
        flops = row.forward.flops / row.time_forward.median
        traffic = row.forward.bytes_moved / row.time_forward.median
        if flops > _CLEAR * machine.peak_flops and not row.kind.startswith("conv"):
            return f"{row.label} did {flops:.2g} FLOP/s, above the peak of {machine.peak_flops:.2g}"
        in_memory = row.forward.bytes_moved > 4 * cache_bytes
        if traffic > _CLEAR * machine.bandwidth and in_memory:
            return (
                f"{row.label} moved {traffic:.2g} bytes/s, above the bandwidth of "
                f"{machine.bandwidth:.2g}"
            )
    return None
