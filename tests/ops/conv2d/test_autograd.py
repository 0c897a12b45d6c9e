"""Convolution's ops under autograd twice over, the op checker and the compiler."""

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from lamina import ops
from lamina.ops.runtime import native
from lamina.theory.numerics import gamma
from tests.ops.judge import LAYOUTS

pytestmark = pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")

EVERY = ("direct", "im2col", "onednn", "winograd", "fft")


@pytest.mark.parametrize("algorithm", EVERY)
def test_double_backward(algorithm):
    x = torch.randn(2, 3, 5, 6, requires_grad=True)
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)

    def second(x, weight, algorithm):
        y = ops.conv2d(x, weight, None, padding=((1, 0), (2, 1)), algorithm=algorithm)
        dx, dweight = torch.autograd.grad(y.pow(3).sum(), (x, weight), create_graph=True)
        return torch.autograd.grad(dx.square().sum() + dweight.sum(), (x, weight))

    exact = second(x.double(), weight.double(), "onednn")
    for ours, truth in zip(second(x, weight, algorithm), exact, strict=True):
        assert (ours.double() - truth).abs().max() <= 2e-5 * truth.abs().max()


@pytest.mark.parametrize("algorithm", [*EVERY, "auto"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_opcheck(algorithm, layout):
    x = torch.randn(2, 3, 5, 6).to(memory_format=LAYOUTS[layout])
    weight, shift = torch.randn(4, 3, 3, 3), torch.randn(4)
    window = ((1, 1), (1, 0, 2, 1), (1, 1), 1, algorithm)
    op, close = torch.ops.lamina, {"rtol": 1e-3, "atol": 1e-4}
    leaves = [t.clone().requires_grad_() for t in (x, weight, shift)]
    forward = (*leaves[:2], None, leaves[2], None, None, None, 0.0, *window, "none", 0.0)
    torch.library.opcheck(op.conv2d.default, forward, **close)
    dy = torch.randn(2, 4, 4, 7).to(memory_format=LAYOUTS[layout])
    for gradient in (op.conv2d_input_gradient, op.conv2d_weight_gradient):
        torch.library.opcheck(gradient.default, (x, dy, weight, *window), **close)


@pytest.mark.parametrize("algorithm", ["auto", "direct", "winograd"])
def test_compiles_whole_at_any_size(algorithm):
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)

    def step(x):
        y = ops.conv2d(x, weight, padding=1, algorithm=algorithm, activation="relu")
        return torch.autograd.grad(y.square().sum(), weight)[0]

    torch._dynamo.reset()
    convolve = torch.compile(
        lambda x: ops.conv2d(x, weight, padding=1, algorithm=algorithm, activation="relu"),
        fullgraph=True, dynamic=True, backend="aot_eager",
    )  # fmt: skip
    for shape in ((1, 3, 8, 8), (2, 3, 9, 11), (5, 3, 6, 17)):
        x = torch.randn(shape)
        y = convolve(x)
        torch.testing.assert_close(y, F.conv2d(x, weight, padding=1).relu(), rtol=1e-4, atol=1e-5)
        gradient = torch.autograd.grad(y.square().sum(), weight)[0]
        torch.testing.assert_close(gradient, step(x), rtol=1e-3, atol=1e-3)


def test_gamma_of_a_bias_gradient():
    """The bias gradient sums every position: its own bound."""
    x, weight = torch.randn(4, 3, 20, 20), torch.randn(5, 3, 3, 3)
    bias = torch.zeros(5, requires_grad=True)
    y = ops.conv2d(x, weight, bias, algorithm="direct")
    dy = torch.randn_like(y)
    (ours,) = torch.autograd.grad(y, bias, dy)
    positions = dy.numel() // 5
    error = (ours.double() - dy.double().sum((0, 2, 3))).abs().max()
    assert error <= gamma(positions) * positions * dy.abs().max().item()


def test_torchs_counter_counts_every_algorithm_alike():
    x, weight = torch.randn(2, 6, 9, 8, requires_grad=True), torch.randn(4, 6, 3, 3)
    weight.requires_grad_()
    counts = {}
    for algorithm in ("direct", "im2col", "onednn"):
        with FlopCounterMode(display=False) as counter:
            y = ops.conv2d(x, weight, stride=2, padding=1, algorithm=algorithm)
            forward = counter.get_total_flops()
            y.sum().backward()
        counts[algorithm] = forward, counter.get_total_flops()
    macs = 2 * 4 * 5 * 4 * 6 * 9
    assert set(counts.values()) == {(2 * macs, 6 * macs)}, counts
