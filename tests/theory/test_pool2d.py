"""Pools: shapes from torch, adaptive taps counted by back-propagation, bytes by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lamina.theory import pool2d
from lamina.theory.complexity import evaluate

SIDES = st.integers(1, 9)


@settings(max_examples=25, deadline=None)
@given(st.tuples(SIDES, SIDES), st.tuples(st.integers(1, 9), st.integers(1, 9)))
def test_adaptive_windows_are_torchs(size, output_size):
    x = torch.zeros(2, 3, *size, requires_grad=True)
    y = F.adaptive_avg_pool2d(x, output_size)
    assert pool2d.adaptive_output_shape(x.shape, output_size) == tuple(y.shape)
    # Summing y weighted by its window's taps gives each input the number of windows it is in.
    taps = torch.zeros(output_size)
    for i in range(output_size[0]):
        for j in range(output_size[1]):
            (grad,) = torch.autograd.grad(y[0, 0, i, j], x, retain_graph=True)
            taps[i, j] = (grad != 0).sum()
    cost = pool2d.adaptive_cost(x.shape, output_size, operation="average")
    assert cost.other_flops == 2 * 3 * int(taps.sum())


def test_adaptive_size_none_keeps_the_input():
    assert pool2d.adaptive_output_shape((1, 2, 5, 6), (None, 3)) == (1, 2, 5, 3)
    assert pool2d.adaptive_output_shape((1, 2, 5, 6), None) == (1, 2, 5, 6)


def test_stride_is_the_kernel_by_default():
    assert pool2d.output_shape((1, 2, 7, 8), (2, 3)) == (1, 2, 3, 2)


def test_same_with_dilation():
    assert pool2d.output_shape((1, 2, 7, 8), 3, 1, "same", dilation=2) == (1, 2, 7, 8)


def test_max_pool_bytes_by_hand():
    shape, windows = (2, 3, 8, 8), 2 * 3 * 4 * 4
    forward = pool2d.cost(shape, 2, operation="max")
    assert (forward.bytes_read, forward.bytes_written) == (4 * 384, 4 * windows)
    assert forward.saved_bytes == windows
    backward = pool2d.cost(shape, 2, operation="max", direction="backward")
    assert (backward.other_flops, backward.bytes_moved) == (windows, 5 * windows + 4 * 384)


def test_a_window_above_256_taps_keeps_input_and_long_indices():
    small, large = ((1, 1, 40, 40), (16, 16)), ((1, 1, 40, 40), (16, 17))
    assert pool2d.cost(*small, operation="max").saved_bytes == 2 * 2
    assert pool2d.cost(*large, operation="max").saved_bytes == 2 * 2 * 8 + 4 * 1600


def test_average_pool_keeps_nothing():
    shape, windows = (2, 3, 8, 8), 2 * 3 * 4 * 4
    assert pool2d.cost(shape, 2, operation="average").saved_bytes == 0
    backward = pool2d.cost(shape, 2, operation="average", direction="backward")
    assert (backward.other_flops, backward.bytes_moved) == (5 * windows, 4 * (windows + 384))


def test_equal_bins_of_an_adaptive_pool_keep_a_byte():
    assert pool2d.adaptive_cost((2, 3, 8, 8), 4, operation="max").saved_bytes == 2 * 3 * 16
    unequal = pool2d.adaptive_cost((2, 3, 8, 8), 3, operation="max").saved_bytes
    assert unequal == 2 * 3 * 9 * 8 + 4 * 2 * 3 * 64
    large = pool2d.adaptive_cost((2, 3, 17, 16), 1, operation="max").saved_bytes
    assert large == 2 * 3 * 8 + 4 * 2 * 3 * 17 * 16


def test_global_max_shares_by_looking_again():
    inputs, windows = 2 * 3 * 72, 2 * 3
    forward = pool2d.global_cost((2, 3, 8, 9), operation="max")
    assert (forward.other_flops, forward.saved_bytes) == (inputs, 4 * (inputs + windows))
    backward = pool2d.global_cost((2, 3, 8, 9), operation="max", direction="backward")
    assert backward.bytes_moved == 4 * (2 * inputs + 2 * windows)
    assert backward.other_flops == 2 * inputs + windows


def test_global_pool():
    assert pool2d.global_output_shape((2, 3, 8, 9)) == (2, 3, 1, 1)
    cost = pool2d.global_cost((2, 3, 8, 9), operation="average")
    assert (cost.other_flops, cost.bytes_written) == (2 * 3 * 72, 4 * 6)


@settings(max_examples=15, deadline=None)
@given(SIDES, SIDES, st.integers(1, 4), st.integers(1, 3))
def test_complexity_is_the_cost(h, w, k, stride):
    cost = pool2d.cost((2, 3, h, w), k, stride, "same", operation="max")
    assert evaluate(pool2d.complexity(), N=2, C=3, H=h, W=w, K=k, stride=stride) == cost.flops


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"padding": 2},
            r"padding must be at most half of the window, .* of the height, got \(2, 2\)",
        ),
        ({"kernel_size": 9}, "kernel_size must fit the padded input: height 9"),
        ({"operation": "median"}, "operation must be one of 'max', 'average', got 'median'"),
    ],
)
def test_refuses(arguments, message):
    case = {"input_shape": (1, 1, 8, 8), "kernel_size": 3, "operation": "max"} | arguments
    with pytest.raises(ValueError, match=f"^{message}"):
        pool2d.cost(**case)


def test_refuses_an_adaptive_size():
    with pytest.raises(ValueError, match=r"^output_size must be a positive integer, got 0$"):
        pool2d.adaptive_output_shape((1, 1, 8, 8), (0, 1))
    with pytest.raises(ValueError, match=r"^output_size must be a size or .* got \(1, 2, 3\)$"):
        pool2d.adaptive_output_shape((1, 1, 8, 8), (1, 2, 3))
