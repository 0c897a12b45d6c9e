"""Pooling's kernels through all their routes."""

import os
import subprocess
import sys
import threading

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lamina import ops
from lamina.ops.runtime import native
from lamina.theory import pool2d as theory
from tests.ops.judge import LAYOUTS, assert_as_good_as_torch

pytestmark = pytest.mark.skipif("pool2d" not in native.kinds(), reason="no compiler")

POOLS = {
    "max": (lambda x: ops.max_pool2d(x, 3, 2, 1), lambda x: F.max_pool2d(x, 3, 2, 1)),
    "average": (lambda x: ops.avg_pool2d(x, 3, 2, 1), lambda x: F.avg_pool2d(x, 3, 2, 1)),
    "global average": (ops.global_avg_pool2d, lambda x: x.mean((-2, -1), keepdim=True)),
    "global max": (ops.global_max_pool2d, lambda x: x.amax((-2, -1), keepdim=True)),
    "equal bins": (
        lambda x: ops.adaptive_avg_pool2d(x, (x.shape[2] // 5, 1)),
        lambda x: F.adaptive_avg_pool2d(x, (x.shape[2] // 5, 1)),
    ),
}
ANY_POOL = pytest.mark.parametrize("ours, torchs", POOLS.values(), ids=POOLS)


def output_and_gradient(pool, x: Tensor, dy: Tensor) -> tuple[Tensor, Tensor]:
    leaf = x.detach().requires_grad_()
    y = pool(leaf)
    return y.detach(), torch.autograd.grad(y, leaf, dy)[0]


def compare(ours, torchs, x: Tensor) -> None:
    dy = torch.randn(ours(x).shape)
    truth = output_and_gradient(torchs, x.double(), dy.double())
    for name, got, peer, exact in zip(
        ("output", "dx"),
        output_and_gradient(ours, x, dy),
        output_and_gradient(torchs, x, dy),
        truth,
        strict=True,
    ):
        assert got.shape == exact.shape
        assert_as_good_as_torch(got, peer, exact, name)


@st.composite
def windows(draw, dilation: st.SearchStrategy):
    """Kernel size, stride, padding and dilation of a window that fits an image of 9 pixels."""
    spacing = draw(dilation)
    kernel = draw(st.tuples(*[st.integers(1, 8 // spacing)] * 2))
    stride = draw(st.tuples(*[st.integers(1, 4)] * 2))
    padding = tuple(draw(st.integers(0, taps // 2)) for taps in kernel)
    return kernel, stride, padding, spacing


images = st.builds(
    lambda shape, layout: torch.randn(shape).to(memory_format=LAYOUTS[layout]),
    st.tuples(st.integers(1, 3), st.integers(1, 70), st.integers(9, 20), st.integers(9, 40)),
    st.sampled_from(sorted(LAYOUTS)),
)


@given(images, windows(st.integers(1, 3)), st.booleans())
def test_max_agrees_with_float64(x, window, ceil_mode):
    compare(
        lambda x: ops.max_pool2d(x, *window, ceil_mode),
        lambda x: F.max_pool2d(x, *window, ceil_mode),
        x,
    )


@given(images, windows(st.just(1)), st.booleans(), st.booleans(), st.sampled_from([None, 5]))
def test_average_agrees_with_float64(x, window, ceil_mode, count_padding, divisor):
    options = (*window[:3], ceil_mode, count_padding, divisor)
    compare(lambda x: ops.avg_pool2d(x, *options), lambda x: F.avg_pool2d(x, *options), x)


@given(images, st.sampled_from(["global average", "global max"]))
def test_global_agrees_with_float64(x, pool):
    compare(*POOLS[pool], x)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("shape", [(2, 64, 56, 56), (1, 3, 112, 113), (8, 70, 7, 7)], ids=str)
@ANY_POOL
def test_images_of_networks(ours, torchs, shape, layout):
    compare(ours, torchs, torch.randn(shape).to(memory_format=LAYOUTS[layout]))


@pytest.mark.parametrize("pool", [ops.max_pool2d, ops.avg_pool2d])
def test_outputs_past_the_caches(pool):
    # 33 MB of rows of 45, stored past the caches from a buffer: no row begins where a register may.
    x = torch.randn(64, 64, 90, 90, requires_grad=True)
    y = pool(x, 2)
    windows = x.detach().unflatten(3, (45, 2)).unflatten(2, (45, 2))
    truth = windows.amax((3, 5)) if pool is ops.max_pool2d else windows.mean((3, 5))
    torch.testing.assert_close(y.detach(), truth, rtol=0, atol=1e-6)
    y.backward(torch.ones_like(y))
    shares = x.grad.unflatten(3, (45, 2)).unflatten(2, (45, 2))
    torch.testing.assert_close(shares.sum((3, 5)), torch.ones_like(truth), rtol=0, atol=0)
    torch.testing.assert_close((shares * windows).sum((3, 5)), truth, rtol=0, atol=1e-6)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_mean_of_many_pixels_keeps_its_digits(layout):
    x = (torch.rand(1, 20, 300, 300) + 100).to(memory_format=LAYOUTS[layout])
    compare(*POOLS["global average"], x)


@given(
    st.tuples(st.integers(1, 2), st.integers(1, 40), st.integers(4, 12), st.integers(4, 40)),
    st.sampled_from(sorted(LAYOUTS)),
    windows(st.just(1)).filter(lambda w: max(w[0]) <= 4),
)
def test_ties_and_what_is_not_finite_go_pytorchs_way(shape, layout, window):
    values = torch.tensor([0.0, 1.0, -torch.inf, -torch.inf, -torch.inf, torch.inf, torch.nan])
    x = values[torch.randint(len(values), shape)].to(memory_format=LAYOUTS[layout])
    dy = torch.randint(1, 9, F.max_pool2d(x, *window).shape).float()  # sums are exact
    ours = output_and_gradient(lambda x: ops.max_pool2d(x, *window), x, dy)
    torchs = output_and_gradient(lambda x: F.max_pool2d(x, *window), x, dy)
    torch.testing.assert_close(ours, torchs, rtol=0, atol=0, equal_nan=True)
    _, indices = ops.max_pool2d(x, *window, return_indices=True)
    assert torch.equal(indices, F.max_pool2d(x, *window, return_indices=True)[1])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("layout", LAYOUTS)
@ANY_POOL
def test_not_finite(ours, torchs, layout, value):
    x = torch.randn(2, 20, 15, 15).to(memory_format=LAYOUTS[layout])
    x[1, 3, 4, 5] = value
    x[0, 7] = value
    dy = torch.randn(ours(x).shape)
    for got, expected in zip(
        output_and_gradient(ours, x, dy), output_and_gradient(torchs, x, dy), strict=True
    ):
        torch.testing.assert_close(got, expected, equal_nan=True)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_window_beside_a_small_image(layout):
    """Dilated taps at −2 and 2 of a single pixel at 0: PyTorch crashes or writes elsewhere."""
    x = torch.randn(1, 40, 1, 1).to(memory_format=LAYOUTS[layout]).requires_grad_()
    y = ops.max_pool2d(x, 2, 1, 2, 4)
    assert bool((y == -torch.inf).all())
    y.sum().backward()
    assert torch.count_nonzero(x.grad) == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.randn(4, 6, 20, 30)[:, ::2, 1::2, ::3],
        lambda: torch.randn(1, 3, 1, 8).expand(4, 3, 9, 8),
        lambda: torch.randn(500).as_strided((4, 3, 5, 5), (20, 9, 5, 1)),
        lambda: torch.randn(4 * 40 * 25 + 1)[1:].view(4, 5, 5, 40).permute(0, 3, 1, 2),
        lambda: torch.randn(3, 4, 5, 5).transpose(0, 1),
        lambda: torch.randn(4, 3, 5, 5, dtype=torch.complex64).conj().imag,
        lambda: torch.randn(4, 1, 6, 5).to(memory_format=torch.channels_last),
        lambda: torch.randn(5, 12, 11),
    ],
    ids=[
        *("sliced", "expanded", "overlapping", "misaligned", "transposed", "negative bit"),
        *("one channel", "one image"),
    ],
)
@pytest.mark.parametrize("pool", ["max", "average", "global average", "global max"])
def test_any_memory(make, pool):
    compare(*POOLS[pool], make())


@ANY_POOL
def test_expanded_and_foreign_layout_of_the_gradient(ours, torchs):
    x = torch.randn(4, 40, 10, 10).to(memory_format=torch.channels_last).requires_grad_()
    y = ours(x)
    planar = torch.randn(y.shape)
    gradients = (torch.ones(()).expand(y.shape), planar, -planar)
    for dy in gradients:
        got = torch.autograd.grad(y, x, dy, retain_graph=True)[0]
        torch.testing.assert_close(got, torch.autograd.grad(torchs(x), x, dy)[0])


@pytest.mark.parametrize("layout", LAYOUTS)
@ANY_POOL
def test_double_backward(ours, torchs, layout):
    x = torch.randn(2, 20, 10, 15).to(memory_format=LAYOUTS[layout]).requires_grad_()

    def second(pool, x):
        (gradient,) = torch.autograd.grad(pool(x).pow(3).sum(), x, create_graph=True)
        (second,) = torch.autograd.grad(gradient.pow(3).sum(), x, create_graph=True)
        return second, torch.autograd.grad(second.square().sum(), x)[0]

    exact = second(torchs, x.double())
    for got, peer, truth in zip(second(ours, x), second(torchs, x), exact, strict=True):
        assert_as_good_as_torch(got, peer, truth, "higher derivative", rounding=32)


def saved_bytes(pool, x: Tensor) -> int:
    """Beside the input itself."""
    saved = {}

    def pack(tensor):
        if tensor.data_ptr() != x.data_ptr():
            saved[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        y = pool(x)
    del y
    return sum(saved.values())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_saved_for_backward(layout):
    x = torch.randn(2, 8, 10, 10).to(memory_format=LAYOUTS[layout]).requires_grad_()
    for kernel, stride in ((2, 2), (3, 2), ((5, 10), 1)):
        expected = theory.cost(x.shape, kernel, stride, operation="max").saved_bytes
        assert saved_bytes(lambda x, k=kernel, s=stride: ops.max_pool2d(x, k, s), x) == expected
    expected = theory.adaptive_cost(x.shape, 5, operation="max").saved_bytes
    assert saved_bytes(lambda x: ops.adaptive_max_pool2d(x, 5), x) == expected
    assert saved_bytes(lambda x: ops.avg_pool2d(x, 3), x) == 0
    assert saved_bytes(ops.global_avg_pool2d, x) == 0
    beside_the_input = theory.global_cost(x.shape, operation="max").saved_bytes - x.nbytes
    assert saved_bytes(ops.global_max_pool2d, x) == beside_the_input


def test_an_input_changed_in_place():
    """A maximum keeps places and a mean nothing: the gradient is still that of the old input."""
    x = torch.randn(2, 20, 9, 9)
    for pool in (POOLS["max"][0], POOLS["average"][0]):
        leaf = x.clone().requires_grad_()
        inner = leaf * 1.0
        y = pool(inner)
        inner.neg_()
        y.sum().backward()
        expected = x.clone().requires_grad_()
        pool(expected).sum().backward()
        assert torch.equal(leaf.grad, expected.grad)
    inner = x.clone().requires_grad_() * 1.0
    y = ops.global_max_pool2d(inner)
    inner.neg_()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


@ANY_POOL
def test_compiled_whole(ours, torchs):
    x = torch.randn(2, 20, 10, 15)
    torch._dynamo.reset()
    compiled = torch.compile(ours, fullgraph=True, backend="aot_eager")
    compare(compiled, torchs, x)


def test_function_transforms_take_pytorchs_route():
    x = torch.randn(2, 2, 3, 8, 8)
    for ours, torchs in POOLS.values():
        torch.testing.assert_close(torch.vmap(ours)(x), torch.stack([torchs(i) for i in x]))
        _, tangent = torch.func.jvp(ours, (x[0],), (torch.ones_like(x[0]),))
        _, expected = torch.func.jvp(torchs, (x[0],), (torch.ones_like(x[0]),))
        torch.testing.assert_close(tangent, expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_take_pytorchs_route(dtype):
    x = torch.randn(2, 3, 10, 10, dtype=dtype)
    for ours, torchs in POOLS.values():
        torch.testing.assert_close(ours(x), torchs(x))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_number_of_threads_changes_nothing(layout):
    x = torch.randn(8, 40, 40, 40).to(memory_format=LAYOUTS[layout])
    before = torch.get_num_threads()
    try:
        for pool, _ in POOLS.values():
            dy = torch.randn(pool(x).shape)
            results = []
            for threads in (1, 2, 5):
                torch.set_num_threads(threads)
                results.append(output_and_gradient(pool, x, dy))
            for other in results[1:]:
                assert all(map(torch.equal, results[0], other))
    finally:
        torch.set_num_threads(before)


def test_python_threads_share_an_op():
    x = torch.randn(8, 40, 30, 30)
    pools = [pool for pool, _ in POOLS.values()]
    expected = [pool(x) for pool in pools]
    results = [None] * 4

    def work(index):
        results[index] = [pool(x) for pool in pools]

    workers = [threading.Thread(target=work, args=(index,)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for result in results:
        assert all(map(torch.equal, result, expected))


def test_zero_batch():
    for pool, torchs in POOLS.values():
        x = torch.randn(0, 3, 10, 10, requires_grad=True)
        y = pool(x)
        assert y.shape == torchs(x).shape
        y.sum().backward()
        assert x.grad.shape == x.shape


PROGRAM = """
import sys, torch
from lamina.ops.runtime import native
from tests.ops.test_pool2d import POOLS, compare
native.SMALL = native.SMALL_CHANNELS_LAST = 0
for shape in ((2, 3, 15, 17), (2, 33, 10, 12), (1, 64, 20, 6)):
    for layout in (torch.contiguous_format, torch.channels_last):
        for ours, torchs in POOLS.values():
            compare(ours, torchs, torch.randn(shape).to(memory_format=layout))
sys.exit(native.instruction_set() != sys.argv[1])
"""


@pytest.mark.parametrize("isa", [isa for isa, runs in native.instruction_sets().items() if runs])
def test_every_instruction_set(isa, request):
    environment = os.environ | {
        "LAMINA_ISA": isa,
        "PYTHONPATH": os.pathsep.join([str(request.config.rootpath), *filter(None, sys.path)]),
    }
    subprocess.run([sys.executable, "-c", PROGRAM, isa], env=environment, check=True)
