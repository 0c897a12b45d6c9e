"""The time below which a machine cannot do the work: the roofline.

    time_limit = max(FLOPs / peak, bytes / bandwidth)

The arithmetic units and the memory work at once at best, so the slower of the two decides. Their
quotient, peak / bandwidth, is the machine's ridge in FLOPs per byte: work of a lower intensity is
bound by memory, of a higher one by arithmetic. Both figures are to be measured on the machine
that runs, with the threads that run.

Source: Williams, Waterman and Patterson, "Roofline: An Insightful Visual Performance Model for
Multicore Architectures" (2009), section 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lamina.theory.cost import Cost
from lamina.theory.validation import non_negative_int, positive_float

Bound = Literal["arithmetic", "memory"]


@dataclass(frozen=True)
class Machine:
    """What a machine can do at most, all its threads together.

    Args:
        peak_flops: floating-point operations per second, a fused multiply-add counted as two.
        bandwidth: bytes per second to and from memory.
        cache_bytes: size of the last cache, in bytes; 0 where it is not known.
        cache_bandwidth: bytes per second for what fits that cache; None is ``bandwidth``.
        exchange: bytes per second that a thread has of what another one wrote last; None where
            that takes no time of its own.
        overhead: seconds that a call takes whatever its size, by the algorithm's name; 0 for a
            name that is not there.
        efficiency: the share of the limit, in (0, 1], that a piece of work was measured to reach
            - of the peak where arithmetic decides, of the bandwidth where memory does -, by its
            name, ``"winograd_4x4"`` or more closely ``"winograd_4x4.product"``; 1 for a name that
            is not there. Like the overheads it makes predictions, not limits.

    Raises:
        ValueError: a figure out of its range.

    Example:
        >>> machine = Machine(peak_flops=245e9, bandwidth=32e9)
        >>> round(machine.ridge, 1)
        7.7
    """

    peak_flops: float
    bandwidth: float
    cache_bytes: int = 0
    cache_bandwidth: float | None = None
    exchange: float | None = None
    overhead: Mapping[str, float] = field(default_factory=dict, hash=False)
    efficiency: Mapping[str, float] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        positive_float(self.peak_flops, "peak_flops")
        positive_float(self.bandwidth, "bandwidth")
        non_negative_int(self.cache_bytes, "cache_bytes")
        if self.cache_bandwidth is not None:
            positive_float(self.cache_bandwidth, "cache_bandwidth")
        if self.exchange is not None:
            positive_float(self.exchange, "exchange")
        for name, seconds in self.overhead.items():
            if not 0 <= seconds < float("inf"):
                raise ValueError(
                    f"overhead of {name!r} must be finite and not negative, got {seconds!r}"
                )
        for name, share in self.efficiency.items():
            if not 0 < share <= 1:
                raise ValueError(f"efficiency of {name!r} must be in (0, 1], got {share!r}")

    @property
    def ridge(self) -> float:
        """FLOPs per byte at which arithmetic and memory take the same time."""
        return self.peak_flops / self.bandwidth

    def bandwidth_for(self, working_set: int) -> float:
        """Bytes per second for data of this many bytes in all: the cache's where they fit."""
        if self.cache_bandwidth is not None and working_set <= self.cache_bytes:
            return self.cache_bandwidth
        return self.bandwidth

    def share_for(self, name: str) -> float:
        """The share of its limit that the work of this name reaches.

        Example:
            >>> machine = Machine(100e9, 10e9, efficiency={"fft": 0.5, "fft.product": 0.25})
            >>> machine.share_for("fft.product"), machine.share_for("fft.inverse")
            (0.25, 0.5)
        """
        return self.efficiency.get(name, self.efficiency.get(name.partition(".")[0], 1.0))


def arithmetic_time(cost: Cost, machine: Machine) -> float:
    """Seconds that the operations take at the peak."""
    return cost.flops / machine.peak_flops


def memory_time(cost: Cost, machine: Machine) -> float:
    """Seconds that the bytes take at the bandwidth."""
    return cost.bytes_moved / machine.bandwidth_for(cost.bytes_moved)


def time_limit(cost: Cost, machine: Machine) -> float:
    """The seconds below which this machine cannot do it.

    Example:
        >>> machine = Machine(peak_flops=100e9, bandwidth=10e9)
        >>> time_limit(Cost(macs=50_000_000, bytes_read=1_000_000), machine)
        0.001
    """
    return max(arithmetic_time(cost, machine), memory_time(cost, machine))


def bound_by(cost: Cost, machine: Machine) -> Bound:
    """What decides the limit; memory where both take the same time.

    Example:
        >>> machine = Machine(peak_flops=100e9, bandwidth=10e9)
        >>> bound_by(Cost(macs=50_000_000, bytes_read=1_000_000), machine)
        'arithmetic'
    """
    longer = arithmetic_time(cost, machine) > memory_time(cost, machine)
    return "arithmetic" if longer else "memory"


def fraction_of_limit(cost: Cost, machine: Machine, seconds: float) -> float:
    """How much of what the machine allows was reached: the limit over the measured time.

    Args:
        cost: of the call.
        machine: that ran it.
        seconds: that it took, above 0.

    Raises:
        ValueError: a time that is not above 0.

    Example:
        >>> machine = Machine(peak_flops=100e9, bandwidth=10e9)
        >>> fraction_of_limit(Cost(bytes_read=10_000_000), machine, seconds=0.002)
        0.5
    """
    return time_limit(cost, machine) / positive_float(seconds, "seconds")
