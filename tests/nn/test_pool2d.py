"""Pools against torch.nn's, and TensorFlow's padding against windows taken one by one."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina import nn, ops

from .parity import assert_agrees, outputs_and_gradients
from .strategies import dtypes, few, images, pairs, same_sides


def halves(kernel_size) -> st.SearchStrategy:
    height, width = kernel_size if isinstance(kernel_size, tuple) else (kernel_size,) * 2
    return st.tuples(st.integers(0, height // 2), st.integers(0, width // 2))


@few
@given(pairs, st.one_of(st.none(), pairs), st.booleans(), pairs, st.data())
def test_max_agrees_with_torch(kernel_size, stride, ceil_mode, dilation, data) -> None:
    x = data.draw(images(2))
    window = (kernel_size, stride, data.draw(halves(kernel_size)), dilation)
    arguments = (*window, data.draw(st.booleans()), ceil_mode)
    ours, theirs = nn.MaxPool2d(*arguments), torch.nn.MaxPool2d(*arguments)
    assert_agrees(ours, theirs, x)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)


@few
@given(pairs, st.one_of(st.none(), pairs), st.booleans(), st.booleans(), st.data())
def test_average_agrees_with_torch(kernel_size, stride, ceil_mode, include, data) -> None:
    x = data.draw(images(2))
    divisor = data.draw(st.one_of(st.none(), st.integers(1, 9)))
    arguments = (kernel_size, stride, data.draw(halves(kernel_size)), ceil_mode, include, divisor)
    assert_agrees(nn.AvgPool2d(*arguments), torch.nn.AvgPool2d(*arguments), x)


def window_by_window(x, kernel, stride, sides, dilation, ceil_mode, reduce) -> torch.Tensor:
    """The definition, in loops: ``reduce`` sees the real pixels and the padded window's size."""
    (top, bottom), (left, right) = sides
    height, width = x.shape[-2:]

    def starts(size, kernel, stride, before, after, dilation):
        extent, start = dilation * (kernel - 1) + 1, -before
        while start + extent <= size + after or (
            ceil_mode and start < size and start + extent <= size + after + stride - 1
        ):
            yield start
            start += stride

    rows = []
    for row in starts(height, kernel[0], stride[0], top, bottom, dilation[0]):
        line = []
        for column in starts(width, kernel[1], stride[1], left, right, dilation[1]):
            tall = [row + dilation[0] * tap for tap in range(kernel[0])]
            wide = [column + dilation[1] * tap for tap in range(kernel[1])]
            real = x[..., [i for i in tall if 0 <= i < height], :]
            real = real[..., [j for j in wide if 0 <= j < width]]
            padded = sum(i < height + bottom for i in tall) * sum(j < width + right for j in wide)
            line.append(reduce(real.flatten(-2), padded))
        rows.append(torch.stack(line, -1))
    return torch.stack(rows, -2)


@few
@given(
    st.tuples(st.integers(1, 4), st.integers(1, 4)), st.tuples(*[st.integers(1, 3)] * 2),
    st.booleans(), dtypes, st.data(),
)  # fmt: skip
def test_uneven_padding_is_the_definition(kernel, stride, ceil_mode, dtype, data) -> None:
    size = data.draw(st.tuples(st.integers(4, 8), st.integers(4, 8)))
    x = torch.randn(2, 2, *size, dtype=dtype) - 3  # negative: zeros would show in a maximum
    at_most = [st.tuples(*[st.integers(0, taps // 2)] * 2) for taps in kernel]
    sides = data.draw(st.tuples(*at_most))
    words = {"ceil_mode": ceil_mode}
    window = (x, kernel, stride, sides, (1, 1), ceil_mode)

    maximum = window_by_window(*window, lambda real, _: real.amax(-1))
    torch.testing.assert_close(nn.MaxPool2d(kernel, stride, sides, **words)(x), maximum)
    excluded = window_by_window(*window, lambda real, _: real.mean(-1))
    pool = nn.AvgPool2d(kernel, stride, sides, count_include_pad=False, **words)
    torch.testing.assert_close(pool(x), excluded)
    included = window_by_window(*window, lambda real, padded: real.sum(-1) / padded)
    torch.testing.assert_close(nn.AvgPool2d(kernel, stride, sides, **words)(x), included)
    divided = window_by_window(*window, lambda real, _: real.sum(-1) / 7)
    pool = nn.AvgPool2d(kernel, stride, sides, divisor_override=7, **words)
    torch.testing.assert_close(pool(x), divided)


@few
@given(pairs, pairs, pairs, st.data())
def test_same_padding_is_tensorflows(kernel_size, stride, dilation, data) -> None:
    x = data.draw(images(2, batched=True)) - 3
    kernel, stride, dilation = (
        value if isinstance(value, tuple) else (value, value)
        for value in (kernel_size, stride, dilation)
    )
    sides = tuple(map(same_sides, x.shape[-2:], kernel, stride, dilation))
    ours = nn.MaxPool2d(kernel, stride, "same", dilation)(x)
    expected = window_by_window(
        x, kernel, stride, sides, dilation, False, lambda real, _: real.amax(-1)
    )
    torch.testing.assert_close(ours, expected)


def test_indices_of_an_unevenly_padded_pool_find_their_maxima() -> None:
    x = torch.randn(2, 3, 6, 7)
    values, indices = nn.MaxPool2d(3, 2, padding="same", return_indices=True)(x)
    torch.testing.assert_close(x.flatten(2).gather(2, indices.flatten(2)).view_as(values), values)


def test_indices_where_all_is_minus_infinity_lie_in_the_image() -> None:
    x = torch.full((1, 1, 4, 4), -torch.inf)
    _, indices = nn.MaxPool2d(3, 2, padding=((1, 0), (1, 0)), return_indices=True)(x)
    assert indices.flatten().tolist() == [0, 1, 4, 5]


@pytest.mark.parametrize("padding", [1, "same"])
def test_max_lets_nan_win_and_pads_with_minus_infinity(padding) -> None:
    x = torch.full((1, 1, 4, 4), -5.0)
    assert bool((nn.MaxPool2d(3, 2, padding)(x) == -5).all())
    x[0, 0, 1, 1] = torch.nan
    assert bool(nn.MaxPool2d(3, 2, padding)(x)[0, 0, 0, 0].isnan())


@few
@given(st.tuples(*[st.one_of(st.none(), st.integers(1, 9))] * 2), st.booleans(), st.data())
def test_adaptive_agrees_with_torch(output_size, indices, data) -> None:
    x = data.draw(images(2))
    assert_agrees(nn.AdaptiveAvgPool2d(output_size), torch.nn.AdaptiveAvgPool2d(output_size), x)
    ours = nn.AdaptiveMaxPool2d(output_size, indices)
    theirs = torch.nn.AdaptiveMaxPool2d(output_size, indices)
    assert_agrees(ours, theirs, x)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=0)


@few
@given(st.booleans(), st.data())
def test_global_pools_are_reductions(keepdims, data) -> None:
    x = data.draw(images(3))
    torch.testing.assert_close(nn.GlobalAvgPool2d(keepdims)(x), x.mean((-2, -1), keepdim=keepdims))
    torch.testing.assert_close(nn.GlobalMaxPool2d(keepdims)(x), x.amax((-2, -1), keepdim=keepdims))


def test_global_max_shares_the_gradient_of_equal_maxima() -> None:
    gradient = outputs_and_gradients(nn.GlobalMaxPool2d(), torch.ones(1, 1, 2, 2))["input"]
    assert len(set(gradient.flatten().tolist())) == 1


def test_pools_refuse_a_window_in_the_padding_alone() -> None:
    with pytest.raises(ValueError, match="padding must be at most half of the window"):
        ops.max_pool2d(torch.zeros(1, 1, 8, 8), 3, padding=((2, 0), (0, 0)))
    assert nn.MaxPool2d(3, padding=2, dilation=2)(torch.zeros(1, 1, 8, 8)).shape == (1, 1, 3, 3)


def test_indices_where_another_device_is_the_default() -> None:
    x = torch.randn(2, 3, 8, 9)
    expected = torch.nn.MaxPool2d(3, 2, 1, return_indices=True)(x)
    with torch.device("meta"):
        found = nn.MaxPool2d(3, 2, 1, return_indices=True)(x)
    for ours, theirs in zip(found, expected, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("name", ["MaxPool2d", "AvgPool2d"])
@pytest.mark.parametrize("argument", ["kernel_size", "stride", "padding", "dilation"])
@pytest.mark.parametrize("sequence", [tuple, list])
def test_a_tuple_of_one_is_for_both_axes(name: str, argument: str, sequence: type) -> None:
    if name == "AvgPool2d" and argument == "dilation":
        pytest.skip("it has none")
    arguments = {"kernel_size": 2, argument: sequence([1])}
    x = torch.randn(2, 3, 8, 9)
    ours, theirs = getattr(nn, name)(**arguments), getattr(torch.nn, name)(**arguments)
    torch.testing.assert_close(ours(x), theirs(x))
    assert getattr(ours, argument) == getattr(theirs, argument)
    assert ours.output_shape(x.shape) == ours(x).shape
