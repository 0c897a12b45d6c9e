"""Conv2D's algorithms side by side for one problem on one machine.

Example:
    >>> from lamina.theory import conv2d
    >>> machine = Machine(peak_flops=245e9, bandwidth=32e9, efficiency={"direct": 0.7})
    >>> print(compare(conv2d.problem((16, 64, 56, 56), 64, 1), machine))
    algorithm      GFLOP      MB  workspace MB  FLOP/B     ms  speed-up  bound by
    implicit_gemm  0.411   25.71          0.00    16.0  1.678      1.43  arithmetic
    direct         0.411   25.74          0.02    16.0  2.398      1.00  arithmetic
    im2col         0.411   51.40          0.80     8.0  2.481      0.97  arithmetic
    fft            1.628  208.55         91.42     7.8  7.641      0.31  arithmetic
    winograd_2x2: kernel_size must be 3 or 5, got (1, 1)
    winograd_4x4: kernel_size must be 3, got (1, 1)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lamina.theory.conv2d_algorithms import ALGORITHMS, why_not
from lamina.theory.conv2d_problem import AlgorithmCost, Problem
from lamina.theory.limits import Bound, Machine


@dataclass(frozen=True)
class Row:
    """One algorithm.

    Args:
        algorithm: its name.
        flops: operations of all stages.
        bytes_moved: bytes of all stages.
        workspace_bytes: beyond the three tensors.
        arithmetic_intensity: FLOPs per byte.
        seconds: predicted.
        speedup: the direct method's predicted time over this one's.
        bound_by: what takes the larger part of the time.
    """

    algorithm: str
    flops: int
    bytes_moved: int
    workspace_bytes: int
    arithmetic_intensity: float
    seconds: float
    speedup: float
    bound_by: Bound


@dataclass(frozen=True)
class Comparison:
    """The rows, fastest first, and why the other algorithms do not apply; prints as a table."""

    rows: tuple[Row, ...]
    not_applicable: Mapping[str, str]

    @property
    def fastest(self) -> str:
        """The algorithm of the shortest predicted time."""
        return self.rows[0].algorithm

    def __getitem__(self, algorithm: str) -> Row:
        """The row of an algorithm; KeyError where it does not apply."""
        return {row.algorithm: row for row in self.rows}[algorithm]

    def __str__(self) -> str:
        head = ("algorithm", "GFLOP", "MB", "workspace MB", "FLOP/B", "ms", "speed-up", "bound by")
        body = [
            (
                row.algorithm,
                f"{row.flops / 1e9:.3f}",
                f"{row.bytes_moved / 1e6:.2f}",
                f"{row.workspace_bytes / 1e6:.2f}",
                f"{row.arithmetic_intensity:.1f}",
                f"{row.seconds * 1e3:.3f}",
                f"{row.speedup:.2f}",
                row.bound_by,
            )
            for row in self.rows
        ]
        widths = [max(map(len, column)) for column in zip(head, *body, strict=True)]
        lines = []
        for name, *numbers, bound in (head, *body):
            cells = [cell.rjust(width) for cell, width in zip(numbers, widths[1:], strict=False)]
            lines.append("  ".join([name.ljust(widths[0]), *cells, bound]))
        lines += [f"{name}: {reason}" for name, reason in self.not_applicable.items()]
        return "\n".join(lines)


def compare(problem: Problem, machine: Machine) -> Comparison:
    """Every algorithm that applies, by predicted time; at equal times in the order of the list."""
    reasons = {name: why_not(name, problem) for name in ALGORITHMS}
    costs = [make(problem) for name, make in ALGORITHMS.items() if reasons[name] is None]
    baseline = costs[0].predicted_time(machine)
    rows = [_row(cost, machine, baseline) for cost in costs]
    return Comparison(
        rows=tuple(sorted(rows, key=lambda row: row.seconds)),
        not_applicable={name: reason for name, reason in reasons.items() if reason is not None},
    )


def _row(cost: AlgorithmCost, machine: Machine, baseline: float) -> Row:
    seconds = cost.predicted_time(machine)
    arithmetic = sum(cost.arithmetic_time(stage, machine) for stage in cost.stages)
    memory = sum(cost.memory_time(stage, machine) for stage in cost.stages)
    return Row(
        algorithm=cost.algorithm,
        flops=cost.flops,
        bytes_moved=cost.bytes_moved,
        workspace_bytes=cost.workspace_bytes,
        arithmetic_intensity=cost.arithmetic_intensity,
        seconds=seconds,
        speedup=baseline / seconds if seconds else 1.0,
        bound_by="arithmetic" if arithmetic > memory else "memory",
    )
