"""Conv2D: shapes and MACs from torch, forward and backward; bytes by hand; every refusal."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from lamina.theory import conv2d
from lamina.theory.complexity import evaluate

PAIRS = st.tuples(st.integers(1, 3), st.integers(1, 3))


@st.composite
def convolution(draw):
    groups = draw(st.integers(1, 3))
    return {
        "input_shape": (
            draw(st.integers(0, 2)),
            groups * draw(st.integers(1, 3)),
            draw(st.integers(1, 9)),
            draw(st.integers(1, 9)),
        ),
        "out_channels": groups * draw(st.integers(1, 3)),
        "kernel_size": draw(PAIRS),
        "stride": draw(PAIRS),
        "padding": draw(st.tuples(st.integers(0, 3), st.integers(0, 3))),
        "dilation": draw(PAIRS),
        "groups": groups,
    }


@settings(max_examples=40, deadline=None)
@given(convolution())
def test_output_shape_is_what_torch_returns_or_refuses(case):
    window = {key: case[key] for key in ("stride", "padding", "dilation", "groups")}
    x = torch.zeros(case["input_shape"])
    weight = torch.zeros(case["out_channels"], x.shape[1] // case["groups"], *case["kernel_size"])
    try:
        expected = tuple(F.conv2d(x, weight, **window).shape)
    except RuntimeError:
        with pytest.raises(ValueError, match="kernel_size must fit"):
            conv2d.output_shape(**case)
    else:
        assert conv2d.output_shape(**case) == expected
        cost = conv2d.cost(**case, bias=False)
        assert cost.parameters == weight.numel()
        assert cost.macs == torch.Size(expected).numel() * weight[0].numel()


@settings(max_examples=15, deadline=None)
@given(convolution())
def test_macs_are_those_of_torch_forward_and_backward(case):
    case |= {"groups": 1}  # torch multiplies a grouped weight gradient by the groups
    assume(case["input_shape"][0] > 0)
    try:
        conv2d.output_shape(**case)
    except ValueError:
        assume(False)
    x = torch.zeros(case["input_shape"], requires_grad=True)
    weight = torch.zeros(case["out_channels"], x.shape[1], *case["kernel_size"], requires_grad=True)
    window = {key: case[key] for key in ("stride", "padding", "dilation")}
    with FlopCounterMode(display=False) as counter:
        F.conv2d(x, weight, **window).sum().backward()
    passes = [conv2d.cost(**case, direction=d).macs for d in ("forward", "backward")]
    assert counter.get_total_flops() == 2 * sum(passes)


def test_same_with_stride_is_tensorflows():
    assert conv2d.output_shape((1, 3, 225, 224), 8, 3, stride=2, padding="same")[2:] == (113, 112)


def test_bytes_by_hand():
    # x 2*4*5*5 = 200, w 6*4*9 = 216, b 6, y 2*6*3*3 = 108 elements
    forward = conv2d.cost((2, 4, 5, 5), 6, 3)
    assert (forward.bytes_read, forward.bytes_written) == (4 * (200 + 216 + 6), 4 * 108)
    assert forward.saved_bytes == 4 * 200
    backward = conv2d.cost((2, 4, 5, 5), 6, 3, direction="backward")
    assert (backward.bytes_read, backward.bytes_written) == (
        4 * (108 + 200 + 216),
        4 * (200 + 216 + 6),
    )
    first = conv2d.cost((2, 4, 5, 5), 6, 3, direction="backward", input_gradient=False)
    assert (first.bytes_read, first.bytes_written) == (4 * (108 + 200), 4 * (216 + 6))
    assert 2 * first.macs == backward.macs
    half = conv2d.cost((2, 4, 5, 5), 6, 3, itemsize=2)
    assert 2 * half.bytes_moved == forward.bytes_moved


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 3)
)
def test_complexity_is_the_cost(n, h, w, k, stride):
    cost = conv2d.cost((n, 6, h, w), 4, k, stride, "same", groups=2, bias=False)
    values = {"N": n, "H": h, "W": w, "K": k, "stride": stride}
    assert evaluate(conv2d.complexity(), **values, C=6, M=4, groups=2) == cost.flops


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_shape": (3, 32, 32)}, r"input_shape must be \(N, C, H, W\), got \(3, 32, 32\)"),
        ({"out_channels": 0}, "out_channels must be a positive integer, got 0"),
        ({"groups": 2}, "groups must divide in_channels = 3, got 2"),
        ({"groups": 3}, "groups must divide out_channels = 16, got 3"),
        ({"kernel_size": 0}, "kernel_size must be a positive integer or a pair .* got 0"),
        ({"stride": (1, 0)}, r"stride must be a positive integer or a pair .* got \(1, 0\)"),
        ({"dilation": -1}, "dilation must be a positive integer or a pair .* got -1"),
        ({"padding": "full"}, "padding must be .* got 'full'"),
        ({"kernel_size": 33}, "kernel_size must fit the padded input: height 33 .* 32 \\+ 0 \\+ 0"),
        ({"direction": "sideways"}, "direction must be one of .* got 'sideways'"),
    ],
)
def test_refuses(change, message):
    case = {"input_shape": (1, 3, 32, 32), "out_channels": 16, "kernel_size": 3} | change
    with pytest.raises(ValueError, match=f"^{message}"):
        conv2d.cost(**case)
