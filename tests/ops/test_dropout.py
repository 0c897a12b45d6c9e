"""Dropout: its law, its independence, its repeatability, and what it keeps."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from lamina import ops
from lamina.ops.runtime import native
from tests.ops.judge import LAYOUTS

needs_kernel = pytest.mark.skipif("dropout" not in native.kinds(), reason="no compiler")


def seed_of(key: int, call: int = 0) -> torch.Tensor:
    return torch.tensor([key, call])


def kept(shape, p, seed, **options) -> torch.Tensor:
    return ops.dropout(torch.ones(shape), p, seed=seed, **options) != 0


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.9])
def test_rate(p):
    size = 4_000_000
    dropped = size - int(kept(size, p, seed_of(11)).sum())
    assert stats.binomtest(dropped, size, p).pvalue > 1e-4


def test_rates_beside_0_and_1():
    size = 4_000_000
    assert kept(size, 1e-6, seed_of(15)).all()
    assert stats.binomtest(int(kept(size, 1 - 1e-6, seed_of(15)).sum()), size, 2**-16).pvalue > 1e-4
    assert not kept(size, 1.0, seed_of(15)).any()


@pytest.mark.parametrize("lag", [1, 2, 15, 16, 17, 32, 112, 127, 128, 129, 4096])
def test_positions_are_independent(lag):
    mask = kept(2_000_000, 0.3, seed_of(12)).double() - 0.7
    correlation = float((mask[:-lag] * mask[lag:]).mean()) / (0.3 * 0.7)
    assert abs(correlation) < 5 / (2_000_000 - lag) ** 0.5


@pytest.mark.parametrize("other", [seed_of(13, 1), seed_of(14, 0), seed_of(13, 2**40)])
def test_calls_and_seeds_are_independent(other):
    size = 2_000_000
    a, b = kept(size, 0.5, seed_of(13)), kept(size, 0.5, other)
    table = [[int((a & b).sum()), int((a & ~b).sum())], [int((~a & b).sum()), int((~a & ~b).sum())]]
    assert stats.chi2_contingency(table).pvalue > 1e-4


def test_runs_have_geometric_lengths():
    mask = kept(1_000_000, 0.5, seed_of(15)).int()
    edges = torch.nonzero(mask.diff() != 0).flatten()
    lengths = edges.diff()
    counts = torch.bincount(lengths, minlength=9)[1:9].double()
    expected = len(lengths) * 0.5 ** torch.arange(1, 9, dtype=torch.float64)
    assert float(((counts - expected) ** 2 / expected).sum()) < stats.chi2.ppf(1 - 1e-4, 8)


@pytest.mark.parametrize("noise_shape", [(None, None, 1, 1), (None, 1, 1, 1)])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("size", [3, 64])  # by PyTorch's multiplication, by the kernel
def test_channels_and_samples_are_scaled_as_one(noise_shape, layout, size):
    torch.manual_seed(0)
    x = torch.randn(5, 21, size, size).to(memory_format=LAYOUTS[layout]).requires_grad_()
    x.data[0, 0, 0, 0] = float("nan")
    mask = ops.dropout(torch.ones(5, 21, 1, 1), 0.5, noise_shape=noise_shape, seed=seed_of(21))
    y = ops.dropout(x, 0.5, noise_shape=noise_shape, seed=seed_of(21))
    assert 0 < int((mask == 0).sum()) < mask.numel()
    torch.testing.assert_close(y, x * mask, rtol=0, atol=0, equal_nan=True)
    assert y.stride() == x.stride()
    dy = torch.randn(5, 21, size, size).requires_grad_()
    (dx,) = torch.autograd.grad(y, x, dy, create_graph=True)
    torch.testing.assert_close(dx, dy * mask, rtol=0, atol=0)
    assert torch.equal(torch.autograd.grad(dx.sum(), dy)[0], mask.expand_as(x))
    (dx,) = torch.autograd.grad(
        ops.dropout(x, 0.5, noise_shape=noise_shape, seed=seed_of(21)), x, dy
    )
    torch.testing.assert_close(dx, dy * mask, rtol=0, atol=0)


@needs_kernel
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 140), st.integers(1, 30), st.integers(1, 30))
)
def test_the_mask_does_not_depend_on_layout(shape):
    x = torch.randn(shape)
    planar = ops.dropout(x, 0.4, seed=seed_of(16))
    last = ops.dropout(x.to(memory_format=torch.channels_last), 0.4, seed=seed_of(16))
    assert torch.equal(planar, last)


@needs_kernel
@given(
    shape=st.lists(st.integers(1, 12), min_size=1, max_size=5),
    p=st.floats(0.001, 1),
    key=st.integers(-(2**63), 2**63 - 1),
    call=st.integers(0, 2**40),
)
def test_the_mask_is_the_same_without_kernels(shape, p, key, call):
    by_kernel = ops.dropout(torch.ones(shape), p, seed=seed_of(key, call))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(native, "kernels", None)
        by_torch = ops.dropout(torch.ones(shape), p, seed=seed_of(key, call))
    assert torch.equal(by_torch, by_kernel)


@needs_kernel
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_mask_does_not_depend_on_threads(layout):
    x = torch.randn(4, 33, 50, 50).to(memory_format=LAYOUTS[layout])
    before = torch.get_num_threads()
    try:
        results = []
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(ops.dropout(x, 0.4, seed=seed_of(17)))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


@needs_kernel
def test_the_mask_does_not_depend_on_dtype():
    x = torch.randn(3, 5, 6, 7)
    exact = ops.dropout(x.double(), 0.4, seed=seed_of(18))
    torch.testing.assert_close(ops.dropout(x, 0.4, seed=seed_of(18)).double(), exact)


def test_torchs_generator_repeats_it():
    x = torch.randn(1000)
    torch.manual_seed(5)
    first, second = ops.dropout(x), ops.dropout(x)
    torch.manual_seed(5)
    assert torch.equal(ops.dropout(x), first) and torch.equal(ops.dropout(x), second)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("p", [0.0, 0.3, 1.0])
def test_value_and_gradient_have_the_same_mask(p):
    x = torch.randn(4, 5, 6, 7, requires_grad=True)
    y = ops.dropout(x, p)
    dy = torch.randn_like(y)
    y.backward(dy)
    factor = torch.where(y == 0, torch.zeros(()), torch.tensor(1 / (1 - p) if p < 1 else 0.0))
    torch.testing.assert_close(y, x * factor)
    torch.testing.assert_close(x.grad, dy * factor)


@needs_kernel
def test_nothing_is_saved_but_the_seed():
    saved = []
    x = torch.randn(100, 100, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(
        lambda tensor: saved.append(tensor.nbytes) or tensor, lambda tensor: tensor
    ):
        ops.dropout(x)
    assert saved == [16]


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_finite(value):
    y = ops.dropout(torch.full((1000,), value), 0.5)
    assert torch.isnan(y).any() if value == float("inf") else torch.isnan(y).all()
    assert torch.isnan(ops.dropout(torch.full((10,), float("nan")), 1.0)).all()


def test_double_backward():
    x = torch.randn(50, requires_grad=True)
    y = ops.dropout(x, 0.5, seed=seed_of(19))
    (gradient,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(gradient.sum(), x)
    torch.testing.assert_close(second, 8.0 * (y != 0).float())


def test_noise_shape_is_shared_and_checked():
    x = torch.ones(4, 6, 5, 5)
    y = ops.dropout(x, 0.5, noise_shape=(None, None, 1, 1), seed=seed_of(20))
    assert torch.equal(y, y[:, :, :1, :1].expand_as(y))
    assert set(y.unique().tolist()) == {0.0, 2.0}
    with pytest.raises(ValueError, match=r"noise_shape: must have 1, None or the input's size"):
        ops.dropout(x, 0.5, noise_shape=(4, 3, 1, 1))


def test_drop_path_drops_samples():
    y = ops.drop_path(torch.ones(1000, 2, 3), 0.25, seed=seed_of(21))
    assert torch.equal(y, y[:, :1, :1].expand_as(y))
    assert 0.2 < float((y[:, 0, 0] == 0).float().mean()) < 0.3


def test_inplace_overwrites():
    x = torch.ones(1000)
    assert ops.dropout(x, 0.5, inplace=True) is x
    assert set(x.unique().tolist()) == {0.0, 2.0}


def test_inference_and_integers():
    x = torch.randn(5)
    assert ops.dropout(x, 0.5, training=False) is x
    with pytest.raises(TypeError, match="floating-point"):
        ops.dropout(torch.ones(5, dtype=torch.int64))


@needs_kernel
def test_any_memory():
    wide = torch.randn(4, 6, 10, 10)
    for x in (wide[:, ::2, 1:, ::3], wide[:1].expand(4, 6, 10, 10), wide.transpose(0, 1)):
        assert torch.equal(
            ops.dropout(x, 0.5, seed=seed_of(23)), ops.dropout(x.clone(), 0.5, seed=seed_of(23))
        )
