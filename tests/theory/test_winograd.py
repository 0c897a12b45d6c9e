"""Winograd's matrices give the convolution exactly, and the operation counts are theirs."""

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.theory import winograd


def multiply(left, right):
    columns = winograd.transposed(right)
    return tuple(
        tuple(sum(a * b for a, b in zip(row, column, strict=True)) for column in columns)
        for row in left
    )


@settings(max_examples=20, deadline=None)
@given(st.sampled_from([(1, 1), (2, 3), (3, 2), (4, 3), (2, 5), (6, 3)]), st.data())
def test_matrices_give_the_convolution_in_exact_arithmetic(tile, data):
    m, r = tile
    t = m + r - 1
    numbers = st.integers(-9, 9).map(Fraction)
    d = data.draw(st.lists(st.lists(numbers, min_size=t, max_size=t), min_size=t, max_size=t))
    g = data.draw(st.lists(st.lists(numbers, min_size=r, max_size=r), min_size=r, max_size=r))
    a, w, b = winograd.transforms(m, r)
    u = multiply(multiply(w, g), winograd.transposed(w))
    v = multiply(multiply(b, d), winograd.transposed(b))
    product = tuple(
        tuple(x * y for x, y in zip(*rows, strict=True)) for rows in zip(u, v, strict=True)
    )
    result = multiply(multiply(a, product), winograd.transposed(a))
    expected = tuple(
        tuple(sum(d[i + p][j + q] * g[p][q] for p in range(r) for q in range(r)) for j in range(m))
        for i in range(m)
    )
    assert result == expected


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 6), st.data())
def test_strided_matrices_give_the_convolution_and_its_gradients(m, data):
    numbers = st.integers(-9, 9).map(Fraction)

    def column(size):
        return [(x,) for x in data.draw(st.lists(numbers, min_size=size, max_size=size))]

    def apply(matrices, d, g):
        a, w, b = matrices
        pairs = zip(multiply(w, g), multiply(b, d), strict=True)
        return [x for (x,) in multiply(a, [(p * q,) for (p,), (q,) in pairs])]

    d, g, dy = column(2 * m + 1), column(3), column(m)
    forward = winograd.strided_transforms(m)
    expected = [sum(d[2 * k + j][0] * g[j][0] for j in range(3)) for k in range(m)]
    assert apply(forward, d, g) == expected
    expected = [sum(d[2 * k + j][0] * dy[k][0] for k in range(m)) for j in range(3)]
    assert apply(winograd.weight_gradient(forward), d, dy) == expected

    e = column(m + 1)  # the gradient of the output before the tile, and of its m outputs
    expected = []
    for k in range(m):
        expected += [e[k + 1][0] * g[0][0] + e[k][0] * g[2][0], e[k + 1][0] * g[1][0]]
    of_input = winograd.strided_transforms(m, of_input=True)
    assert apply(of_input, e, g[::-1]) == expected


def test_f43_is_lavins_up_to_the_scale_of_a_row():
    """Lavin and Gray, section 4.2: B^T of F(4 x 4, 3 x 3), rows in the order 0, 1, -1, 2, -2."""
    lavin = [
        [4, 0, -5, 0, 1, 0],
        [0, -4, -4, 1, 1, 0],
        [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0],
        [0, 2, -1, -2, 1, 0],
        [0, 4, 0, -5, 0, 1],
    ]
    assert [[int(x) for x in row] for row in winograd.transforms(4, 3).input] == lavin


def test_operations_by_hand():
    # Rows of F(2, 3)'s A^T: 1 1 1 0 and 0 1 -1 1, two additions each.
    assert winograd.vector_flops(winograd.transforms(2, 3).output) == 4
    # Rows of its G: -1; then 1/2 1/2 1/2 with either sign, 3 products and 2 additions; then 1.
    assert winograd.vector_flops(winograd.transforms(2, 3).weight) == 10
    assert winograd.tile_flops(winograd.transforms(2, 3).weight) == 10 * (3 + 4)


def test_refuses():
    with pytest.raises(ValueError, match=r"^output_tile must be a positive integer, got 0$"):
        winograd.transforms(0, 3)
    with pytest.raises(ValueError, match=r"^output_tile \+ kernel_size - 2 .* at most 7, got 8$"):
        winograd.transforms(7, 3)
