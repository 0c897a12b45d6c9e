"""Convolution's algorithms through all their routes."""

import threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lamina import ops, set_numerics
from lamina.ops.runtime import native
from lamina.theory.numerics import gamma, winograd_error_bound
from tests.ops.judge import LAYOUTS
from tests.ops.processes import in_a_process

pytestmark = pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")


def largest(tensor: Tensor) -> float:
    return tensor.detach().abs().max().item()


def gradients(y: Tensor, leaves: tuple[Tensor, ...], dy: Tensor) -> tuple[Tensor, ...]:
    return torch.autograd.grad(y, leaves, dy)


def assert_within_the_bound(x: Tensor, weight: Tensor, padding, dy: Tensor | None = None) -> None:
    """Output and gradients of Winograd's algorithm, all within the theory's bound of float64's."""
    outputs, channels = weight.shape[:2]
    (top, bottom), (left, right) = padding
    bias = torch.randn(outputs, requires_grad=True)
    x, weight = (tensor.detach().requires_grad_() for tensor in (x, weight))
    y = ops.conv2d(x, weight, bias, padding=padding, algorithm="winograd")
    exact_leaves = tuple(t.detach().double().requires_grad_() for t in (x, weight, bias))
    padded = F.pad(exact_leaves[0], (left, right, top, bottom))
    exact = F.conv2d(padded, exact_leaves[1], exact_leaves[2])
    if dy is None:
        dy = torch.randn_like(y)
    got = (y, *gradients(y, (x, weight, bias), dy))
    truth = (exact, *gradients(exact, exact_leaves, dy.double()))

    tiles = dy.shape[0] * -(-dy.shape[2] // 4) * -(-dy.shape[3] // 4)
    positions = dy.numel() // outputs
    bounds = (
        winograd_error_bound(4, channels, largest(x), largest(weight)) + 1e-6 * largest(bias),
        winograd_error_bound(4, outputs, largest(dy), largest(weight)),
        winograd_error_bound(3, tiles, largest(x), largest(dy), kernel_size=4),
        gamma(positions) * positions * largest(dy),
    )
    for name, ours, expected, bound in zip(
        ("output", "dx", "dweight", "dbias"), got, truth, bounds, strict=True
    ):
        assert ours.shape == expected.shape, name
        assert (ours.double() - expected).abs().max() <= bound, name


sides = st.integers(1, 14)
amounts = st.integers(0, 4)


@given(
    batch=st.integers(1, 3),
    channels=st.tuples(st.integers(1, 70), st.integers(1, 70)),
    size=st.tuples(sides, sides),
    padding=st.tuples(st.tuples(amounts, amounts), st.tuples(amounts, amounts)),
    layout=st.sampled_from(sorted(LAYOUTS)),
    weight_layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_within_the_bound(batch, channels, size, padding, layout, weight_layout):
    (top, bottom), (left, right) = padding
    if size[0] + top + bottom < 3 or size[1] + left + right < 3:
        padding = ((1, 1), (1, 1))
    torch.manual_seed(1)
    x = torch.randn(batch, channels[0], *size).to(memory_format=LAYOUTS[layout])
    weight = torch.randn(channels[1], channels[0], 3, 3).to(memory_format=LAYOUTS[weight_layout])
    assert_within_the_bound(x, weight, padding)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_typical_error_is_far_below_the_bound(layout):
    """What a user sees: 64 channels of normal values, within 1e-5 of the largest output."""
    x = torch.randn(2, 64, 28, 28).to(memory_format=LAYOUTS[layout])
    weight = torch.randn(64, 64, 3, 3)
    y = ops.conv2d(x, weight, padding=1, algorithm="winograd")
    exact = F.conv2d(x.double(), weight.double(), padding=1)
    assert (y.double() - exact).abs().max() <= 1e-5 * exact.abs().max()


@pytest.mark.parametrize("spread", [1e3, 1e6])
def test_large_dynamic_range(spread):
    """Values that differ by orders of magnitude within a tile cost the digits the bound says."""
    x = torch.randn(2, 20, 16, 16) * torch.rand(2, 20, 16, 16).pow(4) * spread
    x[..., 5, 5] = spread
    weight = torch.randn(24, 20, 3, 3) * 10.0 ** torch.randint(-4, 3, (24, 20, 3, 3))
    assert_within_the_bound(x, weight, ((1, 1), (1, 1)))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.randn(2, 6, 20, 30)[:, ::2, 1:, ::3],
        lambda: torch.randn(1, 3, 1, 8).expand(2, 3, 5, 8),
        lambda: torch.randn(500).as_strided((2, 3, 5, 5), (20, 9, 5, 1)),
        lambda: torch.randn(2 * 3 * 25 + 1)[1:].view(2, 3, 5, 5),
        lambda: torch.randn(3, 2, 5, 5).transpose(0, 1),
        lambda: torch.randn(2, 3, 5, 5, dtype=torch.complex64).conj().imag,
    ],
    ids=["sliced", "expanded", "overlapping", "misaligned", "transposed", "negative bit"],
)
def test_any_memory(make):
    assert_within_the_bound(make(), torch.randn(4, 3, 3, 3), ((1, 1), (0, 2)))
    assert_within_the_bound(torch.randn(2, 3, 6, 6), make()[..., :3, :3][:, :3], ((1, 1), (1, 1)))


def test_expanded_gradient():
    x, weight = torch.randn(2, 5, 6, 6), torch.randn(4, 5, 3, 3)
    dy = torch.ones(()).expand(2, 4, 6, 6)
    assert_within_the_bound(x, weight, ((1, 1), (1, 1)), dy)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_output_and_gradients_keep_the_layout(layout):
    form = LAYOUTS[layout]
    x = torch.randn(2, 5, 6, 6).to(memory_format=form).requires_grad_()
    weight = torch.randn(4, 5, 3, 3).to(memory_format=form).requires_grad_()
    y = ops.conv2d(x, weight, padding=1, algorithm="winograd")
    dx, dweight = gradients(y, (x, weight), torch.randn(2, 4, 6, 6))
    for tensor in (y, dx, dweight):
        assert tensor.is_contiguous(memory_format=form)


def test_one_image_without_a_batch():
    x, weight = torch.randn(5, 6, 7), torch.randn(4, 5, 3, 3)
    y = ops.conv2d(x, weight, algorithm="winograd")
    torch.testing.assert_close(y, F.conv2d(x, weight), rtol=1e-4, atol=1e-4)


def test_not_finite_stays_not_finite():
    x = torch.randn(1, 4, 12, 12)
    x[0, 1, 5, 5] = float("nan")
    weight = torch.randn(3, 4, 3, 3)
    ours = torch.isnan(ops.conv2d(x, weight, padding=1, algorithm="winograd"))
    assert (ours | ~torch.isnan(F.conv2d(x, weight, padding=1))).all()
    assert not ours[..., 8:, 8:].any()  # tiles that do not see it


@pytest.mark.parametrize("needs", [(True, False), (False, True)])
def test_the_one_gradient_that_is_asked_for(needs):
    x = torch.randn(2, 5, 6, 6, requires_grad=needs[0])
    weight = torch.randn(4, 5, 3, 3, requires_grad=needs[1])
    ops.conv2d(x, weight, padding=1, algorithm="winograd").sum().backward()
    assert (x.grad is not None, weight.grad is not None) == needs


def test_function_transforms_take_pytorchs_route():
    x, weight = torch.randn(2, 2, 3, 8, 8), torch.randn(4, 3, 3, 3)

    def convolve(x):
        return ops.conv2d(x, weight, padding=1, algorithm="winograd")

    torch.testing.assert_close(
        torch.vmap(convolve)(x), torch.stack([*map(convolve, x)]), rtol=1e-3, atol=1e-4
    )
    _, tangent = torch.func.jvp(convolve, (x[0],), (x[1],))
    torch.testing.assert_close(tangent, convolve(x[1]), rtol=1e-3, atol=1e-4)


def test_autocast_takes_pytorchs_route():
    x, weight = torch.randn(1, 3, 8, 8), torch.randn(4, 3, 3, 3)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ops.conv2d(x, weight, algorithm="winograd").dtype is torch.bfloat16


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads(threads):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        assert_within_the_bound(
            torch.randn(3, 20, 33, 30), torch.randn(24, 20, 3, 3), ((1, 1), (1, 1))
        )
    finally:
        torch.set_num_threads(before)


def test_python_threads_share_no_scratch():
    x, weight = torch.randn(4, 32, 20, 20), torch.randn(32, 32, 3, 3)
    expected = ops.conv2d(x, weight, algorithm="winograd")
    results: list[Tensor | None] = [None] * 4

    def work(index):
        for _ in range(5):
            results[index] = ops.conv2d(x, weight, algorithm="winograd")

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result in results:
        assert torch.equal(result, expected)


# ---- the choice ---------------------------------------------------------------------------------


def test_strict_numerics_rule_winograd_out():
    x, weight = torch.randn(4, 32, 16, 16), torch.randn(32, 32, 3, 3)
    set_numerics("strict")
    try:
        with pytest.raises(ValueError, match="ruled out by set_numerics"):
            ops.conv2d(x, weight, algorithm="winograd")
    finally:
        set_numerics("fast")
    with pytest.raises(ValueError, match="numerics"):
        set_numerics("exact")


@pytest.mark.parametrize(
    ("arguments", "kernel", "named"),
    [
        ({"stride": 3}, 3, "stride"),
        ({"stride": (1, 2)}, 3, "stride"),
        ({"stride": 2}, 5, "stride"),
        ({"dilation": 2}, 3, "dilation"),
        ({"groups": 2}, 3, "groups"),
        ({}, 7, "kernel_size"),
    ],
)
def test_winograd_says_what_it_cannot_do(arguments, kernel, named):
    weight = torch.randn(4, 4 // arguments.get("groups", 1), kernel, kernel)
    with pytest.raises(ValueError, match=f"algorithm.*{named} must be"):
        ops.conv2d(torch.randn(1, 4, 9, 9), weight, algorithm="winograd", **arguments)
    with pytest.raises(ValueError, match="algorithm"):
        ops.conv2d(torch.randn(1, 4, 9, 9), weight, algorithm="strassen", **arguments)


STRIDED_POINTWISE = """
import torch
from lamina import ops
torch.manual_seed(0)
for channels in (1, 4, 7):
    for sides in ((0, 0, 0, 0), (0, 1, 1, 0)):
        top, bottom, left, right = sides
        padding = ((top, bottom), (left, right))
        x = torch.randn(32, channels, 32, 32).to(memory_format=torch.channels_last)
        weight = torch.randn(8, channels, 1, 1, requires_grad=True)
        exact = weight.detach().double().requires_grad_()
        y = ops.conv2d(x.double(), exact, stride=2, padding=padding)
        dy = torch.randn_like(y)
        (expected,) = torch.autograd.grad(y, exact, dy)

        y = ops.conv2d(x, weight, stride=2, padding=padding, algorithm="onednn")
        (by_autograd,) = torch.autograd.grad(y, weight, dy.float())
        window = ((2, 2), sides, (1, 1), 1, "onednn")
        by_op = torch.ops.lamina.conv2d_weight_gradient(x, dy.float(), weight.detach(), *window)
        for gradient in (by_autograd, by_op):
            error = float((gradient - expected).abs().max() / expected.abs().max())
            assert error < 1e-5, (channels, sides, error)
"""


def test_strided_pointwise_gradients_where_onednn_overruns_its_workspace():
    """PyTorch's own op hangs there with AVX2, or is wrong; hence a process that can be ended."""
    finished = in_a_process(STRIDED_POINTWISE, ONEDNN_MAX_CPU_ISA="AVX2")
    assert finished.returncode == 0, finished.stderr
