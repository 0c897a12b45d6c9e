"""Depthwise convolution's kernel through all its routes."""

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
from tests.ops.processes import in_a_process

pytestmark = pytest.mark.skipif("depthwise_conv2d" not in native.kinds(), reason="no compiler")

ACTIVATION = {
    None: lambda y: y,
    "relu": F.relu,
    "relu6": F.relu6,
    "leaky_relu": F.leaky_relu,
    "silu": F.silu,
    "hardswish": F.hardswish,
}
Sides = tuple[tuple[int, int], tuple[int, int]]


def torchs(x, weight, bias, stride, padding: Sides, dilation, activation=None) -> Tensor:
    (top, bottom), (left, right) = padding
    padded = F.pad(x, (left, right, top, bottom))
    return ACTIVATION[activation](F.conv2d(padded, weight, bias, stride, 0, dilation, x.shape[1]))


def run(function, leaves, *options):
    """Output and every gradient; the output's own gradient is the same in every precision."""
    leaves = [None if leaf is None else leaf.detach().requires_grad_() for leaf in leaves]
    y = function(*leaves, *options)
    generator = torch.Generator().manual_seed(3)
    dy = torch.randn(y.shape, generator=generator).to(y.dtype)
    wanted = [leaf for leaf in leaves if leaf is not None]
    return y.detach(), *torch.autograd.grad(y, wanted, dy)


def ours(x, weight, bias, stride, padding, dilation, activation=None) -> Tensor:
    return ops.depthwise_conv2d(x, weight, bias, stride, padding, dilation, activation=activation)


def compare(x, weight, bias=None, stride=1, padding=((0, 0), (0, 0)), dilation=1, activation=None):
    leaves, options = (x, weight, bias), (stride, padding, dilation, activation)
    doubles = [None if leaf is None else leaf.double() for leaf in leaves]
    for name, got, peer, exact in zip(
        ("output", "dx", "dweight", "dbias")[: 3 if bias is None else 4],
        run(ours, leaves, *options),
        run(torchs, leaves, *options),
        run(torchs, doubles, *options),
        strict=True,
    ):
        # An activation's kink may fall on either side for values within rounding of it.
        assert_as_good_as_torch(got, peer, exact, name, rounding=16)


@st.composite
def axes(draw) -> tuple[int, int, int, tuple[int, int], int]:
    """Size, kernel size, stride, padding and dilation that leave at least one window."""
    kernel, stride, dilation = draw(
        st.tuples(st.integers(1, 8), st.integers(1, 3), st.integers(1, 3))
    )
    sides = draw(st.tuples(st.integers(0, 4), st.integers(0, 4)))
    least = max(1, dilation * (kernel - 1) + 1 - sum(sides))
    return draw(st.integers(least, least + 20)), kernel, stride, sides, dilation


@given(
    vertical=axes(),
    horizontal=axes(),
    images=st.integers(1, 3),
    channels=st.integers(1, 40),
    multiplier=st.sampled_from([1, 1, 1, 2, 5, 17]),
    layout=st.sampled_from(sorted(LAYOUTS)),
    activation=st.sampled_from([None, None, "silu", "hardswish", "leaky_relu"]),
    with_bias=st.booleans(),
)
def test_agrees_with_float64(
    vertical, horizontal, images, channels, multiplier, layout, activation, with_bias
):
    (height, *_), (width, *_) = vertical, horizontal
    kernel, stride, padding, dilation = zip(vertical[1:], horizontal[1:], strict=True)
    outputs = channels * multiplier
    compare(
        torch.randn(images, channels, height, width).to(memory_format=LAYOUTS[layout]),
        torch.randn(outputs, 1, *kernel),
        torch.randn(outputs) if with_bias else None,
        stride,
        padding,
        dilation,
        activation,
    )


@pytest.mark.parametrize("kernel_size", [3, 5, 7])
@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_usual_windows(kernel_size, stride, layout):
    x = torch.randn(2, 24, 28, 28).to(memory_format=LAYOUTS[layout])
    side = kernel_size // 2
    sides = ((side, side), (side, side))
    compare(x, torch.randn(24, 1, kernel_size, kernel_size), None, stride, sides)


@pytest.mark.parametrize("activation", ["relu", "relu6"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_kinks_are_pytorchs(activation, layout):
    """Small whole numbers: the sums are exact, and many are 0 or 6."""
    x = torch.randint(-1, 2, (2, 20, 9, 9)).float().to(memory_format=LAYOUTS[layout])
    weight, bias = torch.randint(-1, 3, (20, 1, 3, 3)).float(), torch.ones(20)
    compare(x, weight, bias, 1, ((1, 1), (1, 1)), 1, activation)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_long_sums_keep_their_precision(layout):
    """A weight's gradient sums 50,000 products; float32 alone would lose digits."""
    x = (torch.rand(16, 3, 56, 56) + 1).to(memory_format=LAYOUTS[layout])
    weight = torch.rand(3, 1, 3, 3, requires_grad=True)
    y = ops.depthwise_conv2d(x, weight, None, 1, 1)
    exact = weight.detach().double().requires_grad_()
    F.conv2d(x.double(), exact, None, 1, 1, 1, 3).sum().backward()
    y.sum().backward()
    torch.testing.assert_close(weight.grad.double(), exact.grad, rtol=2e-6, atol=0)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("place", ["x", "weight", "dy"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_not_finite(value, place, layout):
    """They reach what they touch and nothing else: padding is skipped, not multiplied by zero."""
    x = torch.randn(2, 18, 9, 9).to(memory_format=LAYOUTS[layout])
    weight = torch.randn(18, 1, 3, 3)
    dy = torch.randn(2, 18, 9, 9)
    {"x": x, "weight": weight.view(1, 18, 3, 3), "dy": dy}[place][0, 1, 0, 1] = value

    def results(function):
        leaves = [tensor.detach().requires_grad_() for tensor in (x, weight)]
        y = function(*leaves, None, 1, 1)
        return y.detach(), *torch.autograd.grad(y, leaves, dy)

    for mine, peer in zip(
        results(ops.depthwise_conv2d),
        results(lambda *arguments: F.conv2d(*arguments, 1, 18)),
        strict=True,
    ):
        torch.testing.assert_close(mine, peer, equal_nan=True, rtol=1e-4, atol=1e-4)


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
    """The same memory as input, as weight and as the output's gradient."""
    x = make()
    compare(x, torch.randn(x.shape[1], 1, 3, 3), torch.randn(x.shape[1]))
    weight = make().transpose(0, 1)[:, :1]
    compare(torch.randn(2, 3, 11, 12), weight)
    images = torch.randn(x.shape, requires_grad=True)
    weight = torch.randn(x.shape[1], 1, 3, 3, requires_grad=True)
    mine = torch.autograd.grad(ops.depthwise_conv2d(images, weight, padding=1), images, x)[0]
    peer = F.conv2d(images, weight, None, 1, 1, 1, x.shape[1])
    torch.testing.assert_close(mine, torch.autograd.grad(peer, images, x)[0])


def test_one_image_without_a_batch():
    x, weight = torch.randn(20, 9, 8, requires_grad=True), torch.randn(20, 1, 3, 3)
    y = ops.depthwise_conv2d(x, weight, padding=1)
    torch.testing.assert_close(y, F.conv2d(x, weight, None, 1, 1, 1, 20))
    y.sum().backward()
    assert x.grad.shape == x.shape


@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_keeps_the_layout(layout):
    x = torch.randn(2, 6, 8, 8).to(memory_format=LAYOUTS[layout]).requires_grad_()
    y = ops.depthwise_conv2d(x, torch.randn(12, 1, 3, 3), padding="same", stride=2)
    assert y.is_contiguous(memory_format=LAYOUTS[layout])
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert dx.is_contiguous(memory_format=LAYOUTS[layout])


def test_conv2d_with_a_group_per_channel_comes_here(monkeypatch):
    calls = []
    real = native.kernels.depthwise_conv2d_forward
    monkeypatch.setattr(
        native.kernels, "depthwise_conv2d_forward", lambda *a: (calls.append(1), real(*a))
    )
    x, weight = torch.randn(2, 6, 8, 8), torch.randn(6, 1, 3, 3)
    torch.testing.assert_close(
        ops.conv2d(x, weight, None, 1, 1, 1, 6), F.conv2d(x, weight, None, 1, 1, 1, 6)
    )
    assert calls == [1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.conv2d(x, weight, None, 1, 1, 1, 6).dtype is torch.bfloat16
    ops.conv2d(x, weight, None, 1, 1, 1, 6, algorithm="onednn")
    assert calls == [1]


@pytest.mark.parametrize("frozen", [0, 1, 2])
def test_only_the_gradients_that_are_asked_for(frozen):
    leaves = [torch.randn(2, 5, 6, 6), torch.randn(5, 1, 3, 3), torch.randn(5)]
    for index, leaf in enumerate(leaves):
        leaf.requires_grad_(index != frozen)
    ops.depthwise_conv2d(*leaves, activation="silu").sum().backward()
    mine = [leaf.grad for leaf in leaves]
    for leaf in leaves:
        leaf.grad = None
    F.silu(F.conv2d(*leaves, groups=5)).sum().backward()
    for index, (leaf, gradient) in enumerate(zip(leaves, mine, strict=True)):
        assert (gradient is None) == (index == frozen)
        torch.testing.assert_close(gradient, leaf.grad, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("activation", [None, "relu", "silu"])
def test_saved_for_backward_are_the_arguments(activation):
    saved = []

    def pack(tensor):
        saved.append(tensor.data_ptr())
        return tensor

    x, weight = torch.randn(4, 8, 10, 10), torch.randn(8, 1, 3, 3, requires_grad=True)
    bias = torch.randn(8)
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        ops.depthwise_conv2d(x, weight, bias, activation=activation)
    assert set(saved) <= {x.data_ptr(), weight.data_ptr(), bias.data_ptr()}


@pytest.mark.parametrize("changed", ["x", "weight"])
def test_a_saved_tensor_changed_in_place_raises(changed):
    x = torch.randn(4, 3, 5, 5, requires_grad=True) * 1.0
    weight = torch.randn(3, 1, 3, 3, requires_grad=True) * 1.0
    y = ops.depthwise_conv2d(x, weight)
    {"x": x, "weight": weight}[changed].add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@pytest.mark.parametrize("activation", [None, "silu"])
def test_double_backward(activation):
    leaves = [torch.randn(2, 4, 7, 7), torch.randn(4, 1, 3, 3), torch.randn(4)]

    def second(function, dtype):
        own = [leaf.to(dtype).requires_grad_() for leaf in leaves]
        y = function(*own, 2, ((1, 1), (0, 1)), 1, activation)
        first = torch.autograd.grad(y.pow(3).sum(), own, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), own)

    for mine, peer, truth in zip(
        second(ours, torch.float32),
        second(torchs, torch.float32),
        second(torchs, torch.float64),
        strict=True,
    ):
        assert_as_good_as_torch(mine, peer, truth, "second derivative")


@pytest.mark.parametrize("with_bias", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_opcheck(layout, with_bias):
    x = torch.randn(2, 6, 8, 8).to(memory_format=LAYOUTS[layout]).requires_grad_()
    weight = torch.randn(12, 1, 3, 3, requires_grad=True)
    bias = torch.randn(12, requires_grad=True) if with_bias else None
    torch.library.opcheck(
        torch.ops.lamina.depthwise_conv2d.default,
        (x, weight, None, bias, None, None, 0.0, [2, 1], [0, 1, 1, 2], [1, 2], "silu", 0.01),
    )


def test_function_transforms_take_pytorchs_route():
    x, weight = torch.randn(2, 3, 4, 5, 5), torch.randn(4, 1, 3, 3)

    def convolve(x):
        return ops.depthwise_conv2d(x, weight)

    torch.testing.assert_close(torch.vmap(convolve)(x), torch.stack([convolve(i) for i in x]))
    _, tangent = torch.func.jvp(convolve, (x[0],), (x[1],))
    torch.testing.assert_close(tangent, convolve(x[1]))


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_any_number_of_threads(threads, layout):
    x = torch.randn(4, 20, 40, 40).to(memory_format=LAYOUTS[layout])
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        weight, bias = torch.randn(20, 1, 3, 3), torch.randn(20)
        compare(x, weight, bias, 1, ((1, 1), (1, 1)), 1, "silu")
    finally:
        torch.set_num_threads(before)


def test_python_threads_share_a_weight():
    x, weight = torch.randn(4, 16, 30, 30), torch.randn(16, 1, 3, 3)
    expected = ops.depthwise_conv2d(x, weight)
    results = [None] * 4

    def work(index):
        results[index] = ops.depthwise_conv2d(x, weight)

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result in results:
        assert torch.equal(result, expected)


EVERY_ISA = """
import torch
from lamina import ops
from tests.ops import test_depthwise_conv2d as tests
for layout in tests.LAYOUTS.values():
    x = torch.randn(2, 21, 17, 15).to(memory_format=layout)
    for kernel_size, stride in ((3, 1), (5, 2), (6, 1)):
        weight = torch.randn(21, 1, kernel_size, kernel_size)
        tests.compare(x, weight, torch.randn(21), stride, ((1, 2), (2, 2)), 1, "silu")
"""


@pytest.mark.parametrize("isa", [isa for isa, runs in native.instruction_sets().items() if runs])
def test_every_instruction_set(isa):
    finished = in_a_process(EVERY_ISA, LAMINA_ISA=isa)
    assert finished.returncode == 0, finished.stderr


def test_zero_batch():
    x = torch.randn(0, 3, 5, 5, requires_grad=True)
    y = ops.depthwise_conv2d(x, torch.randn(3, 1, 3, 3))
    assert y.shape == (0, 3, 3, 3)
    y.sum().backward()
    assert x.grad.shape == x.shape


def test_a_bias_of_another_size_is_one_line():
    with pytest.raises(ValueError, match=r"bias must have shape \(6,\), got \(3,\)"):
        ops.depthwise_conv2d(torch.ones(1, 3, 4, 4), torch.ones(6, 1, 3, 3), torch.ones(3))
