"""Pointwise convolutions of NCHW images: products of planes where they lie."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lamina import ops
from lamina.ops.activation import activation_epilogue
from lamina.ops.conv2d import kernels
from lamina.ops.runtime import native
from tests.ops.judge import LAYOUTS, assert_as_good_as_torch

pytestmark = pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")


def _with_gradients(convolve, x, weight, bias, dy):
    leaves = [tensor.detach().requires_grad_() for tensor in (x, weight, bias)]
    y = convolve(*leaves)
    return y.detach(), *torch.autograd.grad(y, leaves, dy)


@given(
    batch=st.integers(1, 5),
    channels=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    size=st.tuples(st.integers(1, 30), st.integers(1, 30)),
    weight_layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_as_exact_as_pytorchs(batch, channels, size, weight_layout):
    torch.manual_seed(2)
    x = torch.randn(batch, channels[0], *size)
    weight = torch.randn(channels[1], channels[0], 1, 1).to(memory_format=LAYOUTS[weight_layout])
    bias, dy = torch.randn(channels[1]), torch.randn(batch, channels[1], *size)

    def ours(x, weight, bias):
        return ops.conv2d(x, weight, bias, algorithm="direct")

    got = _with_gradients(ours, x, weight, bias, dy)
    peers = _with_gradients(F.conv2d, x, weight, bias, dy)
    exact = _with_gradients(F.conv2d, x.double(), weight.double(), bias.double(), dy.double())
    for name, *three in zip(("y", "dx", "dweight", "dbias"), got, peers, exact, strict=True):
        assert_as_good_as_torch(*three, name)


def test_no_image_is_brought_into_another_layout(monkeypatch):
    def refuse(*_):
        raise AssertionError("an image was reordered")

    monkeypatch.setattr(kernels, "to_channels_last", refuse)
    monkeypatch.setattr(kernels, "from_channels_last", refuse)
    x = torch.randn(2, 20, 9, 7, requires_grad=True)
    weight = torch.randn(24, 20, 1, 1, requires_grad=True)
    y = ops.conv2d(x, weight, algorithm="direct")
    dx, _ = torch.autograd.grad(y, (x, weight), torch.randn_like(y))
    assert y.is_contiguous() and dx.is_contiguous()
    with pytest.raises(AssertionError, match="reordered"):
        ops.conv2d(x, weight, stride=2, algorithm="direct")


@pytest.mark.parametrize("activation", [None, *native.ACTIVATIONS[1:]])
def test_the_activation_is_applied_to_the_whole_sum(activation):
    x, weight, bias = torch.randn(3, 700, 7, 7), torch.randn(10, 700, 1, 1), torch.randn(10)
    with torch.no_grad():
        y = ops.conv2d(x, weight, bias, algorithm="direct", activation=activation)
    expected = activation_epilogue(F.conv2d(x, weight, bias), activation or "none", 0.01)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("x_layout", "dy_layout"), [("channels_last", "nchw"), ("nchw", "channels_last")]
)
def test_two_layouts(x_layout, dy_layout):
    x = torch.randn(2, 6, 5, 5).to(memory_format=LAYOUTS[x_layout]).requires_grad_()
    weight = torch.randn(7, 6, 1, 1, requires_grad=True)
    dy = torch.randn(2, 7, 5, 5).to(memory_format=LAYOUTS[dy_layout])
    got = torch.autograd.grad(ops.conv2d(x, weight, algorithm="direct"), (x, weight), dy)
    expected = torch.autograd.grad(F.conv2d(x, weight), (x, weight), dy)
    torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-4)
    assert got[0].is_contiguous(memory_format=LAYOUTS[x_layout])
