"""Winograd's minimal filtering F(m, r): m outputs of an r-tap filter with m + r - 1 products.

    y = A^T [(G g) * (B^T d)],         y[i] = sum over j of d[i + j] g[j]

The filter and the data are two polynomials; their values at m + r - 2 points and at infinity
(rows of G and, transposed, columns of A^T) multiply point by point, and interpolation (B^T, the
coefficients of the polynomials that vanish at all other points) goes back. In two dimensions the
transforms act on columns and rows, Y = A^T [(G g G^T) * (B^T d B)] A, and F(m x m, r x r) takes
(m + r - 1)^2 products where the sum takes m^2 r^2: a share of 16/36 for F(2x2, 3x3) and of 36/144
for F(4x4, 3x3).

At stride 2 the outer ones of three taps see the even data, y[k] = d[2k] g[0] + d[2k + 2] g[2],
which is F(m, 2), and the middle one sees m odd data, each multiplied as it is: 2m + 1 products in
the place of 3m, 25/36 of the sum for 2x2 outputs and 81/144 for 4x4.

Source: Winograd, "Arithmetic Complexity of Computations" (1980), chapter IV; Lavin and Gray,
"Fast Algorithms for Convolutional Neural Networks" (2016), section 4; the construction from
points: Blahut, "Fast Algorithms for Signal Processing" (2010), section 5.2.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from math import prod
from typing import NamedTuple

from lamina.theory.validation import positive_int

Matrix = tuple[tuple[Fraction, ...], ...]

POINTS = (0, 1, -1, 2, -2, Fraction(1, 2), Fraction(-1, 2))
"""Interpolation points in the order in which they are taken; infinity is always the last."""


class Transforms(NamedTuple):
    """The three matrices of F(m, r), with t = m + r - 1; of the strided ones t = 2m + 1.

    Attributes:
        output: A^T, (m, t).
        weight: G, (t, r).
        input: B^T, (t, data).
    """

    output: Matrix
    weight: Matrix
    input: Matrix


@cache
def transforms(output_tile: int, kernel_size: int = 3) -> Transforms:
    """The matrices of F(output_tile, kernel_size), exact.

    Args:
        output_tile: outputs m of a tile along one axis.
        kernel_size: taps r along one axis; m + r - 2 is at most 7.

    Raises:
        ValueError: a size that is not positive, or more points than there are.

    Example:
        >>> [[int(x) for x in row] for row in transforms(2, 3).output]
        [[1, 1, 1, 0], [0, 1, -1, 1]]
        >>> [[int(x) for x in row] for row in transforms(2, 3).input]
        [[-1, 0, 1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, -1, 0, 1]]
    """
    m, r = positive_int(output_tile, "output_tile"), positive_int(kernel_size, "kernel_size")
    count = m + r - 2
    if count > len(POINTS):
        raise ValueError(
            f"output_tile + kernel_size - 2 must be at most {len(POINTS)}, got {count}"
        )
    points = [Fraction(point) for point in POINTS[:count]]
    scales = [prod((a - b for b in points if b != a), start=Fraction(1)) for a in points]
    output = [[a**i for a in points] + [Fraction(i == m - 1)] for i in range(m)]
    weight = [[a**j / scale for j in range(r)] for a, scale in zip(points, scales, strict=True)]
    weight.append([Fraction(j == r - 1) for j in range(r)])
    rows = [[*_coefficients([b for b in points if b != a]), Fraction(0)] for a in points]
    rows.append(_coefficients(points))
    return Transforms(*(tuple(map(tuple, matrix)) for matrix in (output, weight, rows)))


def _coefficients(roots: Sequence[Fraction]) -> list[Fraction]:
    """Of the product of (x - root), from the constant to the highest power."""
    coefficients = [Fraction(1)]
    for root in roots:
        shifted = [Fraction(0), *coefficients]
        scaled = [root * c for c in coefficients] + [Fraction(0)]
        coefficients = [a - b for a, b in zip(shifted, scaled, strict=True)]
    return coefficients


@cache
def strided_transforms(output_tile: int, *, of_input: bool = False) -> Transforms:
    """The matrices of three taps at stride 2.

    Args:
        output_tile: outputs m of a tile along one axis, from 2m + 1 data.
        of_input: those of the input's gradient instead: 2m gradients from m + 1 of the outputs',
            by the flipped taps. The first belongs to an even pixel of the padded image.

    Raises:
        ValueError: a size that is not positive, or more points than there are.

    Example:
        >>> [[int(x) for x in row] for row in strided_transforms(2).output]
        [[1, 1, 0, 1, 0], [0, 1, 1, 0, 1]]
    """
    output, weight, data = transforms(output_tile, 2)
    m = output_tile

    def unit(at: int, size: int) -> tuple[Fraction, ...]:
        return tuple(Fraction(i == at) for i in range(size))

    def spread(row: Sequence[Fraction]) -> tuple[Fraction, ...]:
        return tuple(x for value in row for x in (value, Fraction(0)))[:-1]

    taps = (*map(spread, weight), *[unit(1, 3)] * m)
    none = (Fraction(0),)
    if of_input:
        rows = [row for k in range(m) for row in (output[k] + none * m, unit(m + 1 + k, 2 * m + 1))]
        return Transforms(tuple(rows), taps, (*data, *(unit(k + 1, m + 1) for k in range(m))))
    return Transforms(
        tuple(output[k] + unit(k, m) for k in range(m)),
        taps,
        (*map(spread, data), *(unit(2 * k + 1, 2 * m + 1) for k in range(m))),
    )


def window_transforms(
    output_tile: int, kernel_size: int, stride: int, *, of_input: bool = False
) -> Transforms:
    """The matrices for a window, of the forward pass or of the input's gradient."""
    if stride == 1:
        return transforms(output_tile, kernel_size)
    return strided_transforms(output_tile, of_input=of_input)


def weight_gradient(matrices: Transforms) -> Transforms:
    """Those of dg = G^T [(A dy) * (B^T d)]: the outputs' gradient in the filter's place."""
    return Transforms(transposed(matrices.weight), transposed(matrices.output), matrices.input)


def stored(matrices: Transforms) -> Transforms:
    """Without rows that repeat others, of A^T columns: what is transformed and kept once.

    Example:
        >>> [len(matrix[0]) for matrix in stored(strided_transforms(2))]
        [3, 3, 5]
        >>> stored(transforms(4, 3)) == transforms(4, 3)
        True
    """
    output, weight, data = matrices
    columns = tuple(dict.fromkeys(transposed(output)))
    rows = (tuple(dict.fromkeys(matrix)) for matrix in (weight, data))
    return Transforms(transposed(columns), *rows)


def transposed(matrix: Matrix) -> Matrix:
    """Rows as columns."""
    return tuple(zip(*matrix, strict=True))


def vector_flops(matrix: Matrix) -> int:
    """Additions, and multiplications by other than 0 and +-1, of matrix times vector.

    Nothing is shared between rows, so code that shares takes fewer.

    Example:
        >>> vector_flops(transforms(2, 3).input)
        4
    """
    additions = sum(max(0, sum(x != 0 for x in row) - 1) for row in matrix)
    return additions + sum(x not in (-1, 0, 1) for row in matrix for x in row)


def tile_flops(matrix: Matrix) -> int:
    """Operations of X -> T X T^T on a square X: T on every column, then on every row.

    Example:
        >>> tile_flops(transforms(2, 3).input)
        32
    """
    rows, columns = len(matrix), len(matrix[0])
    return vector_flops(matrix) * (columns + rows)
