"""Convolutions timed on the spot: the machine as each pass of a convolution meets it."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import product
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.conv2d import kernels, pytorch
from lamina.ops.finish import Finish
from lamina.ops.runtime import native, registration
from lamina.ops.tuning import machine
from lamina.ops.tuning.fit import Timing, fit, scatter
from lamina.ops.tuning.shipped import MACHINES
from lamina.theory import conv2d as theory
from lamina.theory import conv2d_algorithms
from lamina.theory.conv2d_problem import PASSES, Pass, Problem
from lamina.theory.limits import Machine


class Case(NamedTuple):
    """A convolution of square images and kernels, as much padded as keeps their size."""

    batch: int
    inputs: int
    outputs: int
    pixels: int
    kernel_size: int = 3
    stride: int = 1


CASES = (
    Case(1, 16, 16, 5),
    Case(1, 16, 16, 28),
    Case(4, 16, 16, 56),
    Case(16, 16, 16, 56),
    Case(1, 32, 32, 56),
    Case(1, 64, 64, 7),
    Case(1, 64, 64, 14),
    Case(2, 64, 64, 56),
    Case(4, 128, 128, 28),
    Case(1, 128, 128, 7),
    Case(1, 256, 256, 14),
    Case(1, 256, 256, 4),
    Case(1, 512, 512, 7),
    Case(4, 64, 16, 28, 5),
    Case(1, 64, 256, 28, 1),
    Case(1, 512, 1000, 8, 1),
    Case(4, 256, 64, 28, 1),
    Case(2, 64, 128, 28, 3, 2),
    Case(1, 256, 512, 14, 3, 2),
    Case(2, 3, 64, 64, 7, 2),
    Case(1, 3, 32, 112, 3, 2),
    Case(1, 512, 1000, 4, 1),
    Case(1, 512, 1000, 2, 1),
    Case(1, 512, 1000, 1, 1),
    Case(1, 1024, 1000, 1, 1),
    Case(16, 32, 32, 28, 1),
    Case(8, 16, 96, 112, 1),
    Case(8, 96, 16, 112, 1),
)
"""Few and many channels, few and many pixels: every stage decides in some of them."""

_SWEEPS = 4  # over all cases: another program's burst does not last as long
_SECONDS = 3.0  # after which no sweep begins, on a machine that is busy or slow
_CALLS = 3  # of a case in a sweep
_Call = Callable[[], Tensor]


_SCATTER = 0.35
"""Median distance of the times from the model, above which they are another program's."""


@torch.inference_mode(False)  # the caller's: under it nothing that is timed has gradients
def measure() -> dict[Pass, Machine] | None:
    """The machine as each pass meets it, from about two seconds of small convolutions.

    None where the times say nothing, as on a machine that is busy with something else.
    """
    machine.measure()
    size, bandwidth = machine.last_cache()
    times = _times()
    # Again: limits from a busy moment would be surpassed by every kernel, and all look alike.
    # What lies beside the data, another core's too, takes its part of the cache.
    limits = replace(
        machine.measure(again=True),
        cache_bytes=size * 3 // 4,
        cache_bandwidth=bandwidth,
        exchange=machine.exchange(),
    )
    found = {pass_: fit(times[pass_], limits) for pass_ in PASSES}
    if max(scatter(times[pass_], fitted) for pass_, fitted in found.items()) > _SCATTER:
        return None
    around = _around()
    # Those that are not timed keep the shares that are shipped.
    return {
        pass_: replace(
            fitted,
            overhead={**fitted.overhead, AROUND: around[pass_]},
            efficiency={**MACHINES[pass_].efficiency, **fitted.efficiency},
        )
        for pass_, fitted in found.items()
    }


def model(threads: int) -> str:
    """A digest of what is timed, and of what is counted of it, in either layout.

    Figures that were fitted to other counts, or without one of the stages, say nothing about these.
    """
    counted: list[object] = [AROUND, CASES]
    for case in {(case.kernel_size, case.stride): case for case in CASES}.values():
        for pass_, channels_last in product(PASSES, (True, False)):
            problem = problem_of(case, pass_)
            problem = replace(problem, threads=threads, channels_last=channels_last)
            names = ("onednn", "matrix_product", *_ours(problem))
            counted += [(name, conv2d_algorithms.cost(name, problem).stages) for name in names]
    return hashlib.sha256(repr(counted).encode()).hexdigest()[:16]


# ---- the clock ----------------------------------------------------------------------------------


def _times() -> dict[Pass, dict[str, list[Timing]]]:
    """For every pass and algorithm, what the cases cost and the seconds that they took."""
    best: dict[tuple[Pass, str, Case], float] = {}
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        began = perf_counter()
        for sweep in range(_SWEEPS):
            if sweep and perf_counter() - began > _SECONDS:
                break
            for case in CASES:
                for (pass_, algorithm), call in _calls(case).items():
                    key = (pass_, algorithm, case)
                    best[key] = min(best.get(key, np.inf), _best_of(call))
    times: dict[Pass, dict[str, list[Timing]]] = {pass_: {} for pass_ in PASSES}
    for (pass_, algorithm, case), seconds in best.items():
        timing = (conv2d_algorithms.cost(algorithm, problem_of(case, pass_)), seconds)
        times[pass_].setdefault(algorithm, []).append(timing)
    return times


AROUND = "around the kernels"
"""The name of an overhead: what our op takes around a kernel and PyTorch's does not."""


def _around() -> dict[Pass, float]:
    """Seconds by pass, from a convolution that takes little else; both gradients' are alike."""
    convolve = registration.OPS["conv2d"].function
    case = CASES[0]
    padding = case.kernel_size // 2
    passes = _calls(case)
    x, dy, weight = _tensors(case)
    x, weight = x.requires_grad_(), weight.requires_grad_()
    nothing = (None, None, None, None, None, 0.0)  # behind the sum
    window = ((1, 1), (padding,) * 4, (1, 1), 1, "direct", "none", 0.0)
    ops: dict[str, _Call] = {
        "direct": lambda: convolve(x, weight, *nothing, *window),
        "onednn": lambda: F.conv2d(x, weight, None, 1, padding),
    }

    def step(op: _Call) -> Tensor:
        with torch.enable_grad():
            return torch.autograd.grad(op(), (x, weight), dy)[0]

    inference, training = 0.0, 0.0
    with torch.no_grad(), torch.autocast("cpu", enabled=False):
        for algorithm, sign in (("direct", 1), ("onednn", -1)):
            op = ops[algorithm]
            times = {pass_: _best_of(passes[pass_, algorithm], _MANY_CALLS) for pass_ in PASSES}
            inference += sign * (_best_of(op, _MANY_CALLS) - times["forward"])
            training += sign * (_best_of(partial(step, op), _MANY_CALLS) - sum(times.values()))
    forward, gradients = max(inference, 0.0), max(training - inference, 0.0)
    return {
        "forward": forward,
        "input_gradient": gradients / 2,
        "weight_gradient": gradients / 2,
    }


_MANY_CALLS = 50  # of some ten microseconds


def _best_of(call: _Call, calls: int = _CALLS) -> float:
    call()
    best = np.inf
    for _ in range(calls):
        start = perf_counter()
        result = call()
        best = min(best, perf_counter() - start)
        del result
    return best


def problem_of(case: Case, pass_: Pass) -> Problem:
    """The pass as this machine's registers and threads meet it."""
    problem = theory.problem(
        (case.batch, case.inputs, case.pixels, case.pixels),
        case.outputs,
        case.kernel_size,
        case.stride,
        padding=case.kernel_size // 2,
        pass_=pass_,
        threads=torch.get_num_threads(),
    )
    return replace(problem, lanes=native.lanes())


def _tensors(case: Case) -> tuple[Tensor, Tensor, Tensor]:
    """Input, output's gradient and weight; float32 whatever the defaults of the caller are."""
    problem = problem_of(case, "forward")
    shapes = (
        problem.input_shape,
        problem.output_shape,
        (case.outputs, case.inputs, *problem.kernel_size),
    )
    x, dy, weight = (
        torch.full(shape, 0.5, dtype=torch.float32, device="cpu").contiguous(
            memory_format=torch.channels_last
        )
        for shape in shapes
    )
    return x, dy, weight


def _calls(case: Case) -> dict[tuple[Pass, str], _Call]:
    forward, of_input, of_weight = (problem_of(case, pass_) for pass_ in PASSES)
    x, dy, weight = _tensors(case)
    calls: dict[tuple[Pass, str], _Call] = {
        ("forward", "onednn"): lambda: pytorch.forward(x, weight, forward),
        ("input_gradient", "onednn"): lambda: pytorch.input_gradient(x, dy, weight, of_input),
        ("weight_gradient", "onednn"): lambda: pytorch.weight_gradient(x, dy, weight, of_weight),
    }
    if (case.kernel_size, case.stride) == (1, 1):
        rows, drows = (image.permute(0, 2, 3, 1).flatten(0, 2) for image in (x, dy))
        matrix = weight.flatten(1)
        calls["forward", "matrix_product"] = lambda: F.linear(rows, matrix)
        calls["input_gradient", "matrix_product"] = lambda: drows.mm(matrix)
        calls["weight_gradient", "matrix_product"] = lambda: drows.t().mm(rows)
    for name in _ours(forward):

        def run_forward(name: str = name) -> Tensor:
            return kernels.forward(name, x, weight, Finish(), forward, channels_last=True)

        def run_of_input(name: str = name) -> Tensor:
            return kernels.input_gradient(name, x, dy, weight, of_input, channels_last=True)

        def run_of_weight(name: str = name) -> Tensor:
            return kernels.weight_gradient(name, x, dy, weight, of_weight)

        calls["forward", name] = run_forward
        calls["input_gradient", name] = run_of_input
        calls["weight_gradient", name] = run_of_weight
    return calls


def _ours(problem: Problem) -> list[str]:
    """Of the kernels' algorithms, those that serve it."""
    return [name for name in kernels.ALGORITHMS if conv2d_algorithms.why_not(name, problem) is None]
