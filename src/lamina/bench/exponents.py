"""Claim: time grows with channels, pixels, images and taps by the powers that the theory counts.

One size grows, the others stay; the slope of log time against log size is fitted by least squares
and stands beside the exponent of ``theory.conv2d_algorithms.complexity``, where the images are
larger than the last cache and so no point is in another memory than the next.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from lamina.bench.algorithms import calls, rounds
from lamina.bench.benchmark import check_seconds
from lamina.ops.tuning import choice, timing
from lamina.ops.tuning.timing import Case
from lamina.theory.complexity import exponents
from lamina.theory.conv2d_algorithms import complexity, cost
from lamina.theory.limits import Machine

TOLERANCE = 0.15

SWEEPS: dict[str, tuple[Case, ...]] = {
    "C": tuple(Case(16, c, 128, 56) for c in (128, 192, 256, 384, 512)),
    "M": tuple(Case(16, 128, m, 56) for m in (128, 192, 256, 384, 512)),
    "H·W": tuple(Case(16, 64, 64, p) for p in (72, 80, 96, 112, 128)),
    "N": tuple(Case(n, 64, 64, 56) for n in (24, 32, 48, 64, 96)),
    "K": tuple(Case(16, 64, 64, 72, k) for k in (3, 5, 7, 9, 11)),
}
"""By the size that grows; images and outputs are 38 MB together, or more. Both numbers of
channels begin at 128: the transform of the other side's tensor, which does not grow with a number
of channels, bends the slope of Winograd's algorithm where that number is small."""

_SIZE: dict[str, Callable[[Case], float]] = {
    "C": lambda case: case.inputs,
    "M": lambda case: case.outputs,
    "H·W": lambda case: case.pixels**2,
    "N": lambda case: case.batch,
    "K": lambda case: case.kernel_size,
}


@dataclass(frozen=True)
class Growth:
    """How the forward pass by one algorithm grows with one size.

    ``seconds`` are the fastest rounds, one per case: what disturbs a round only adds, and a slope
    is bent by it. ``limits`` what the machine allows for the direct sum.
    """

    symbol: str
    algorithm: str
    cases: tuple[Case, ...]
    seconds: tuple[float, ...]
    limits: tuple[float, ...]
    fitted: float
    expected: float

    @property
    def sizes(self) -> tuple[float, ...]:
        """Of the symbol, one per case."""
        return tuple(map(_SIZE[self.symbol], self.cases))


def growth(
    machine: Machine,
    *,
    seconds: float = 0.2,
    on_growth: Callable[[Growth], None] = lambda found: None,
) -> list[Growth]:
    """Measures every sweep by the direct sum and by Winograd's larger tile.

    Args:
        machine: its limits, for the curve below which no direct sum can be.
        seconds: about how long the rounds of a case take, after warming up.
        on_growth: called with every sweep and algorithm as it is measured.

    Raises:
        InputError: a time that is none.
    """
    check_seconds(seconds)
    found = []
    for symbol, cases in SWEEPS.items():
        names = ["direct", "winograd_4x4"]
        if any(case.kernel_size != 3 for case in cases):
            names.remove("winograd_4x4")
        times: dict[str, list[float]] = {name: [] for name in names}
        for case in cases:
            sides = {name: calls(case, "channels_last", name)["forward"] for name in names}
            for name, measured in rounds(sides, seconds).items():
                times[name].append(min(measured))
        problems = [timing.problem_of(case, "forward") for case in cases]
        limits = [cost("direct", p).predicted_time(machine) for p in problems]
        for name in names:
            one = Growth(
                symbol,
                name,
                cases,
                tuple(times[name]),
                tuple(limits),
                slope([_SIZE[symbol](case) for case in cases], times[name]),
                _expected(symbol, name),
            )
            on_growth(one)
            found.append(one)
    return found


def _expected(symbol: str, algorithm: str) -> float:
    assert algorithm in choice.RUNNING
    known = exponents(complexity(algorithm))
    return float(known["H"] if symbol == "H·W" else known[symbol])


def slope(sizes: list[float], times: list[float]) -> float:
    """Of log time against log size, by least squares.

    Example:
        >>> round(slope([1.0, 2.0, 4.0], [3.0, 12.0, 48.0]), 6)
        2.0
    """
    line = statistics.linear_regression(list(map(math.log, sizes)), list(map(math.log, times)))
    return line.slope


def line(found: Growth) -> str:
    """One line of a terminal."""
    times = ", ".join(f"{1e3 * second:.2f}" for second in found.seconds)
    off = abs(found.fitted - found.expected)
    return (
        f"{found.symbol:4} {found.algorithm:13} time ~ {found.symbol}^{found.fitted:.2f}, theory "
        f"{found.expected:.0f}, {'within' if off <= TOLERANCE else 'NOT within'} {TOLERANCE}: "
        f"{times} ms at {', '.join(f'{size:g}' for size in found.sizes)}"
    )
