"""Convolutions, pools, paddings of any window: as torch has them, on both Keras backends."""

import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from torch import nn

from tests.interchange.from_torch.agreement import check

COMMON = {"suppress_health_check": [HealthCheck.function_scoped_fixture], "deadline": None}


@st.composite
def convolutions(draw):
    size = (draw(st.integers(5, 9)), draw(st.integers(5, 9)))
    kernel = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    kind = draw(st.sampled_from(["one", "two", "depthwise"]))
    groups = {"one": 1, "two": 2, "depthwise": 4}[kind]
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    dilation = draw(st.integers(1, 2)), draw(st.integers(1, 2))
    padding = draw(st.integers(0, 3)), draw(st.integers(0, 3))
    spans = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    assume(all(n + 2 * p >= k for n, p, k in zip(size, padding, spans, strict=True)))
    layer = nn.Conv2d(4, 8, kernel, stride, padding, dilation, groups, bias=draw(st.booleans()))
    return layer, (1, 4, *size)


@st.composite
def transposed_convolutions(draw):
    kernel = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    padding = tuple(draw(st.integers(0, 2)) for _ in range(2))
    extra = tuple(draw(st.integers(0, max(s - 1, 0))) for s in stride)
    size = (draw(st.integers(3, 6)), draw(st.integers(3, 6)))
    results = [
        (n - 1) * s - 2 * p + k + e
        for n, s, p, k, e in zip(size, stride, padding, kernel, extra, strict=True)
    ]
    assume(min(results) > 0)
    return nn.ConvTranspose2d(3, 4, kernel, stride, padding, extra), (1, 3, *size)


@st.composite
def pools(draw):
    size = (draw(st.integers(4, 11)), draw(st.integers(4, 11)))
    window = (draw(st.integers(1, 4)), draw(st.integers(1, 4)))
    stride = draw(st.integers(1, 4)), draw(st.integers(1, 4))
    padding = tuple(draw(st.integers(0, w // 2)) for w in window)
    ceil = draw(st.booleans())
    if draw(st.booleans()):
        layer: nn.Module = nn.MaxPool2d(window, stride, padding, ceil_mode=ceil)
    else:
        layer = nn.AvgPool2d(
            window,
            stride,
            padding,
            ceil,
            draw(st.booleans()),
            draw(st.sampled_from([None, None, 3])),
        )
    return nn.Sequential(nn.ReLU(), layer) if draw(st.booleans()) else layer, (1, 2, *size)


@st.composite
def adaptive_pools(draw):
    size = (draw(st.integers(2, 12)), draw(st.integers(2, 12)))
    results = tuple(draw(st.integers(1, n)) for n in size)
    kind = draw(st.sampled_from([nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d]))
    return kind(results), (1, 2, *size)


@st.composite
def borders(draw):
    sides = draw(st.tuples(*[st.integers(0, 3)] * 4))
    kind = draw(st.sampled_from([nn.ZeroPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d]))
    if kind is nn.ZeroPad2d:
        sides = draw(st.tuples(*[st.integers(-2, 3)] * 4))
    return kind(sides), (1, 2, draw(st.integers(5, 7)), draw(st.integers(5, 7)))


@st.composite
def resizes(draw):
    size = draw(st.integers(2, 9)), draw(st.integers(2, 9))
    results = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    mode = draw(st.sampled_from(["nearest", "bilinear"]))
    return nn.Upsample(results, mode=mode), (1, 2, *size)


KINDS = {
    "convolution": convolutions(),
    "transposed": transposed_convolutions(),
    "pool": pools(),
    "adaptive pool": adaptive_pools(),
    "border": borders(),
    "resize": resizes(),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_drawn_window_crosses(kind, tmp_path, tensorflow):
    @settings(**COMMON, max_examples=12)
    @given(case=KINDS[kind])
    def cross(case):
        torch.manual_seed(0)
        check(nn.Sequential(nn.Tanh(), case[0]), case[1], tmp_path=tmp_path, tensorflow=tensorflow)

    cross()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_drawn_windows_cross(kind, tmp_path, tensorflow):
    @settings(**COMMON, max_examples=150)
    @given(case=KINDS[kind])
    def cross(case):
        torch.manual_seed(0)
        check(nn.Sequential(nn.Tanh(), case[0]), case[1], tmp_path=tmp_path, tensorflow=tensorflow)

    cross()
