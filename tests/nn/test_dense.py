"""Linear and Flatten against torch.nn's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.flop_counter import FlopCounterMode

from lamina import nn, ops
from lamina.ops.runtime import native
from lamina.ops.tuning import choice
from tests.ops.judge import assert_as_good_as_torch

from .parity import assert_agrees
from .strategies import dtypes, few


@few
@given(
    st.lists(st.integers(1, 4), max_size=3), st.integers(1, 9), st.integers(1, 9),
    st.booleans(), dtypes,
)  # fmt: skip
def test_linear_agrees_with_torch(rest, in_features, out_features, bias, dtype) -> None:
    theirs = torch.nn.Linear(in_features, out_features, bias, dtype=dtype)
    ours = nn.Linear(in_features, out_features, bias, dtype=dtype)
    ours.load_state_dict(theirs.state_dict())
    assert_agrees(ours, theirs, torch.randn(*rest, in_features, dtype=dtype))


@pytest.fixture
def our_kernel(monkeypatch) -> list[str]:
    """The passes that ran in it; none is left to PyTorch."""
    ran: list[str] = []

    def recorded(problem) -> bool:
        ran.append(problem.pass_)
        return True

    monkeypatch.setattr(choice, "beats_matrix_product", recorded)
    monkeypatch.setattr(choice, "leaves_dense_to_pytorch", lambda *_: False)
    return ran


needs_kernels = pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")


@needs_kernels
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 16, 17, 64, 65, 150])
@pytest.mark.parametrize(("features", "results"), [(512, 1000), (521, 1003), (1030, 256), (9, 4)])
def test_our_kernel_is_as_exact_as_torchs(our_kernel, rows, features, results) -> None:
    torch.manual_seed(0)
    leaves = torch.randn(rows, features), torch.randn(results, features), torch.randn(results)
    dy = torch.randn(rows, results)

    def with_gradients(function, dtype):
        inputs = [tensor.to(dtype).requires_grad_() for tensor in leaves]
        y = function(*inputs)
        return y.detach(), *torch.autograd.grad(y, inputs, dy.to(dtype))

    ours = with_gradients(ops.linear, torch.float32)
    assert our_kernel == ["forward", "input_gradient", "weight_gradient"]
    torchs = with_gradients(F.linear, torch.float32)
    truth = with_gradients(F.linear, torch.float64)
    for name, *three in zip(("y", "dx", "dweight", "dbias"), ours, torchs, truth, strict=True):
        assert_as_good_as_torch(*three, name)


@needs_kernels
def test_our_kernel_takes_any_strides(our_kernel) -> None:
    torch.manual_seed(0)
    layer = nn.Linear(64, 96)
    x = torch.randn(128, 6, 3).transpose(0, 1)[..., 1].requires_grad_()  # rows of every third
    x = x[:, ::2]
    torch.testing.assert_close(layer(x), F.linear(x, layer.weight, layer.bias))
    for dy in (torch.ones(()).expand(6, 96), torch.randn(96, 6).t()):
        ours = torch.autograd.grad(layer(x), [x, layer.weight], dy)
        theirs = torch.autograd.grad(F.linear(x, layer.weight, layer.bias), [x, layer.weight], dy)
        for mine, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(mine, other)


@needs_kernels
def test_our_kernel_passes_nan_and_infinity_on(our_kernel) -> None:
    x, weight = torch.randn(5, 40), torch.randn(50, 40)
    x[1, 3], x[2, 39], weight[7, 0] = torch.nan, torch.inf, torch.nan
    expected = F.linear(x.double(), weight.double()).float()
    torch.testing.assert_close(ops.linear(x, weight), expected, equal_nan=True)


@needs_kernels
def test_our_kernel_can_be_differentiated_twice(our_kernel) -> None:
    leaves = [torch.randn(s, requires_grad=True) for s in ((8, 33), (34, 33), (34,))]

    def second(function):
        gradients = torch.autograd.grad(function(*leaves).square().sum(), leaves, create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in gradients), leaves)

    for mine, theirs in zip(second(ops.linear), second(F.linear), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=0, atol=1e-5 * float(theirs.abs().max()))


@needs_kernels
def test_our_kernel_counts_as_many_flops_as_pytorchs_product(our_kernel) -> None:
    x, weight = torch.randn(5, 33, requires_grad=True), torch.randn(34, 33, requires_grad=True)
    with FlopCounterMode(display=False) as counter:
        ops.linear(x, weight).sum().backward()
    assert our_kernel == ["forward", "input_gradient", "weight_gradient"]
    assert counter.get_total_flops() == 3 * 2 * 5 * 33 * 34


def test_no_input_features_give_the_bias() -> None:
    with pytest.warns(UserWarning, match="zero-element"):
        layer = nn.Linear(0, 4)
    torch.testing.assert_close(layer(torch.zeros(2, 0)), layer.bias.expand(2, 4))


def test_linear_acts_on_the_last_axis_of_an_image() -> None:
    assert nn.Linear(7, 2)(torch.zeros(1, 3, 5, 7)).shape == (1, 3, 5, 2)


@pytest.mark.parametrize("axes", [(1, -1), (0, 1), (2, 3), (-2, -1)])
def test_flatten_agrees_with_torch(axes) -> None:
    x = torch.randn(2, 3, 4, 5)
    layer = nn.Flatten(*axes)
    assert torch.equal(layer(x), torch.nn.Flatten(*axes)(x))
    assert layer(x).shape == layer.output_shape(x.shape)


def test_hwc_order_lets_a_keras_dense_weight_in_unpermuted() -> None:
    x = torch.randn(2, 3, 4, 5)
    keras_rows = torch.randn(4 * 5 * 3, 6)
    expected = x.permute(0, 2, 3, 1).reshape(2, -1) @ keras_rows
    torch.testing.assert_close(nn.Flatten(order="hwc")(x) @ keras_rows, expected)


def test_hwc_order_of_a_channels_last_image_is_a_view() -> None:
    x = torch.randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last)
    assert nn.Flatten(order="hwc")(x).data_ptr() == x.data_ptr()
