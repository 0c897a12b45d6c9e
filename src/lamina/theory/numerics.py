"""How far float32 may be from the exact result: bounds, and what they rest on.

Every rounding multiplies by 1 + e with abs(e) <= u, the unit roundoff (2^-24 in float32), and n
of them in a row by 1 + e with abs(e) <= gamma(n) = n u / (1 - n u). Bounds here are in terms of
the *magnitude*, the same sum with all terms made positive: where terms cancel, the result is
small and the error is not.

Source: Higham, "Accuracy and Stability of Numerical Algorithms" (2002), chapters 2, 3 and 24.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, log2, sqrt
from typing import Literal

from lamina.theory import winograd
from lamina.theory.conv2d_problem import Pass
from lamina.theory.validation import one_of, positive_float, positive_int

UNIT_ROUNDOFF = {
    "float64": 2.0**-53,
    "float32": 2.0**-24,
    "float16": 2.0**-11,
    "bfloat16": 2.0**-8,
}
"""Half the distance from 1 to the next number."""


def gamma(roundings: int, dtype: str = "float32") -> float:
    """The relative error that so many roundings in a row can reach.

    Args:
        roundings: their number.
        dtype: a key of ``UNIT_ROUNDOFF``.

    Returns:
        n u / (1 - n u); infinity where n u reaches 1 and nothing can be said.

    Raises:
        ValueError: another dtype.

    Example:
        >>> gamma(576) < 3.5e-5
        True
    """
    product = roundings * UNIT_ROUNDOFF[one_of(dtype, "dtype", UNIT_ROUNDOFF)]
    return product / (1 - product) if product < 1 else float("inf")


def summation_depth(terms: int, accumulators: int = 1) -> int:
    """Roundings that a product meets on its way into the sum.

    One accumulator takes a rounding for the product and one for each addition; of several, each
    adds up its share, and a tree of log2(accumulators) additions joins them (Higham, section 3.1).
    As many accumulators as terms is pairwise summation.

    Args:
        terms: products.
        accumulators: independent sums, such as the lanes of a vector.

    Raises:
        ValueError: either below 1.

    Example:
        >>> summation_depth(576), summation_depth(576, 8), summation_depth(576, 576)
        (576, 75, 11)
    """
    positive_int(terms, "terms")
    lanes = min(positive_int(accumulators, "accumulators"), terms)
    return ceil(terms / lanes) + ceil(log2(lanes))


def dot_error_bound(
    terms: int, magnitude: float, accumulators: int = 1, dtype: str = "float32"
) -> float:
    """Bound of a sum of products, and so of a convolution's or a dense layer's output element.

    A fused multiply-add rounds once where the bound counts twice.

    Args:
        terms: products; C/groups * Kh * Kw in a convolution, one more with a bias.
        magnitude: sum of abs(x * w).
        accumulators: independent sums, such as the lanes of a vector.
        dtype: of the arithmetic.

    Raises:
        ValueError: terms or accumulators below 1, or another dtype.

    Example:
        >>> dot_error_bound(576, magnitude=1.0) > dot_error_bound(576, 1.0, accumulators=8)
        True
    """
    return gamma(summation_depth(terms, accumulators), dtype) * magnitude


def winograd_amplification(
    output_tile: int, kernel_size: int = 3, stride: int = 1, pass_: Pass = "forward"
) -> float:
    """By how much the transforms can swell the magnitude that roundings act on.

    For data and weights of magnitude 1 the direct sum of one channel has magnitude r^2; the
    transformed one, with every matrix taken by absolute value, has

        max over i, j of abs(A^T) [(abs(G) 1 abs(G)^T) * (abs(B)^T 1 abs(B))] abs(A),

    which is the square of its one-dimensional counterpart. The quotient of the two depends on
    the interpolation points alone, not on how the matrices are scaled against each other. In the
    weight's gradient G^T and A take the places of A^T and G, and m^2 that of r^2.

    Source: after Barabasz et al., "Error Analysis and Improving the Accuracy of Winograd
    Convolution for Deep Neural Networks" (2020), section 4; derived here element by element.

    Example:
        >>> round(winograd_amplification(2), 1), round(winograd_amplification(4))
        (7.1, 256)
        >>> round(winograd_amplification(2, stride=2), 1), winograd_amplification(4, stride=2)
        (2.8, 49.0)
    """
    matrices = _winograd_matrices(output_tile, kernel_size, stride, pass_)
    terms = output_tile if pass_ == "weight_gradient" else kernel_size
    return float((_swollen(matrices) / terms) ** 2)


def winograd_error_bound(
    output_tile: int,
    channels: int,
    largest_input: float,
    largest_weight: float,
    kernel_size: int = 3,
    dtype: str = "float32",
    *,
    stride: int = 1,
    pass_: Pass = "forward",
) -> float:
    """Bound of any output element of Winograd's F(m x m, r x r).

    An element of the weight transform takes, twice, a rounded constant and a sum; one of the
    input transform twice a sum; the product and the sum over channels take C; the output
    transform twice a sum. All act on the swollen magnitude:

        gamma(C + 2 (nnz(G) + 1) + 2 nnz(B) + 2 nnz(A)) * amplification * r^2 C max(x) max(w)

    with nnz the largest number of non-zeros in a row.

    Args:
        output_tile: outputs m of a tile along one axis.
        channels: input channels of a group; tiles, for the weight's gradient.
        largest_input: max abs(x).
        largest_weight: max abs(w).
        kernel_size: taps r along one axis.
        dtype: of the arithmetic.
        stride: 1 or 2.
        pass_: whose two operands are meant, dy in the place of what it stands for.

    Raises:
        ValueError: a size below 1, another dtype or another pass.

    Example:
        >>> bounds = [winograd_error_bound(m, 64, 1.0, 1.0) for m in (2, 4)]
        >>> bounds[0] < dot_error_bound(9 * 64, 9 * 64) * 2 < bounds[1]
        True
    """
    positive_int(channels, "channels")
    matrices = _winograd_matrices(output_tile, kernel_size, stride, pass_)
    roundings = channels + 2 + 2 * sum(_densest_row(matrix) for matrix in matrices)
    magnitude = channels * largest_input * largest_weight
    return gamma(roundings, dtype) * float(_swollen(matrices) ** 2) * magnitude


def _winograd_matrices(
    output_tile: int, kernel_size: int, stride: int, pass_: Pass
) -> winograd.Transforms:
    one_of(pass_, "pass_", ("forward", "input_gradient", "weight_gradient"))
    matrices = winograd.window_transforms(
        output_tile, kernel_size, stride, of_input=pass_ == "input_gradient"
    )
    return winograd.weight_gradient(matrices) if pass_ == "weight_gradient" else matrices


def _swollen(matrices: winograd.Transforms) -> Fraction:
    """The largest output along one axis from data and taps of magnitude 1."""
    products = [
        sum(map(abs, g)) * sum(map(abs, b))
        for g, b in zip(matrices.weight, matrices.input, strict=True)
    ]
    return max(
        sum((abs(a) * p for a, p in zip(row, products, strict=True)), start=Fraction(0))
        for row in matrices.output
    )


def _densest_row(matrix: winograd.Matrix) -> int:
    return max(sum(x != 0 for x in row) for row in matrix)


def fft_error_bound(
    points: int, taps: int, channels: int, magnitude: float, dtype: str = "float32"
) -> float:
    """Bound of any output element of a convolution by fast Fourier transforms.

    A transform of n points is off by log2(n) eta of its 2-norm, eta = u + gamma(4) (sqrt(2) + u),
    with twiddle factors right to u (Higham, theorem 24.2, radix 2). Two transforms go in; by
    Parseval and Cauchy-Schwarz their errors reach an output element as 2 log2(n) eta norm(x)
    norm(w), that of the complex products and of the sum over channels as (sqrt(2) gamma(2) +
    gamma(C)) norm(x) norm(w). The inverse transform is off by its share of norm(y), which is at
    most norm(x) times the 1-norm of w, and so sqrt(taps) norm(x) norm(w).

    Args:
        points: of one two-dimensional transform.
        taps: Kh * Kw of the kernel.
        channels: input channels of a group.
        magnitude: sum over channels of norm(x) * norm(w), 2-norms of what is transformed.
        dtype: of the arithmetic.

    Raises:
        ValueError: a size below 1, or another dtype.

    Example:
        >>> fft_error_bound(64 * 64, 7 * 7, 64, magnitude=1.0) < 1e-4
        True
    """
    for value, name in ((points, "points"), (taps, "taps"), (channels, "channels")):
        positive_int(value, name)
    unit = gamma(1, dtype)
    eta = unit + gamma(4, dtype) * (sqrt(2) + unit)
    transforms_share = (2 + sqrt(taps)) * log2(points) * eta
    return (transforms_share + sqrt(2) * gamma(2, dtype) + gamma(channels, dtype)) * magnitude


def variance_error_bound(
    count: int,
    mean: float,
    deviation: float,
    method: Literal["two_pass", "one_pass"] = "two_pass",
    accumulators: int = 1,
    dtype: str = "float32",
) -> float:
    """Relative error of a variance, leading terms.

    With the condition number k = sqrt(1 + (mean / deviation)^2) and sums of depth d, the two-pass
    variance has d u + (d k u)^2 and E[x^2] - E[x]^2 in one pass has d k^2 u. At mean 1000 and
    deviation 0.01, where k^2 u is 596, one pass has no digit left and may come out negative. One
    pass over x - shift has the bound of a mean of ``mean - shift``.

    Source: Chan, Golub and LeVeque, "Algorithms for Computing the Sample Variance: Analysis and
    Recommendations" (1983), table 1.

    Args:
        count: values in a channel, N * H * W.
        mean: of the channel.
        deviation: of the channel, above 0.
        method: ``"two_pass"`` or ``"one_pass"``.
        accumulators: independent sums, as for ``summation_depth``.
        dtype: of the arithmetic.

    Raises:
        ValueError: a count below 1, a deviation not above 0, another method or dtype.

    Example:
        >>> variance_error_bound(1000, 1000.0, 0.01, "one_pass", accumulators=1000) > 1000
        True
        >>> variance_error_bound(1000, 1000.0, 0.01, "two_pass", accumulators=1000) < 0.01
        True
    """
    positive_float(deviation, "deviation")
    one_of(method, "method", ("two_pass", "one_pass"))
    unit = UNIT_ROUNDOFF[one_of(dtype, "dtype", UNIT_ROUNDOFF)]
    depth = summation_depth(positive_int(count, "count"), accumulators)
    condition = sqrt(1 + (mean / deviation) ** 2)
    if method == "one_pass":
        return depth * condition**2 * unit
    return depth * unit + (depth * condition * unit) ** 2
