"""Linear and Flatten against torch.nn's."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina import nn

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
