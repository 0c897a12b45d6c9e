"""Batch normalisation's kernel through all its routes."""

import threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lamina import ops
from lamina.ops.runtime import native
from tests.ops.judge import LAYOUTS, assert_as_good_as_torch

pytestmark = pytest.mark.skipif("batch_norm2d" not in native.kinds(), reason="no compiler")

ACTIVATION = {
    None: lambda y: y,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "hardswish": F.hardswish,
}


def run(function, x, weight, bias, dy):
    """Output, statistics and every gradient of ``function(x, mean, variance, weight, bias)``."""
    leaves = [tensor.detach().clone().requires_grad_() for tensor in (x, weight, bias)]
    mean, variance = torch.full_like(weight, 0.5).detach(), torch.full_like(weight, 2.0).detach()
    y = function(leaves[0], mean, variance, leaves[1], leaves[2])
    return y.detach(), mean, variance, *torch.autograd.grad(y, leaves, dy)


def compare(x: Tensor, training: bool, activation: str | None) -> None:
    channels = x.shape[1]
    weight, bias = torch.randn(channels), torch.randn(channels)
    dy = torch.randn(x.shape)

    def torchs(x, mean, variance, weight, bias):
        return ACTIVATION[activation](F.batch_norm(x, mean, variance, weight, bias, training))

    def ours(x, mean, variance, weight, bias):
        return ops.batch_norm(x, mean, variance, weight, bias, training, activation=activation)

    names = ("output", "running mean", "running variance", "dx", "dweight", "dbias")
    truth = run(torchs, x.double(), weight.double(), bias.double(), dy.double())
    # An activation's kink may fall on either side for values within rounding of it.
    for name, got, peer, exact in zip(
        names, run(ours, x, weight, bias, dy), run(torchs, x, weight, bias, dy), truth, strict=True
    ):
        assert_as_good_as_torch(got, peer, exact, name, rounding=16)


@given(
    shape=st.tuples(
        st.integers(1, 5), st.integers(1, 70), st.integers(1, 9), st.integers(1, 9)
    ).filter(lambda s: s[0] * s[2] * s[3] > 3),
    layout=st.sampled_from(sorted(LAYOUTS)),
    training=st.booleans(),
    activation=st.sampled_from([None, "silu", "hardswish", "leaky_relu"]),
)
def test_agrees_with_float64(shape, layout, training, activation):
    torch.manual_seed(1)
    compare(torch.randn(shape).to(memory_format=LAYOUTS[layout]), training, activation)


@pytest.mark.parametrize("shape", [(8, 3), (6, 5, 7), (2, 3, 4, 5, 6), (64, 24, 20, 20)], ids=str)
@pytest.mark.parametrize("training", [True, False])
def test_every_rank(shape, training):
    compare(torch.randn(shape), training, None)


@pytest.mark.parametrize("activation", ["relu", "relu6"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_kinks_are_pytorchs(activation, layout):
    x = torch.randn(4, 6, 5, 5).to(memory_format=LAYOUTS[layout])
    compare(x, True, activation)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_variance_far_from_zero(layout):
    """Mean 1000, deviation 0.01: E[x²] − E[x]² would be noise, and negative half of the time."""
    x = (1000 + 0.01 * torch.randn(16, 8, 40, 40)).to(memory_format=LAYOUTS[layout])
    mean, variance = torch.zeros(8), torch.ones(8)
    ops.batch_norm(x, mean, variance, training=True, momentum=1.0, unbiased=False)
    exact = x.double().var((0, 2, 3), correction=0)
    torch.testing.assert_close(variance.double(), exact, rtol=2e-6, atol=0)
    torch.testing.assert_close(mean.double(), x.double().mean((0, 2, 3)), rtol=1e-7, atol=0)


def test_an_unlucky_first_block_does_not_spoil_the_variance():
    x = torch.randn(4000, 16) * 0.01 + 1000
    x[:300] = 0
    variance = torch.ones(16)
    ops.batch_norm(x, torch.zeros(16), variance, training=True, momentum=1.0, unbiased=False)
    torch.testing.assert_close(
        variance.double(), x.double().var(0, correction=0), rtol=2e-6, atol=0
    )


def test_running_variance_biased_and_unbiased():
    x = torch.randn(3, 2, 2, 1)
    for unbiased in (True, False):
        variance = torch.zeros(2)
        ops.batch_norm(x, torch.zeros(2), variance, training=True, momentum=1.0, unbiased=unbiased)
        torch.testing.assert_close(variance, x.var((0, 2, 3), correction=int(unbiased)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_one_value_per_channel(dtype):
    x = torch.randn(1, 3, 1, 1, dtype=dtype, requires_grad=True)
    bias = torch.tensor([1.0, 2.0, 3.0], dtype=dtype)
    with pytest.raises(ValueError, match="more than one value per channel"):
        ops.batch_norm(x, None, None, training=True)
    y = ops.batch_norm(x, None, None, bias=bias, training=True, unbiased=False)
    assert torch.equal(y.flatten(), bias)
    y.sum().backward()
    assert torch.count_nonzero(x.grad) == 0


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite(value):
    x = torch.randn(4, 3, 5, 5)
    x[1, 1, 2, 2] = value
    ours = ops.batch_norm(x, None, None, training=True, activation="relu")
    torchs = F.relu(F.batch_norm(x, None, None, training=True))
    assert torch.equal(torch.isnan(ours), torch.isnan(torchs))
    assert torch.isnan(ours[:, 1]).all()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("activation", [None, "relu"])
def test_a_pixel_that_is_not_finite_but_without_gradient(activation, layout):
    """By running statistics its own gradient is 0, and no other depends on it."""
    x = torch.randn(4, 8, 6, 6).to(memory_format=LAYOUTS[layout])
    x[0, 0, 0, 0], x[1, 1, 1, 1] = float("inf"), float("nan")
    dy = torch.randn(4, 8, 6, 6)
    dy[0, 0, 0, 0] = dy[1, 1, 1, 1] = 0

    def gradient(function):
        leaf = x.clone().requires_grad_()
        y = function(leaf, torch.zeros(8), torch.ones(8))
        return torch.autograd.grad(y, leaf, dy)[0]

    ours = gradient(lambda *a: ops.batch_norm(*a, activation=activation))
    torchs = gradient(lambda *a: ACTIVATION[activation](F.batch_norm(*a)))
    assert ours[0, 0, 0, 0] == ours[1, 1, 1, 1] == 0
    torch.testing.assert_close(ours, torchs)


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.randn(4, 6, 10, 10)[:, ::2, 1:, ::3],
        lambda: torch.randn(1, 3, 1, 8).expand(4, 3, 5, 8),
        lambda: torch.randn(500).as_strided((4, 3, 5, 5), (20, 9, 5, 1)),
        lambda: torch.randn(4 * 3 * 25 + 1)[1:].view(4, 3, 5, 5),
        lambda: torch.randn(3, 4, 5, 5).transpose(0, 1),
        lambda: torch.randn(4, 3, 5, 5, dtype=torch.complex64).conj().imag,
    ],
    ids=["sliced", "expanded", "overlapping", "misaligned", "transposed", "negative bit"],
)
def test_any_memory(make):
    compare(make(), True, None)


def test_expanded_and_foreign_layout_of_the_gradient():
    x = torch.randn(4, 3, 5, 5).to(memory_format=torch.channels_last).requires_grad_()
    y = ops.batch_norm(x, None, None, training=True, activation="silu")
    ours = torch.autograd.grad(y, x, torch.ones(()).expand(4, 3, 5, 5), retain_graph=True)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(y.sum(), x)[0])


def test_saved_for_backward_is_the_input_and_two_rows():
    saved = []

    def pack(tensor):
        saved.append(tensor)
        return tensor

    x = torch.randn(4, 8, 10, 10, requires_grad=True)
    weight = torch.ones(8, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ops.batch_norm(x, None, None, weight, None, training=True, activation="relu")
    fresh = [t for t in saved if t.data_ptr() not in (x.data_ptr(), weight.data_ptr())]
    assert sum(t.numel() for t in fresh) == 2 * 8


def test_a_saved_tensor_changed_in_place_raises():
    x = torch.randn(4, 3, 5, 5, requires_grad=True) * 1.0
    y = ops.batch_norm(x, None, None, training=True)
    x.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_double_backward():
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    weight = torch.randn(3, requires_grad=True)

    def second(function, x, weight):
        y = function(x, None, None, weight, None, training=True)
        (gradient,) = torch.autograd.grad(y.pow(3).sum(), x, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), (x, weight))

    exact = second(F.batch_norm, x.double(), weight.double())
    for ours, torchs, truth in zip(
        second(ops.batch_norm, x, weight), second(F.batch_norm, x, weight), exact, strict=True
    ):
        assert_as_good_as_torch(ours, torchs, truth, "second derivative")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_double_backward_of_a_bias_without_a_weight(dtype, training):
    """PyTorch's own gives none: the bias's gradient is dy's sum, whose derivative is one."""
    x = torch.randn(4, 3, 5, 5, dtype=dtype)
    bias = torch.randn(3, dtype=dtype, requires_grad=True)
    statistics = torch.zeros(3, dtype=dtype), torch.ones(3, dtype=dtype)
    y = ops.batch_norm(x, *statistics, None, bias, training=training)
    dy = torch.randn_like(y).requires_grad_()
    (gradient,) = torch.autograd.grad(y, bias, dy, create_graph=True)
    torch.testing.assert_close(gradient, dy.sum((0, 2, 3)))
    (second,) = torch.autograd.grad(gradient.sum(), dy)
    torch.testing.assert_close(second, torch.ones_like(dy))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("activation", ["silu", "hardswish"])
@pytest.mark.parametrize("images", [1, 2])
def test_double_backward_of_channels_last_and_a_gradient_that_is_not(images, activation, training):
    x, dy = torch.randn(images, 8, 5, 9), torch.randn(images, 8, 5, 9)
    weight, bias = torch.rand(8) + 0.5, torch.randn(8)
    statistics = torch.zeros(8), torch.ones(8)

    def second(function, x, dy, *vectors):
        mean, variance, weight, bias = (vector.to(x.dtype) for vector in vectors)
        bias = bias.detach().requires_grad_()
        y = function(x, mean, variance, weight, bias)
        (gradient,) = torch.autograd.grad(y, bias, dy, create_graph=True)
        return torch.autograd.grad(gradient.square().sum(), bias)[0]

    def ours(*tensors):
        return ops.batch_norm(*tensors, training=training, activation=activation)

    def torchs(*tensors):
        return getattr(F, activation)(F.batch_norm(*tensors, training=training))

    vectors = (*statistics, weight, bias)
    images_last = x.contiguous(memory_format=torch.channels_last)
    found = second(ours, images_last, dy, *vectors)
    truth = second(torchs, x.double(), dy.double(), *vectors)
    assert_as_good_as_torch(found, second(torchs, x, dy, *vectors), truth, "second derivative")


def test_function_transforms_take_pytorchs_route():
    x = torch.randn(2, 4, 3, 5, 5)

    def normalize(x):
        return ops.batch_norm(x, None, None, training=True)

    torch.testing.assert_close(torch.vmap(normalize)(x), torch.stack([normalize(i) for i in x]))
    _, tangent = torch.func.jvp(normalize, (x[0],), (torch.ones_like(x[0]),))
    torch.testing.assert_close(tangent, torch.zeros_like(tangent), atol=1e-5, rtol=0)


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_number_of_threads(threads, layout):
    x = torch.randn(8, 20, 40, 40).to(memory_format=LAYOUTS[layout])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        compare(x, True, "silu")
    finally:
        torch.set_num_threads(before)


def test_python_threads_share_a_layer():
    x = torch.randn(8, 16, 30, 30)
    expected = ops.batch_norm(x, None, None, training=True)
    results = [None] * 4

    def work(index):
        results[index] = ops.batch_norm(x, None, None, training=True)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result in results:
        torch.testing.assert_close(result, expected)


def test_zero_batch():
    x = torch.randn(0, 3, 5, 5, requires_grad=True)
    mean = torch.zeros(3)
    y = ops.batch_norm(x, mean, torch.ones(3), training=False)
    assert y.shape == x.shape
    y.sum().backward()
    assert x.grad.shape == x.shape
