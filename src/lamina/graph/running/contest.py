"""Which of several ways computes a call soonest: timed once for each shape, and remembered.

The cost model says which ways are worth trying; where it cannot tell them apart, the clock does,
unless a result has to be the same in every process: then the likeliest is taken. A choice holds for
one machine, number of threads and numerics: all are in its key.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from time import perf_counter
from typing import Any

import torch
from torch import Tensor

from lamina.ops.runtime import native
from lamina.ops.runtime.numerics import get_numerics
from lamina.ops.runtime.recording import replay

__all__ = ["Key", "choices", "conditions", "fastest", "without_a_clock"]

Key = tuple[Any, ...]
"""What is computed, the shapes, and the conditions."""

Way = Callable[..., Tensor]

_LIMIT = 4096  # choices; the oldest goes first

_ROUNDS = 3

_LONG = 20e-3  # seconds: then one round tells enough

choices: OrderedDict[str, str] = OrderedDict()
"""Those of this process, and those that were loaded: the name of a way by its key, in words."""


_has_clock = True


@contextmanager
def without_a_clock() -> Iterator[None]:
    """Have choices made by the cost model alone, as two processes make them alike."""
    global _has_clock
    before, _has_clock = _has_clock, False
    try:
        yield
    finally:
        _has_clock = before


def conditions() -> tuple[int, str, str | None, bool]:
    """What a choice depends on beside the shapes: threads, numerics, instruction set, the clock."""
    return torch.get_num_threads(), get_numerics(), native.instruction_set(), _has_clock


def fastest(key: Key, ways: Mapping[str, Way], arguments: tuple[Any, ...]) -> str:
    """The name of the way that takes the least time, from memory or by the clock.

    Args:
        key: of the call.
        ways: by name; the first one is taken where the clock cannot tell.
        arguments: to try them with; none of the ways changes them.
    """
    if len(ways) == 1 or not _has_clock:
        return next(iter(ways))
    words = repr(key)
    known = choices.get(words)
    if known is not None and known in ways:
        return known
    times = {name: float("inf") for name in ways}
    runs = {name: _as_it_will_run(way, arguments) for name, way in ways.items()}
    for _ in range(_ROUNDS):
        for name, run in runs.items():
            _forget_caches()
            begin = perf_counter()
            run()
            times[name] = min(times[name], perf_counter() - begin)
        if sum(times.values()) > _LONG:
            break
    chosen = min(times, key=times.__getitem__)
    choices[words] = chosen
    while len(choices) > _LIMIT:
        choices.popitem(last=False)
    return chosen


_ELSEWHERE = torch.empty(2 << 20)  # floats: more than the caches of a few cores hold


def _forget_caches() -> None:
    """In a network a layer finds neither its weights nor its output in the caches of a core."""
    _ELSEWHERE.zero_()


def _as_it_will_run(way: Way, arguments: tuple[Any, ...]) -> Callable[[], Any]:
    """A way without the Python around its kernels, warmed up."""
    way(*arguments)
    run = replay(way, arguments) or partial(way, *arguments)
    run()
    return run
