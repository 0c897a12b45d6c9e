"""Layers against PyTorch's: sides in turn, in one process, medians with their spread.

A round measures one call of every side, forward and then backward, so that a slow spell of the
machine falls on all of them. Where the input fits the last cache, each side is called once more
just before: it then finds the caches as its own call leaves them, its input and the memory that it
reuses, and not as the other sides do. Outputs and gradients are allocated and freed inside the
measured time, as in training.

A second process repeats PyTorch's sides with huge pages switched on, which it reads once when it
starts: what a pool of ready memory gains must not be taken for the kernels' gain.
"""

from __future__ import annotations

import json
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import cast

import torch
from torch import Tensor
from torch.nn import Module

from lamina.bench.cases import Case, Mode, cases
from lamina.bench.layer_rows import WITH_HUGE_PAGES, Row
from lamina.errors import InputError
from lamina.ops.tuning import machine as machine_measurement
from lamina.theory.cost import Cost
from lamina.theory.limits import Machine, time_limit

LAYOUTS = {"channels_last": torch.channels_last, "nchw": torch.contiguous_format}
DIRECTIONS = ("forward", "backward", "both")
HUGE_PAGES = "THP_MEM_ALLOC_ENABLE"  # PyTorch's switch
FITS_THE_LAST_CACHE = 16 << 20  # bytes of an input that its output may lie beside


@dataclass
class Side:
    """A module on its input in one layout, with the times its rounds took, in seconds."""

    module: Module
    x: Tensor
    mode: Mode = "training"
    forward: list[float] = field(default_factory=list)
    backward: list[float] = field(default_factory=list)

    def round(self, keep: bool = True) -> None:
        """One call, forward and backward; its times are kept unless it warms up."""
        if self.mode == "inference":
            self._infer(keep)
            return
        inputs = [tensor for tensor in (self.x, *self.module.parameters()) if tensor.requires_grad]
        start = time.perf_counter()
        y = self.module(self.x)
        middle = time.perf_counter()
        gradients = torch.autograd.grad(y, inputs, self._gradient(y))
        del y
        end = time.perf_counter()
        del gradients
        if keep:
            self.forward.append(middle - start)
            self.backward.append(end - middle)

    def _infer(self, keep: bool) -> None:
        with torch.no_grad():
            start = time.perf_counter()
            y = self.module(self.x)
            end = time.perf_counter()
            del y
        if keep:
            self.forward.append(end - start)

    def _gradient(self, y: Tensor) -> Tensor:
        if not hasattr(self, "_dy"):
            self._dy = torch.randn_like(y)
        return self._dy

    def times(self, direction: str) -> list[float]:
        """Of every round, in seconds."""
        if direction == "both":
            return [sum(pair) for pair in zip(self.forward, self.backward, strict=True)]
        return self.forward if direction == "forward" else self.backward


def _side(case: Case, module: Module, layout: str, *, compiled: bool = False) -> Side:
    """The module and the case's input in a layout, which a matrix does not have."""
    torch.manual_seed(0)
    x = torch.randn(case.shape)
    if x.dim() == 4:
        x = x.to(memory_format=LAYOUTS[layout])
        module = module.to(memory_format=LAYOUTS[layout])  # type: ignore[call-overload]
    module.train(case.mode != "inference")
    if compiled:
        module = cast(Module, torch.compile(module))
    return Side(module, x.requires_grad_(case.mode == "training"), case.mode)


def _torch_sides(case: Case, compiled_layout: str | None) -> dict[str, Side]:
    sides = {f"torch {layout}": _side(case, case.torchs(), layout) for layout in LAYOUTS}
    if compiled_layout:
        torch.compiler.reset()
        sides["torch.compile"] = _side(case, case.torchs(), compiled_layout, compiled=True)
    return sides


def check_seconds(seconds: float) -> None:
    """Raise unless ``seconds`` is a time that measurements can take.

    Raises:
        InputError: not a finite number above 0.
    """
    if not (math.isfinite(seconds) and seconds > 0):
        raise InputError(f"seconds: expected a finite number above 0, got {seconds}")


def _run_rounds(sides: Iterable[Side], seconds: float) -> None:
    """Rounds for about ``seconds``, after warming up: at least 7, at most 200.

    Each in an order of its own: what a side leaves of caches and free memory, the next one pays.
    """
    sides, order = list(sides), random.Random(0)
    for _ in range(2):
        for side in sides:
            side.round(keep=False)
    began = time.perf_counter()
    for trial in range(200):
        if trial >= 7 and time.perf_counter() - began > seconds:
            break
        order.shuffle(sides)
        for side in sides:
            if side.x.nbytes <= FITS_THE_LAST_CACHE:
                side.round(keep=False)
            side.round()


def saved_bytes(module: Module, x: Tensor) -> int:
    """Bytes kept for backward, each memory counted once, parameters left out."""
    known = {parameter.untyped_storage().data_ptr() for parameter in module.parameters()}
    storages: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = module(x)
    del y
    return sum(storages.values())


def measure_case(
    case: Case,
    layout: str,
    machine: Machine,
    *,
    exchange: float | None = None,
    seconds: float = 1.0,
    compiled: bool = True,
) -> list[Row]:
    """Three rows: forward, backward, both; in inference the first alone."""
    ours = _side(case, case.ours(), layout)
    peers = _torch_sides(case, layout if compiled else None)
    _run_rounds([ours, *peers.values()], seconds)
    same_layout = peers[f"torch {layout}"]
    saved, saved_torch = (saved_bytes(side.module, side.x) for side in (ours, same_layout))
    limits = {
        direction: 1e3 * time_limit(_cost(case, ours.module, direction), machine)
        for direction in ("forward", "backward")
    }
    limits["both"] = limits["forward"] + limits["backward"]
    rows = []
    for direction in _directions(case):
        times = [1e3 * second for second in ours.times(direction)]
        median = statistics.median(times)
        quartiles = statistics.quantiles(times, n=4)
        peers_ms = {
            name: 1e3 * statistics.median(side.times(direction)) for name, side in peers.items()
        }
        rows.append(
            Row(
                case.kind,
                case.name,
                case.shape,
                layout,
                direction,
                len(times),
                median,
                (quartiles[2] - quartiles[0]) / 2,
                peers_ms,
                min(peers_ms.values()) / median,
                peers_ms[f"torch {layout}"] / median,
                limits[direction],
                limits[direction] / median,
                machine.bandwidth,
                saved,
                saved_torch,
                exchange,
            )
        )
    return rows


def _directions(case: Case) -> tuple[str, ...]:
    return DIRECTIONS[:1] if case.mode == "inference" else DIRECTIONS


def _cost(case: Case, module: Module, direction: str) -> Cost:
    without = {"input_gradient": False} if case.mode == "first" else {}
    return cast(Cost, module.cost(case.shape, direction, **without))  # type: ignore[operator]


def _huge_page_peers(kind: str | None, seconds: float) -> dict[str, dict[str, float]]:
    """PyTorch's sides in a process that gives its large tensors huge pages, by case and side."""
    finished = subprocess.run(
        [sys.executable, "-m", "lamina.bench.benchmark", json.dumps([kind, seconds])],
        env={**os.environ, HUGE_PAGES: "1"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found: dict[str, dict[str, float]] = json.loads(finished.stdout.splitlines()[-1])
    return found


def _measure_huge_page_peers(kind: str | None, seconds: float) -> dict[str, dict[str, float]]:
    found = {}
    for case in cases(kind):
        sides = _torch_sides(case, None)
        _run_rounds(sides.values(), seconds)
        for direction in _directions(case):
            found[_key(case.kind, case.name, case.shape, direction)] = {
                f"{name}{WITH_HUGE_PAGES}": 1e3 * statistics.median(side.times(direction))
                for name, side in sides.items()
            }
    return found


def _key(kind: str, name: str, shape: tuple[int, ...], direction: str) -> str:
    return f"{kind}/{name}/{shape}/{direction}"


def benchmark_layers(
    kind: str | None = None,
    *,
    seconds: float = 1.0,
    compiled: bool = True,
    huge_pages: bool = True,
    on_row: Callable[[Row], None] = lambda row: None,
) -> tuple[Machine, list[Row]]:
    """Times every kind of layer against PyTorch on this machine.

    Args:
        kind: one kind's cases alone; None for all.
        seconds: about how long the rounds of a case and layout take, after warming up.
        compiled: also time ``torch.compile``'s module, which takes seconds per case to build.
        huge_pages: also time PyTorch in a second process with huge pages switched on.
        on_row: called with every row as it is measured.

    Returns:
        What the machine can do at most, its bandwidth the highest that was measured before a case;
        and the rows.

    Raises:
        InputError: an unknown kind, or a time that is none.
    """
    check_seconds(seconds)
    chosen = cases(kind)
    machine = machine_measurement.measure()
    huge = _huge_page_peers(kind, seconds / 2) if huge_pages else {}
    rows = []
    for row in _rows(chosen, machine, seconds, compiled):
        row.peers_ms.update(huge.get(_key(row.kind, row.case, row.shape, row.direction), {}))
        on_row(row)
        rows.append(row)
    return replace(machine, bandwidth=max(row.bandwidth for row in rows)), rows


def _rows(chosen: list[Case], machine: Machine, seconds: float, compiled: bool) -> Iterator[Row]:
    for case in chosen:
        for layout in LAYOUTS if len(case.shape) == 4 else ("channels_last",):
            now = replace(machine, bandwidth=machine_measurement.bandwidth())
            exchange = machine_measurement.exchange()
            yield from measure_case(
                case, layout, now, exchange=exchange, seconds=seconds, compiled=compiled
            )


if __name__ == "__main__":
    print(json.dumps(_measure_huge_page_peers(*json.loads(sys.argv[1]))))
