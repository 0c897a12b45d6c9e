"""Batch norm called several times before one backward pass: sizes, layouts and modes in turn."""

from __future__ import annotations

import pytest
import torch
import torch.nn as tnn
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from lamina import nn

# By the side of an image of 16 channels: small, channels-last large, large.
CALLS = st.lists(
    st.tuples(
        st.sampled_from([4, 20, 40]),
        st.sampled_from(["row-major", "channels-last", "strided"]),
        st.booleans(),
        st.booleans(),
    ),
    min_size=2,
    max_size=5,
)


def images(side: int, layout: str) -> Tensor:
    x = torch.randn(4, 16, side, side)
    if layout == "channels-last":
        return x.to(memory_format=torch.channels_last)
    return torch.stack([x, x], -1)[..., 0] if layout == "strided" else x


def run(layer: tnn.Module, calls, dtype: torch.dtype, keep_statistics: bool):
    """Gradients of all outputs at once, after the last call, and the statistics then."""
    torch.manual_seed(0)
    inputs, total = [], torch.zeros((), dtype=dtype)
    for side, layout, training, wants in calls:
        x = images(side, layout).to(dtype).requires_grad_(wants)
        layer.train(training)
        if keep_statistics and not training:
            # PyTorch's gradient would be by the statistics as they are when backward comes.
            kept = {name: buffer.clone() for name, buffer in layer.named_buffers()}
            y = torch.func.functional_call(layer, kept, (x,))
        else:
            y = layer(x)
        total = total + (y * torch.randn(y.shape).to(dtype)).sum()
        inputs += [x] if wants else []
    total.backward()
    tensors = [x.grad for x in inputs] + [p.grad for p in layer.parameters()]
    return [*tensors, *layer.buffers()]


@pytest.mark.usefixtures("small_calls")
@pytest.mark.parametrize("affine", [True, False])
@settings(max_examples=40)
@given(calls=CALLS)
def test_any_sequence_before_one_backward(affine: bool, calls) -> None:
    if not affine and not any(wants for *_, wants in calls):
        return
    peer = tnn.BatchNorm2d(16, affine=affine).double()
    ours = nn.BatchNorm2d(16, affine=affine)
    expected = run(peer, calls, torch.float64, keep_statistics=True)
    for found, exact in zip(run(ours, calls, torch.float32, False), expected, strict=True):
        scale = float(exact.double().abs().max())
        assert (found.double() - exact.double()).abs().max() <= 1e-4 * scale + 1e-5


@pytest.mark.usefixtures("small_calls")
@pytest.mark.parametrize("side", [4, 40])
@pytest.mark.parametrize("training", [True, False])
def test_statistics_of_any_strides(side: int, training: bool) -> None:
    """As slices of one table, which are written back where they are updated."""
    table = torch.rand(16, 4) + 0.5
    layers = []
    for dtype in (torch.float32, torch.float64):
        layer = nn.BatchNorm2d(16).train(training)
        columns = table.clone().to(dtype).unbind(1)
        state = dict(zip(("weight", "bias", "running_mean", "running_var"), columns, strict=True))
        state["num_batches_tracked"] = torch.tensor(0)
        layer.load_state_dict(state, assign=True)
        layers.append(layer)
    x = torch.randn(4, 16, side, side)
    ours, exact = layers[0](x), layers[1](x.double())
    torch.testing.assert_close(ours.double(), exact, rtol=1e-4, atol=1e-5)
    for found, right in zip(layers[0].buffers(), layers[1].buffers(), strict=True):
        torch.testing.assert_close(found.double(), right.double(), rtol=1e-5, atol=1e-6)
    assert layers[0].running_mean.stride() == (4,)


@pytest.mark.usefixtures("small_calls")
@pytest.mark.parametrize("side", [4, 40])
def test_a_parameter_changed_before_backward_raises(side: int) -> None:
    layer = nn.BatchNorm2d(16)
    y = layer(torch.randn(4, 16, side, side, requires_grad=True))
    with torch.no_grad():
        layer.weight.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()
