"""The algorithms of Conv2D: operations, bytes, workspace and complexity of each, pass by pass.

T = N * Ho * Wo output positions, R = C/groups * Kh * Kw terms of each; FLOPs of a pass:

============== =============================================================================
direct         2 T M R; x, w and y move once; workspace: the weight, laid out anew
implicit_gemm  the same; a 1x1 convolution of stride 1 without padding *is* a matrix product
im2col         the same, after every window of an image was copied to a row of a matrix: T C Kh Kw
               elements written and read again; workspace: the matrix of one image
winograd_2x2   F(2x2, 3x3): 2 * 16 P M C/groups, P = N ceil(Ho/2) ceil(Wo/2) tiles: 16/36 of the
               direct sum; and the transforms, P C, P M and M C/groups of them. For 5x5 kernels
               F(2x2, 5x5): 36 in the place of 16, 36/100 of it; at stride 2, 3x3, 25 and 25/36
winograd_4x4   F(4x4, 3x3): 2 * 36 P M C/groups, P = N ceil(Ho/4) ceil(Wo/4): 36/144; at stride 2
               81 in the place of 36, 81/144
fft            one real Fourier transform of F = Fh * Fw points, 2.5 F log2 F, for each of N C,
               M C/groups and N M planes, and 8 N M C/groups Fh (Fw/2 + 1) for complex products
============== =============================================================================

The transforms are linear in one number of channels, the products in both: with many channels the
products decide, and their share is what is saved. Fourier's products do not grow with the kernel,
so it wins for large ones. The gradients are the same three tensors in other roles: the input's
gradient is a convolution of dy with C and M exchanged, the weight's a product over tiles.

Their stages and sources: ``conv2d_direct``, ``conv2d_winograd``, ``conv2d_fft``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from lamina.theory import winograd
from lamina.theory.complexity import output_pixels, symbols
from lamina.theory.conv2d_direct import direct, im2col, implicit_gemm, matrix_product, onednn
from lamina.theory.conv2d_fft import fast_fft_size, fft, fft_size
from lamina.theory.conv2d_problem import AlgorithmCost, Problem
from lamina.theory.conv2d_winograd import winograd_2x2, winograd_4x4, winograd_cost
from lamina.theory.shapes import Pair
from lamina.theory.validation import one_of

if TYPE_CHECKING:
    import sympy

__all__ = [
    "ALGORITHMS",
    "PYTORCHS",
    "complexity",
    "cost",
    "direct",
    "fast_fft_size",
    "fft",
    "fft_size",
    "im2col",
    "implicit_gemm",
    "matrix_product",
    "onednn",
    "why_not",
    "why_not_window",
    "winograd_2x2",
    "winograd_4x4",
    "winograd_cost",
]

ALGORITHMS: dict[str, Callable[[Problem], AlgorithmCost]] = {
    "direct": direct,
    "im2col": im2col,
    "implicit_gemm": implicit_gemm,
    "winograd_2x2": winograd_2x2,
    "winograd_4x4": winograd_4x4,
    "fft": fft,
}


PYTORCHS: dict[str, Callable[[Problem], AlgorithmCost]] = {
    "onednn": onednn,
    "matrix_product": matrix_product,
}
"""PyTorch's own: of any convolution, and of a dense layer written as one."""


def cost(algorithm: str, problem: Problem) -> AlgorithmCost:
    """What an algorithm does, one of ours or of PyTorch's.

    Raises:
        ValueError: an algorithm of another name.
    """
    by_name = {**ALGORITHMS, **PYTORCHS}
    return by_name[one_of(algorithm, "algorithm", by_name)](problem)


def why_not(algorithm: str, problem: Problem) -> str | None:
    """What the algorithm asks for and the problem does not have; None where it applies.

    Raises:
        ValueError: an algorithm of another name.
    """
    reason = why_not_window(algorithm, problem.kernel_size, problem.stride, problem.dilation)
    if reason is None and algorithm == "implicit_gemm" and any(map(any, problem.padding)):
        return f"padding must be 0, got {problem.padding}"
    return reason


def why_not_window(algorithm: str, kernel_size: Pair, stride: Pair, dilation: Pair) -> str | None:
    """``why_not`` of all that is known before an image comes."""
    one_of(algorithm, "algorithm", {**ALGORITHMS, **PYTORCHS})
    if algorithm not in _WINDOWS:
        return None
    given = {"kernel_size": kernel_size, "stride": stride, "dilation": dilation}
    for name, allowed in _WINDOWS[algorithm](kernel_size).items():
        if given[name] not in [(side, side) for side in allowed]:
            return f"{name} must be {' or '.join(map(str, allowed))}, got {given[name]}"
    return None


_Sides = dict[str, tuple[int, ...]]


def _winograd_window(sides: tuple[int, ...], kernel_size: Pair) -> _Sides:
    strides = (1, 2) if kernel_size == (3, 3) else (1,)
    return {"kernel_size": sides, "stride": strides, "dilation": (1,)}


# F(2x2, 5x5) has the points of F(4x4, 3x3); F(4x4, 5x5) would have 8, and swell errors.
_WINDOWS: dict[str, Callable[[Pair], _Sides]] = {
    "winograd_2x2": partial(_winograd_window, (3, 5)),
    "winograd_4x4": partial(_winograd_window, (3,)),
    "fft": lambda _: {"stride": (1,)},
    "implicit_gemm": lambda _: {"kernel_size": (1,), "stride": (1,)},
}
"""The square windows that an algorithm serves, by the kernel that is asked for."""


def complexity(algorithm: str) -> sympy.Expr:
    """FLOPs of the forward pass, square kernel, ``"same"`` padding.

    Winograd's are for K = 3 and stride 1; Fourier's for stride 1 and transforms of exactly
    H + K - 1 by W + K - 1 points.

    Raises:
        ValueError: an algorithm of another name.

    Example:
        >>> complexity("implicit_gemm")
        2*C*H*M*N*W/groups
    """
    import sympy

    one_of(algorithm, "algorithm", ALGORITHMS)
    s = symbols()
    pairs = s.M * s.C / s.groups
    if algorithm in ("direct", "im2col"):
        return 2 * s.N * output_pixels() * pairs * s.K**2
    if algorithm == "implicit_gemm":
        return 2 * s.N * s.H * s.W * pairs
    if algorithm == "fft":
        rows, columns = s.H + s.K - 1, s.W + s.K - 1
        points = rows * columns
        transforms = sympy.Rational(5, 2) * points * sympy.log(points, 2)
        planes = s.N * s.C + s.N * s.M + pairs
        return planes * transforms + 8 * s.N * pairs * rows * (sympy.floor(columns / 2) + 1)
    tile = 2 if algorithm == "winograd_2x2" else 4
    a, g, b = (winograd.tile_flops(matrix) for matrix in winograd.transforms(tile, 3))
    tiles = s.N * sympy.ceiling(s.H / tile) * sympy.ceiling(s.W / tile)
    return tiles * (2 * (tile + 2) ** 2 * pairs + b * s.C + a * s.M) + g * pairs
