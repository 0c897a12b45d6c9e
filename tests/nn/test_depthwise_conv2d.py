"""DepthwiseConv2d against torch.nn.Conv2d with as many groups as channels."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lamina import nn, ops

from .parity import assert_agrees
from .strategies import few, images, pairs, same_sides, sides, small


@few
@given(small, small, pairs, pairs, sides, pairs, st.booleans(), st.data())
def test_agrees_with_torch(
    channels, multiplier, kernel_size, stride, padding, dilation, bias, data
) -> None:
    x = data.draw(images(channels))
    mode = data.draw(st.sampled_from(ops.PADDING_MODES))
    shared = {"bias": bias, "padding_mode": mode, "dtype": x.dtype}
    window = (kernel_size, stride, padding, dilation)
    theirs = torch.nn.Conv2d(channels, channels * multiplier, *window, groups=channels, **shared)
    ours = nn.DepthwiseConv2d(channels, *window, multiplier, **shared)
    ours.load_state_dict(theirs.state_dict())
    assert_agrees(ours, theirs, x)


def test_output_channel_comes_from_its_own_input_channel() -> None:
    layer = nn.DepthwiseConv2d(3, 1, depth_multiplier=2, bias=False)
    torch.nn.init.ones_(layer.weight)
    x = torch.tensor([1.0, 10.0, 100.0]).reshape(1, 3, 1, 1)
    assert layer(x).flatten().tolist() == [1.0, 1.0, 10.0, 10.0, 100.0, 100.0]


@few
@given(pairs, st.data())
def test_same_padding_at_unequal_strides(stride, data) -> None:
    x = data.draw(images(2, batched=True))
    layer = nn.DepthwiseConv2d(2, 3, stride, padding="same", dtype=x.dtype)
    (top, bottom), (left, right) = (
        same_sides(size, 3, step) for size, step in zip(x.shape[-2:], layer.stride, strict=True)
    )
    padded = F.pad(x, (left, right, top, bottom))
    expected = F.conv2d(padded, layer.weight, layer.bias, layer.stride, groups=2)
    torch.testing.assert_close(layer(x), expected)


def test_initial_law_sees_one_channel() -> None:
    torch.manual_seed(0)
    layer = nn.DepthwiseConv2d(256, 3)
    assert 0.99 / 3 < float(layer.weight.detach().abs().max()) <= 1 / math.sqrt(9)
