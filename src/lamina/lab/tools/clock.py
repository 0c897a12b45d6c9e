"""How long a call takes here, sides taking turns; a median, as everywhere.

Experiments run on one thread, and it is that thread's processor time which is read: of other
programs it hears little.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping
from statistics import median
from time import thread_time

import torch

Call = Callable[[], object]


def seconds_of(
    sides: Mapping[str, Call],
    *,
    seconds: float = 0.2,
    fewest: int = 5,
    most: int = 100,
) -> dict[str, float]:
    """Time calls in turns, without gradients and after a warm-up.

    Args:
        sides: calls by name.
        seconds: to spend on each, about.
        fewest: turns of each at least.
        most: turns of each at most.

    Returns:
        The median seconds of each call, by name.
    """
    with torch.no_grad():
        expected = 0.0
        for call in sides.values():
            call()
            start = thread_time()
            call()
            expected = max(expected, thread_time() - start)
        turns = max(fewest, min(most, int(seconds / max(expected, 1e-7))))
        taken: dict[str, list[float]] = {name: [] for name in sides}
        gc.collect()
        for _ in range(turns):
            for name, call in sides.items():
                start = thread_time()
                call()
                taken[name].append(thread_time() - start)
    return {name: median(times) for name, times in taken.items()}
