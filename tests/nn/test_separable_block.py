"""SeparableBlock: in inference one op, with the results of its layers one after the other."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina import nn, ops

from .strategies import few


def settled(block: nn.SeparableBlock, channels: int) -> nn.SeparableBlock:
    """In eval, after some batches have moved the running statistics."""
    for _ in range(2):
        block(torch.randn(4, channels, 9, 9) * 2 + 1)
    return block.eval()


@few
@given(
    st.integers(1, 9),
    st.integers(1, 20),
    st.sampled_from([1, 3, 5]),
    st.sampled_from([1, 2, (1, 2)]),
    st.sampled_from([1, 2, 6]),
    st.sampled_from(["relu", "relu6", "silu", None]),
    st.booleans(),
)
def test_one_op_is_its_layers(channels, outputs, kernel, stride, expansion, activation, last):
    torch.manual_seed(0)
    block = nn.SeparableBlock(
        channels, outputs, kernel, stride, kernel // 2, expansion, activation, activation
    )
    settled(block, channels)
    x = torch.randn(2, channels, 8, 7)
    if last:
        x = x.to(memory_format=torch.channels_last)
    layers = block(x)
    with torch.no_grad():
        fused = block(x)
    assert fused.shape == block.output_shape(x.shape)
    torch.testing.assert_close(fused, layers, rtol=1e-4, atol=1e-4)
    assert fused.is_contiguous() or last


def test_the_shortcut_and_what_it_refuses():
    block = settled(nn.SeparableBlock(6, 6, padding=1, expansion=2, shortcut=True), 6)
    x = torch.randn(1, 6, 5, 5)
    with torch.no_grad():
        torch.testing.assert_close(block(x), block(x.requires_grad_()), rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="shortcut needs stride 1 and as many channels"):
        nn.SeparableBlock(6, 8, padding=1, shortcut=True)
    weights = torch.ones(6, 1, 3, 3), torch.ones(8, 6, 1, 1)
    with torch.no_grad(), pytest.raises(ValueError, match="shortcut needs a result"):
        ops.separable_block(x, *weights, padding=1, shortcut=True)


def test_a_hook_sees_what_lies_between():
    block, seen = settled(nn.SeparableBlock(3, 4, padding=1), 3), []
    block.depthwise.register_forward_hook(lambda *_: seen.append(True))
    with torch.no_grad():
        block(torch.randn(1, 3, 6, 6))
    assert seen == [True]


def test_statistics_need_neither_scale_nor_shift():
    x, depthwise, pointwise = (
        torch.randn(2, 5, 6, 6),
        torch.randn(5, 1, 3, 3),
        torch.randn(4, 5, 1, 1),
    )
    finish = ops.Finish(mean=torch.randn(5), variance=torch.rand(5), eps=1e-3, activation="relu")
    with torch.no_grad():
        fused = ops.separable_block(x, depthwise, pointwise, depthwise=finish)
    layers = ops.separable_block(x.requires_grad_(), depthwise, pointwise, depthwise=finish)
    assert layers.requires_grad
    torch.testing.assert_close(fused, layers.detach(), rtol=1e-4, atol=1e-4)
