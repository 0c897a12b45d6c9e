"""Two or more ways of one computation, timed in turn."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

__all__ = ["seconds_of_each"]

_WARM_UP = 2
_FEWEST = 5
_MOST = 200


def seconds_of_each(
    ways: Sequence[Callable[[Tensor], Tensor]], x: Tensor, seconds: float = 0.3
) -> list[float]:
    """Median seconds of each way on the same input, without gradients.

    They run in turn, so that a slow moment of the machine meets them all.

    Args:
        ways: functions or modules.
        x: what each is called on.
        seconds: how long to go on, at least five rounds.

    Example:
        >>> ways = [torch.relu, lambda x: torch.relu(x @ x)]
        >>> fast, slow = seconds_of_each(ways, torch.ones(256, 256))
        >>> 0 < fast < slow
        True
    """
    spent: list[list[float]] = [[] for _ in ways]
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for _ in range(_WARM_UP):
            for way in ways:
                way(x)
        until = perf_counter() + seconds
        while len(spent[0]) < _MOST and (len(spent[0]) < _FEWEST or perf_counter() < until):
            for way, times in zip(ways, spent, strict=True):
                start = perf_counter()
                way(x)
                times.append(perf_counter() - start)
    return [median(times) for times in spent]
