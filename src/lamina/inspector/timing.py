"""How long each row takes, from runs that only look at the clock where a call begins and ends.

Bare runs, without any hook, give the whole; runs with the recorder's two clock readings per call
give the parts. Both take turns, so that a slow moment of the machine meets both. What the parts
leave of the whole - Python between the layers, autograd's own work - is a row of its own.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from statistics import median, quantiles
from time import perf_counter, perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn

from lamina.inspector.trace.recorder import Entry, Recorder, leaves_of, tensors_in
from lamina.inspector.trace.untouched import untouched
from lamina.report.records import Timing

__all__ = ["Times", "measure_times"]

Key = tuple[str, int]
_WARM_UP = 2
_FEWEST = 5
_MOST = 50


@dataclass(frozen=True)
class Times:
    """Seconds of each row, by name and call index, and of the whole without any instrument."""

    forward: dict[Key, Timing]
    backward: dict[Key, Timing]
    whole_forward: Timing
    whole_backward: Timing | None


def _timing(seconds: list[float]) -> Timing:
    quarters = quantiles(seconds, n=4) if len(seconds) > 1 else [0.0, 0.0, 0.0]
    return Timing(median(seconds), quarters[2] - quarters[0])


def _differentiate(outputs: object, leaves: list[Tensor]) -> tuple[float, bool]:
    """Seconds of the backward pass, if there is one."""
    ends = [t for t in tensors_in(outputs) if t.requires_grad and t.grad_fn is not None]
    if not ends or not leaves:
        return 0.0, False
    seeds = [torch.ones_like(end) for end in ends]
    start = perf_counter()
    torch.autograd.grad(ends, leaves, seeds, allow_unused=True)
    return perf_counter() - start, True


class _Clock:
    """Collects what each run said."""

    def __init__(self) -> None:
        self.forward: dict[Key, list[float]] = defaultdict(list)
        self.backward: dict[Key, list[float]] = defaultdict(list)

    def run(
        self,
        model: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        sealed: Collection[str],
    ) -> None:
        """One run with the clock read at every call."""
        recorder = Recorder(model, sealed=sealed)
        with recorder:
            outputs = model(*args, **kwargs)
        owner = recorder.owners()
        spent: dict[Key, float] = defaultdict(float)
        for node, entry in owner.items():
            if not hasattr(node, "variable"):
                self._watch(node, entry, spent)
        _differentiate(outputs, leaves_of(owner))
        for key, seconds in spent.items():
            self.backward[key].append(seconds)
        assert recorder.root is not None
        for entry in recorder.root.walk():
            if not entry.children:
                self.forward[entry.key].append((entry.stop - entry.start) / 1e9)

    @staticmethod
    def _watch(node: Any, entry: Entry, spent: dict[Key, float]) -> None:  # noqa: ANN401 - a Node
        began = [0]

        def before(_: object) -> None:
            began[0] = perf_counter_ns()

        def after(*_: object) -> None:
            spent[entry.key] += (perf_counter_ns() - began[0]) / 1e9

        node.register_prehook(before)
        node.register_hook(after)


def measure_times(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    sealed: Collection[str],
    backward: bool = True,
    seconds: float = 3.0,
    prepare: Callable[[nn.Module], object] = lambda model: None,
) -> Times:
    """Run a model over and over and time its calls; it is left as it was.

    Args:
        model: the module, on its own device.
        args: positional inputs.
        kwargs: inputs by name.
        sealed: names of the modules that are one row each.
        backward: time the backward pass too.
        seconds: how long to go on, at least for five pairs of runs and at most for fifty.
        prepare: called with the model first, to set its mode.
    """
    clock = _Clock()
    whole_forward: list[float] = []
    whole_backward: list[float] = []
    collecting = gc.isenabled()
    with untouched(model, data=True), torch.set_grad_enabled(backward):
        prepare(model)
        outputs = model(*args, **kwargs)
        leaves = _leaves(outputs)
        del outputs
        gc.disable()
        try:
            for _ in range(_WARM_UP):
                _Clock().run(model, args, kwargs, sealed)
            until = perf_counter() + seconds
            while len(whole_forward) < _MOST:
                start = perf_counter()
                outputs = model(*args, **kwargs)
                whole_forward.append(perf_counter() - start)
                spent, differentiable = _differentiate(outputs, leaves)
                if differentiable:
                    whole_backward.append(spent)
                del outputs
                clock.run(model, args, kwargs, sealed)
                if len(whole_forward) >= _FEWEST and perf_counter() > until:
                    break
        finally:
            if collecting:
                gc.enable()
    return Times(
        {key: _timing(spent) for key, spent in clock.forward.items()},
        {key: _timing(spent) for key, spent in clock.backward.items()},
        _timing(whole_forward),
        _timing(whole_backward) if whole_backward else None,
    )


def _leaves(outputs: object) -> list[Tensor]:
    pending = [t.grad_fn for t in tensors_in(outputs) if t.grad_fn is not None]
    seen = set(pending)
    while pending:
        for source, _ in pending.pop().next_functions:
            if source is not None and source not in seen:
                seen.add(source)
                pending.append(source)
    return leaves_of(seen)
