"""Activations on large tensors, where a kernel runs them, against PyTorch's and float64."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from lamina import ops
from lamina.ops.runtime import native
from lamina.theory import activation as theory
from tests.ops.judge import LAYOUTS, assert_as_good_as_torch

SHAPE = (3, 35, 51, 51)  # large enough for the kernel, with a tail in every instruction set

PAIRS = {
    "relu": (ops.relu, F.relu),
    "relu6": (ops.relu6, F.relu6),
    "leaky_relu": (lambda x: ops.leaky_relu(x, 0.2), lambda x: F.leaky_relu(x, 0.2)),
    "silu": (ops.silu, F.silu),
    "hardswish": (ops.hardswish, F.hardswish),
    "hardsigmoid": (ops.hardsigmoid, F.hardsigmoid),
    "sigmoid": (ops.sigmoid, torch.sigmoid),
    "tanh": (ops.tanh, torch.tanh),
    "gelu": (ops.gelu, F.gelu),
    "gelu_tanh": (lambda x: ops.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")),
}
SPECIAL = [0.0, -0.0, torch.inf, -torch.inf, torch.nan, 6.0, 3.0, -3.0, 1e30, -1e30, 89.0, -104.0]

needs_kernel = pytest.mark.skipif("activation" not in native.kinds(), reason="no compiler")
every = pytest.mark.parametrize("name", sorted(PAIRS))


def output_and_gradient(function, x, dy):
    x = x.detach().requires_grad_()
    y = function(x)
    y.backward(dy)
    return y.detach(), x.grad


@every
@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_as_good_as_pytorch(name, layout):
    ours, torchs = PAIRS[name]
    x = (3 * torch.randn(SHAPE)).to(memory_format=LAYOUTS[layout])
    dy = torch.randn_like(x)
    results = zip(
        output_and_gradient(ours, x, dy),
        output_and_gradient(torchs, x, dy),
        output_and_gradient(torchs, x.double(), dy.double()),
        ("output", "gradient"),
        strict=True,
    )
    for got, theirs, truth, what in results:
        assert got.stride() == x.stride()
        assert_as_good_as_torch(got, theirs, truth, f"{name}, {what}")


@every
def test_special_values_are_pytorchs(name):
    ours, torchs = PAIRS[name]
    x = torch.tensor(SPECIAL).repeat(1 << 15)
    dy = torch.ones_like(x)
    truth = output_and_gradient(torchs, x.double(), dy.double())  # float32's gelu overflows
    for got, expected in zip(output_and_gradient(ours, x, dy), truth, strict=True):
        torch.testing.assert_close(got, expected.float(), equal_nan=True)


@pytest.mark.parametrize("name", ["relu", "relu6", "hardswish", "hardsigmoid"])
def test_a_flat_part_stops_an_infinite_gradient(name):
    x = torch.full((1 << 18,), -5.0)
    _, gradient = output_and_gradient(PAIRS[name][0], x, torch.full_like(x, torch.inf))
    assert gradient.eq(0).all()


@every
def test_the_second_derivative_is_pytorchs(name):
    second = []
    for function in PAIRS[name]:
        if name == "hardsigmoid" and function is F.hardsigmoid:
            function = lambda x: F.relu6(x + 3) / 6  # noqa: E731 - PyTorch's own has none
        x = torch.linspace(-5, 7, 1 << 18, requires_grad=True)
        (first,) = torch.autograd.grad(function(x).square().sum(), x, create_graph=True)
        second.append(torch.autograd.grad(first.sum(), x)[0])
    torch.testing.assert_close(*second, rtol=1e-4, atol=1e-5)


@needs_kernel
@every
def test_keeps_no_more_than_pytorch(name):
    def kept(function):
        sizes = []
        x = torch.randn(SHAPE, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(
            lambda tensor: sizes.append(tensor.numel()) or tensor, lambda tensor: tensor
        ):
            function(x)
        return sum(sizes)

    ours, torchs = PAIRS[name]
    assert kept(ours) <= kept(torchs)


def test_whoever_watches_sees_pytorchs_op():
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            seen.append(function)
            return function(*args, **(kwargs or {}))

    with Watch():
        ops.relu(torch.randn(SHAPE))
    assert seen[-1] is torch.ops.aten.relu.default


@pytest.mark.parametrize("shape", [(1, 8, 8, 8), SHAPE])
def test_a_strided_input_is_right(shape):
    x = torch.randn(*shape[:-1], 2 * shape[-1])[..., ::2]
    torch.testing.assert_close(ops.silu(x), F.silu(x))


TWO_SLOPES = {
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "hardsigmoid": F.hardsigmoid,
}


def saved_by(function, x):
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: saved.append(t) or t, lambda t: t):
        y = function(x)
    return y, saved


@needs_kernel
@pytest.mark.parametrize("name", TWO_SLOPES)
def test_two_slopes_keep_a_bit_of_each_element(name):
    x = torch.randn(SHAPE, requires_grad=True)
    _, saved = saved_by(getattr(ops, name), x)
    assert sum(t.nbytes for t in saved) == theory.cost(SHAPE, name).saved_bytes


@pytest.mark.parametrize("name", TWO_SLOPES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
@pytest.mark.parametrize("other_layout", [False, True])
def test_two_slopes_give_pytorchs_gradient(name, layout, other_layout):
    x = torch.randn(*SHAPE[:-1], SHAPE[-1] + 1) * 4  # no whole number of words
    # PyTorch lets NaN through relu6 or stops it, as the strides have it; ours stops it.
    nan = 1.0 if name in ("relu6", "hardsigmoid") else math.nan
    x[0, 0, 0, :6] = torch.tensor([0.0, -0.0, nan, math.inf, -math.inf, 6.0])
    x = x.to(memory_format=layout).requires_grad_()
    dy = torch.randn(x.shape)
    if other_layout != (layout is torch.channels_last):
        dy = dy.to(memory_format=torch.channels_last)
    y, expected = getattr(ops, name)(x), TWO_SLOPES[name](x)
    dx, expected_dx = (torch.autograd.grad(z, x, dy)[0] for z in (y, expected))
    assert dx.stride() == x.stride()
    torch.testing.assert_close(dx, expected_dx, equal_nan=True)


@pytest.mark.parametrize("name", TWO_SLOPES)
def test_two_slopes_gradient_can_be_differentiated_and_watched(name):
    x = torch.randn(SHAPE).to(memory_format=torch.channels_last).requires_grad_()
    dy, ddx = (torch.randn(SHAPE, requires_grad=True) for _ in range(2))
    (dx,) = torch.autograd.grad(getattr(ops, name)(x), x, dy, create_graph=True)
    (plain,) = torch.autograd.grad(getattr(ops, name)(x), x, dy)
    torch.testing.assert_close(dx, plain)
    (ddy,) = torch.autograd.grad(dx, dy, ddx)  # the map is its own transpose
    (expected,) = torch.autograd.grad(TWO_SLOPES[name](x), x, ddx)
    torch.testing.assert_close(ddy, expected)


def test_an_input_changed_after_the_call_is_an_error():
    x = torch.randn(SHAPE, requires_grad=True) * 1
    y = ops.silu(x)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_compiles_whole():
    function = torch.compile(lambda x: ops.relu(x) + 1, fullgraph=True, backend="aot_eager")
    x = torch.randn(SHAPE)
    assert torch.equal(function(x), F.relu(x) + 1)
