"""Linear and Flatten against torch.nn's."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lamina import nn, ops
from lamina.ops import conv2d_choice, conv2d_native, native
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


@pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")
@pytest.mark.parametrize("rows", [16, 17, 64])
def test_few_rows_in_our_kernel_are_as_exact_as_torchs(monkeypatch, rows) -> None:
    ran, run = [], conv2d_native.forward

    def recorded(algorithm, *rest, **more):
        ran.append(algorithm)
        return run(algorithm, *rest, **more)

    monkeypatch.setattr(conv2d_native, "forward", recorded)
    monkeypatch.setattr(conv2d_choice, "beats_matrix_product", lambda *_: True)
    torch.manual_seed(0)
    leaves = torch.randn(rows, 512), torch.randn(1000, 512), torch.randn(1000)
    dy = torch.randn(rows, 1000)

    def with_gradients(function, dtype):
        inputs = [tensor.to(dtype).requires_grad_() for tensor in leaves]
        y = function(*inputs)
        return y.detach(), *torch.autograd.grad(y, inputs, dy.to(dtype))

    ours = with_gradients(ops.linear, torch.float32)
    assert ran == ["direct"]
    torchs = with_gradients(F.linear, torch.float32)
    truth = with_gradients(F.linear, torch.float64)
    for name, *three in zip(("y", "dx", "dweight", "dbias"), ours, torchs, truth, strict=True):
        assert_as_good_as_torch(*three, name)


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
