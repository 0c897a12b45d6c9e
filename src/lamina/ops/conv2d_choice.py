"""Which algorithm convolves: the one asked for, or the fastest that the cost model predicts."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

from lamina.ops import calibration
from lamina.ops.numerics import get_numerics
from lamina.theory import conv2d_algorithms as theory
from lamina.theory.conv2d_problem import AlgorithmCost, Pass, Problem
from lamina.theory.shapes import Pair

PASSES: tuple[Pass, ...] = ("forward", "input_gradient", "weight_gradient")

WINOGRAD = ("winograd_4x4", "winograd_2x2")

CANDIDATES = ("onednn", "direct", *WINOGRAD)
"""Of auto. The others are never the fastest: im2col is the direct sum and a copy, and Fourier's
products need kernels larger than any of an image classifier's."""


def check(algorithm: str, kernel_size: Pair, stride: Pair, dilation: Pair, groups: int) -> None:
    """Raise unless the algorithm serves such windows.

    Raises:
        ValueError: an argument that it does not serve, or Winograd's under strict numerics.
    """
    if algorithm == "winograd":
        if get_numerics() == "strict":
            raise ValueError('algorithm: "winograd" is ruled out by set_numerics("strict")')
        allowed = {"kernel_size": ((3, 3), (5, 5)), "stride": ((1, 1),), "dilation": ((1, 1),)}
        given = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}
    elif algorithm == "fft":
        allowed, given = {"stride": ((1, 1),)}, {"stride": stride}
    else:
        return
    for name, choices in allowed.items():
        if given[name] not in choices:
            wanted = " or ".join(map(str, choices))
            raise ValueError(
                f'algorithm: for "{algorithm}" {name} must be {wanted}, got {given[name]}'
            )
    if algorithm == "winograd" and groups != 1:
        raise ValueError(f'algorithm: for "winograd" groups must be 1, got {groups}')


def resolve(algorithm: str, problem: Problem) -> str:
    """The algorithm of the theory's names that runs this problem."""
    if algorithm == "auto":
        return choose(problem)
    if algorithm == "winograd":
        return _fastest(problem, tuple(filter(lambda name: _serves(name, problem), WINOGRAD)))
    return algorithm


def choose(problem: Problem) -> str:
    """The fastest by the cost model, as this machine is calibrated."""
    strict = get_numerics() == "strict"
    names = tuple(
        name for name in CANDIDATES if _serves(name, problem) and not (strict and name in WINOGRAD)
    )
    return _fastest(problem, names)


def beats_matrix_product(problem: Problem) -> bool:
    """Whether our kernel is the faster one for a dense layer, written as a convolution."""
    return _fastest(problem, ("matrix_product", "direct")) == "direct"


def _serves(name: str, problem: Problem) -> bool:
    if name in ("onednn", "direct"):
        return True
    return problem.groups == 1 and theory.why_not(name, problem) is None


@lru_cache(maxsize=4096)
def _fastest(problem: Problem, names: tuple[str, ...]) -> str:
    machine = calibration.machine(problem.pass_)
    return min(names, key=lambda name: cost(name, problem).predicted_time(machine))


def cost(name: str, problem: Problem) -> AlgorithmCost:
    """What an algorithm does; PyTorch's own are the direct sum."""
    if name in ("onednn", "matrix_product"):
        return replace(theory.direct(problem), algorithm=name)
    return theory.ALGORITHMS[name](problem)
