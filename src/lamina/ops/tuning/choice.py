"""Which algorithm convolves: the one asked for, or the fastest that the cost model predicts."""

from __future__ import annotations

from functools import lru_cache
from math import prod

import torch
from torch import Tensor

from lamina.ops.runtime.numerics import get_numerics
from lamina.ops.tuning import calibration
from lamina.ops.tuning.calibration import Calibration
from lamina.ops.tuning.timing import AROUND
from lamina.theory import conv2d_algorithms as theory
from lamina.theory import validation
from lamina.theory.conv2d_problem import Pass, Problem
from lamina.theory.shapes import Pair

ALGORITHMS = ("auto", "direct", "im2col", "winograd", "fft", "onednn")
"""What ``conv2d`` and the layers can be asked for."""

WINOGRAD = ("winograd_4x4", "winograd_2x2")

CANDIDATES = ("onednn", "direct", *WINOGRAD)
"""Of auto. The others are never the fastest: im2col is the direct sum and a copy, and Fourier's
products need kernels larger than any of an image classifier's."""


RUNNING = (*CANDIDATES, "im2col", "fft")
"""Of the theory's names, those that can be run."""


def check(algorithm: str, kernel_size: Pair, stride: Pair, dilation: Pair, groups: int) -> None:
    """Raise unless the algorithm serves such windows.

    Raises:
        ValueError: another name, an argument that the algorithm does not serve, or Winograd's under
            strict numerics.
    """
    validation.one_of(algorithm, "algorithm", ALGORITHMS)
    if algorithm == "winograd" and get_numerics() == "strict":
        raise ValueError('algorithm: "winograd" is ruled out by set_numerics("strict")')
    names = WINOGRAD if algorithm == "winograd" else (algorithm,)
    if algorithm == "auto":
        return
    reasons = [
        theory.why_not_window(name, kernel_size, stride, dilation) or _why_no_kernel(name, groups)
        for name in names
    ]
    if all(reasons):
        raise ValueError(f'algorithm: for "{algorithm}" {reasons[-1]}')


def resolve(algorithm: str, problem: Problem) -> str:
    """The algorithm of the theory's names that runs this problem.

    Args:
        algorithm: one of ``conv2d``'s, or already a name of the theory's such as
            ``"winograd_2x2"``, which is taken as it is.
        problem: that it has to serve.

    Raises:
        ValueError: an algorithm of another name, or one that does not serve the problem.
    """
    if algorithm == "auto":
        return choose(problem)
    if algorithm == "winograd":
        names = tuple(name for name in WINOGRAD if serves(name, problem))
        return _fastest_of(names, problem, calibration.known_for(problem))
    validation.one_of(algorithm, "algorithm", RUNNING)
    if not serves(algorithm, problem):
        raise ValueError(f"algorithm: {algorithm!r} does not serve {problem}")
    return algorithm


def choose(problem: Problem) -> str:
    """The fastest by the cost model, as this machine is calibrated."""
    return _choose(problem, get_numerics() == "strict", calibration.known_for(problem))


def contenders(problem: Problem) -> tuple[str, ...]:
    """Those that the cost model cannot tell from the fastest, the likeliest first.

    It knows neither what follows the sum nor this moment's machine, so the clock may say otherwise.
    PyTorch's op is always one of them.
    """
    known = calibration.known_for(problem)
    is_strict = get_numerics() == "strict"
    seconds = {
        name: _seconds(name, problem, known)
        for name in CANDIDATES
        if serves(name, problem) and not (is_strict and name in WINOGRAD)
    }
    within = _DOUBT * min(seconds.values())
    return tuple(
        name
        for name in sorted(seconds, key=seconds.__getitem__)
        if seconds[name] <= within or name == "onednn"
    )


def passes(x: Tensor, weight: Tensor) -> tuple[Pass, ...]:
    """Those that a call on these tensors will ask for."""
    if not torch.is_grad_enabled():
        return ("forward",)
    return (
        "forward",
        *(("input_gradient",) if x.requires_grad else ()),
        *(("weight_gradient",) if weight.requires_grad else ()),
    )


def leaves_to_pytorch(problem: Problem, passes: tuple[Pass, ...]) -> bool:
    """Whether PyTorch's own op takes less for these passes than ours with the fastest in each."""
    if problem.macs <= FEW and _does_without_onednn(problem):
        return True
    strict = get_numerics() == "strict"
    return _leaves_to_pytorch(problem, passes, strict, calibration.known_for(problem))


FEW = 2_000_000
"""MACs of a convolution that PyTorch computes in less than what is around a kernel of ours, Python
and autograd, if it does so without oneDNN, whose setting up alone takes some 40 µs. Measured."""


def _does_without_onednn(problem: Problem) -> bool:
    """Whether PyTorch's op unfolds and multiplies by itself, in the layout that comes.

    Source: PyTorch, aten/src/ATen/native/Convolution.cpp, ``use_mkldnn``.
    """
    images, *_ = problem.input_shape
    if problem.groups > 1 or min(problem.kernel_size) > 3:
        return False
    if images == 1 and prod(problem.input_shape) <= 20480:
        return True
    plain = problem.kernel_size == problem.stride == problem.dilation == (1, 1)
    return plain and images < 16 and problem.threads == 1


def beats_matrix_product(problem: Problem) -> bool:
    """Whether our kernel takes less for this pass of a dense layer, written as a convolution."""
    return _beats_matrix_product(problem, calibration.known_for(problem))


def leaves_dense_to_pytorch(problem: Problem, passes: tuple[Pass, ...]) -> bool:
    """``leaves_to_pytorch`` of a dense layer."""
    return _leaves_dense_to_pytorch(problem, passes, calibration.known_for(problem))


def serves(name: str, problem: Problem) -> bool:
    """Whether an algorithm of the theory's names runs this problem."""
    reason = theory.why_not(name, problem) or _why_no_kernel(name, problem.groups)
    return reason is None


def _why_no_kernel(name: str, groups: int) -> str | None:
    """What the theory's algorithm would serve and the kernels do not."""
    return f"groups must be 1, got {groups}" if name in WINOGRAD and groups != 1 else None


# ---- predictions, remembered: working them out takes longer than a small convolution ------------

_DOUBT = 2.5
"""A prediction that is that many times the least is not tried."""

_TIE = 1.05
"""Predictions are no closer than that. A tie goes to the kernels, whose results are in ready
memory: PyTorch's may be in fresh pages, which depends on what else the process frees."""


@lru_cache(maxsize=4096)
def _choose(problem: Problem, strict: bool, known: Calibration) -> str:
    names = tuple(
        name for name in CANDIDATES if serves(name, problem) and not (strict and name in WINOGRAD)
    )
    return _fastest_of(names, problem, known)


@lru_cache(maxsize=4096)
def _leaves_to_pytorch(
    problem: Problem, passes: tuple[Pass, ...], strict: bool, known: Calibration
) -> bool:
    ours = sum(
        _seconds(_choose(case, strict, known), case, known) for case in map(problem.of, passes)
    )
    return _is_faster("onednn", ours, problem, passes, known)


@lru_cache(maxsize=4096)
def _beats_matrix_product(problem: Problem, known: Calibration) -> bool:
    return _seconds("direct", problem, known) < _seconds("matrix_product", problem, known)


@lru_cache(maxsize=4096)
def _leaves_dense_to_pytorch(
    problem: Problem, passes: tuple[Pass, ...], known: Calibration
) -> bool:
    ours = sum(
        min(_seconds(name, case, known) for name in ("direct", "matrix_product"))
        for case in map(problem.of, passes)
    )
    return _is_faster("matrix_product", ours, problem, passes, known)


def _is_faster(
    pytorchs: str, ours: float, problem: Problem, passes: tuple[Pass, ...], known: Calibration
) -> bool:
    """Whether PyTorch's op takes less than our kernels' seconds and what is around them."""
    cases = [problem.of(pass_) for pass_ in passes]
    theirs = sum(_seconds(pytorchs, case, known) for case in cases)
    return theirs < ours + sum(_around(case, known) for case in cases)


def _fastest_of(names: tuple[str, ...], problem: Problem, known: Calibration) -> str:
    return min(names, key=lambda name: _seconds(name, problem, known))


def _seconds(name: str, problem: Problem, known: Calibration) -> float:
    predicted = theory.cost(name, problem).predicted_time(known.machines[problem.pass_])
    return predicted * (_TIE if name == "onednn" else 1)


def _around(problem: Problem, known: Calibration) -> float:
    """Seconds that our op takes around a kernel and PyTorch's does not."""
    return known.machines[problem.pass_].overhead.get(AROUND, 0.0)
