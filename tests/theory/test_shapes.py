"""Output sizes against what torch returns, padding against TensorFlow's rule, and the errors."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from lamina.theory import shapes

SIZES = st.integers(1, 12)


@st.composite
def window(draw):
    pair = lambda low, high: st.tuples(st.integers(low, high), st.integers(low, high))  # noqa: E731
    kernel_size = draw(pair(1, 4))
    dilation = draw(pair(1, 3))
    limit = [k // 2 for k in kernel_size]  # torch refuses more
    return {
        "size": draw(st.tuples(SIZES, SIZES)),
        "kernel_size": kernel_size,
        "stride": draw(pair(1, 4)),
        "padding": (draw(st.integers(0, limit[0])), draw(st.integers(0, limit[1]))),
        "dilation": dilation,
    }


@settings(max_examples=60, deadline=None)
@given(window(), st.booleans())
def test_window_output_size_is_what_torch_pools_to(case, ceil_mode):
    x = torch.zeros(1, 1, *case["size"])
    rest = (case["kernel_size"], case["stride"], case["padding"], case["dilation"], ceil_mode)
    (top, left) = case["padding"]
    arguments = (
        case["size"],
        case["kernel_size"],
        case["stride"],
        ((top, top), (left, left)),
        case["dilation"],
        ceil_mode,
    )
    try:
        expected = F.max_pool2d(x, *rest).shape[2:]
    except RuntimeError:
        with pytest.raises(ValueError, match="kernel_size must fit"):
            shapes.window_output_size(*arguments)
    else:
        assert shapes.window_output_size(*arguments) == tuple(expected)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 40), st.integers(1, 7), st.integers(1, 5), st.integers(1, 3))
def test_same_padding_gives_ceil_of_size_over_stride_with_the_odd_pixel_last(
    size, kernel_size, stride, dilation
):
    before, after = shapes.same_padding(size, kernel_size, stride, dilation)
    assert after - before in (0, 1)
    assert before + after < dilation * (kernel_size - 1) + 1
    output = shapes.window_output_size(
        (size, size),
        (kernel_size, kernel_size),
        (stride, stride),
        ((before, after), (before, after)),
        (dilation, dilation),
    )
    assert output == (math.ceil(size / stride),) * 2


# Read off tf.nn.convolution(..., padding="SAME") of TensorFlow 2.21, a one-hot filter per tap.
@pytest.mark.parametrize(
    ("size", "kernel_size", "stride", "dilation", "expected"),
    [
        (224, 3, 2, 1, (0, 1)),
        (225, 3, 2, 1, (1, 1)),
        (224, 7, 2, 1, (2, 3)),
        (5, 2, 1, 1, (0, 1)),
        (5, 3, 1, 2, (2, 2)),
        (7, 1, 3, 1, (0, 0)),
        (10, 3, 4, 1, (0, 1)),
        (8, 2, 3, 1, (0, 0)),
        (1, 5, 1, 1, (2, 2)),
    ],
)
def test_same_padding_of_tensorflow(size, kernel_size, stride, dilation, expected):
    assert shapes.same_padding(size, kernel_size, stride, dilation) == expected


@pytest.mark.parametrize(
    ("padding", "expected"),
    [
        (1, ((1, 1), (1, 1))),
        ((1, 2), ((1, 1), (2, 2))),
        ([[0, 1], [2, 3]], ((0, 1), (2, 3))),
        ("valid", ((0, 0), (0, 0))),
        ("same", ((0, 1), (1, 1))),
    ],
)
def test_resolve_padding(padding, expected):
    assert shapes.resolve_padding(padding, (8, 9), (3, 3), (2, 2)) == expected


@pytest.mark.parametrize(
    "padding", [-1, (1, -1), (1, 2, 3), ((1, 2), 3), "full", 1.5, None, True, ((1, 2), (3, -4))]
)
def test_padding_of_another_form_is_refused(padding):
    with pytest.raises(ValueError, match=r"^padding must be .* got ") as error:
        shapes.canonical_padding(padding)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith(f"got {padding!r}")


@pytest.mark.parametrize(
    "input_shape", [(), (3, 4, 5), (-1, 3, 4, 5), (1, 0, 4, 5), (1, 3, 0, 5), (1, 3, 4, None)]
)
def test_image_shape_refuses(input_shape):
    with pytest.raises(ValueError, match=r"input_shape must be .* got \("):
        shapes.image_shape(input_shape)


def test_an_empty_image_is_named():
    with pytest.raises(ValueError, match="at least one pixel, got height 0"):
        shapes.window_output_size((0, 5), (1, 1), (1, 1), ((1, 1), (1, 1)))
