"""What share of their limits the algorithms reach, from times.

    time = overhead + sum over stages of limit(stage) / share(stage)

is linear in the overhead and in 1 / share, which least squares on relative errors finds: no
overhead below 0, no share above 1.

Source: Lawson and Hanson, "Solving Least Squares Problems" (1974), chapter 23; solved here by
descent along one coordinate after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lamina.theory.conv2d_problem import AlgorithmCost
from lamina.theory.limits import Machine

Timing = tuple[AlgorithmCost, float]
"""What was done, and the seconds that it took."""


def fit(times: dict[str, list[Timing]], limits: Machine) -> Machine:
    """The limits with each algorithm's overhead and the shares of its stages.

    Stages whose names end alike, Winograd's two transforms of tiles, share one figure: with as many
    channels in as out nothing could tell them apart.
    """
    overhead, efficiency = {}, {}
    for algorithm, timings in times.items():
        stages = {stage.name for cost, _ in timings for stage in cost.stages}
        kinds = sorted({_kind(name) for name in stages})
        rows, seconds = [], np.array([measured for _, measured in timings])
        for cost, _ in timings:
            row = [1e-6] + [0.0] * len(kinds)
            for stage in cost.stages:
                row[1 + kinds.index(_kind(stage.name))] += max(
                    cost.arithmetic_time(stage, limits), cost.memory_time(stage, limits)
                )
            rows.append(row)
        lowest = [0.0] + [1.0] * len(kinds)
        found = least_squares(np.array(rows) / seconds[:, None], np.ones(len(seconds)), lowest)
        overhead[algorithm] = float(found[0]) * 1e-6
        for name in sorted(stages):
            column = 1 + kinds.index(_kind(name))
            if any(row[column] for row in rows):
                efficiency[f"{algorithm}.{name}"] = 1 / float(found[column])
    return replace(limits, overhead=overhead, efficiency=efficiency)


def scatter(times: dict[str, list[Timing]], machine: Machine) -> float:
    """Median relative distance of the times from what the machine is predicted to take."""
    distances = [
        abs(cost.predicted_time(machine) / seconds - 1)
        for timings in times.values()
        for cost, seconds in timings
    ]
    return float(np.median(distances))


def _kind(stage: str) -> str:
    return "tiles" if stage in ("input_transform", "output_transform") else stage


def least_squares(
    matrix: np.ndarray, target: np.ndarray, lowest: Sequence[float], sweeps: int = 2000
) -> np.ndarray:
    """The vector nearest to solving matrix @ x = target with no element below ``lowest``."""
    x = np.array(lowest, dtype=float)
    products, right = matrix.T @ matrix, matrix.T @ target
    for _ in range(sweeps):
        for j in range(len(x)):
            if products[j, j] > 0:
                x[j] = max(lowest[j], x[j] + (right[j] - products[j] @ x) / products[j, j])
    return x
