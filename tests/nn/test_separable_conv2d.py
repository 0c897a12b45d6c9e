"""SeparableConv2d against a depthwise and a pointwise torch.nn.Conv2d in a row."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina import nn

from .parity import assert_agrees
from .strategies import few, images, pairs, sides, small


class TwoConvolutions(torch.nn.Module):
    def __init__(self, channels, out_channels, multiplier, bias, dtype, window, mode):
        super().__init__()
        middle = channels * multiplier
        self.depthwise = torch.nn.Conv2d(
            channels, middle, **window, groups=channels, bias=False, padding_mode=mode, dtype=dtype
        )
        self.pointwise = torch.nn.Conv2d(middle, out_channels, 1, bias=bias, dtype=dtype)

    def forward(self, image):
        return self.pointwise(self.depthwise(image))


@few
@given(small, small, small, st.booleans(), pairs, pairs, sides, pairs, st.data())
def test_agrees_with_two_layers(
    channels, out_channels, multiplier, bias, kernel_size, stride, padding, dilation, data
) -> None:
    x = data.draw(images(channels))
    mode = data.draw(st.sampled_from(["zeros", "circular"]))
    window = {
        "kernel_size": kernel_size, "stride": stride, "padding": padding, "dilation": dilation
    }  # fmt: skip
    torch.manual_seed(3)
    theirs = TwoConvolutions(channels, out_channels, multiplier, bias, x.dtype, window, mode)
    torch.manual_seed(3)
    ours = nn.SeparableConv2d(
        channels,
        out_channels,
        **window,
        depth_multiplier=multiplier,
        bias=bias,
        padding_mode=mode,
        dtype=x.dtype,
    )
    assert_agrees(ours, theirs, x)


def test_same_padding_halves_the_image() -> None:
    layer = nn.SeparableConv2d(3, 8, 5, stride=2, padding="same")
    assert layer(torch.zeros(1, 3, 11, 8)).shape == (1, 8, 6, 4)
