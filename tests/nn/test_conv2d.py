"""Conv2d against torch.nn.Conv2d, and TensorFlow's padding against padding by hand."""

from __future__ import annotations

import copy
import math
import pickle

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from lamina import nn, ops

from .parity import assert_agrees
from .strategies import few, images, pairs, same_sides, sides, small


@st.composite
def arguments(draw):
    groups = draw(st.integers(1, 2))
    return {
        "in_channels": groups * draw(small),
        "out_channels": groups * draw(small),
        "kernel_size": draw(pairs),
        "stride": draw(pairs),
        "padding": draw(st.one_of(st.integers(0, 2), sides, st.just("valid"))),
        "dilation": draw(pairs),
        "groups": groups,
        "bias": draw(st.booleans()),
        "padding_mode": draw(st.sampled_from(ops.PADDING_MODES)),
    }


@few
@given(arguments(), st.data())
def test_agrees_with_torch(arguments, data) -> None:
    x = data.draw(images(arguments["in_channels"]))
    theirs = torch.nn.Conv2d(**arguments, dtype=x.dtype)
    ours = nn.Conv2d(**arguments, dtype=x.dtype)
    ours.load_state_dict(theirs.state_dict())
    assert_agrees(ours, theirs, x)


@few
@given(pairs, pairs, st.data())
def test_same_padding_is_tensorflows(kernel_size, stride, data) -> None:
    x = data.draw(images(2))
    layer = nn.Conv2d(2, 3, kernel_size, stride, padding="same", dtype=x.dtype)
    (top, bottom), (left, right) = (
        same_sides(size, kernel, step)
        for size, kernel, step in zip(x.shape[-2:], layer.kernel_size, layer.stride, strict=True)
    )
    padded = F.pad(x, (left, right, top, bottom))
    expected = F.conv2d(padded, layer.weight, layer.bias, layer.stride)
    torch.testing.assert_close(layer(x), expected)
    assert layer(x).shape[-2:] == tuple(
        math.ceil(size / step) for size, step in zip(x.shape[-2:], layer.stride, strict=True)
    )


@few
@given(sides, sides, st.sampled_from(ops.PADDING_MODES), st.data())
def test_each_side_has_its_padding(rows, columns, mode, data) -> None:
    x = data.draw(images(2, batched=True))
    layer = nn.Conv2d(2, 3, 3, padding=(rows, columns), padding_mode=mode, dtype=x.dtype)
    padded = F.pad(x, (*columns, *rows), mode="constant" if mode == "zeros" else mode)
    torch.testing.assert_close(layer(x), F.conv2d(padded, layer.weight, layer.bias))


def test_an_even_size_shifts_same_by_a_pixel_from_padding_1() -> None:
    x = torch.arange(36.0).reshape(1, 1, 6, 6)
    same = nn.Conv2d(1, 1, 3, stride=2, padding="same", bias=False)
    one = nn.Conv2d(1, 1, 3, stride=2, padding=1, bias=False)
    one.load_state_dict(same.state_dict())
    assert same(x).shape == one(x).shape
    assert not torch.allclose(same(x), one(x))


@pytest.mark.parametrize("groups", [1, 4])
def test_initial_law_follows_the_fan_of_a_group(groups: int) -> None:
    torch.manual_seed(0)
    layer = nn.Conv2d(64, 64, 3, groups=groups)
    bound = 1 / math.sqrt(64 // groups * 9)
    for parameter in (layer.weight, layer.bias):
        assert float(parameter.detach().abs().max()) <= bound
    assert float(layer.weight.detach().abs().max()) > 0.99 * bound
    assert float(layer.weight.detach().var()) == pytest.approx(bound**2 / 3, rel=0.05)


def test_a_subclass_may_make_its_weight_anew() -> None:
    class Standardized(nn.Conv2d):
        def forward(self, image):
            weight = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return self._conv_forward(image, weight, self.bias)

    layer = Standardized(2, 3, 3, padding="same", stride=2, bias=False)
    y = layer(torch.ones(1, 2, 9, 9))
    torch.testing.assert_close(y[..., 2, 2], torch.zeros(1, 3), atol=1e-5, rtol=0)


def test_pointwise_is_a_matrix_product_over_the_channels() -> None:
    layer, x = nn.PointwiseConv2d(3, 5, stride=2), torch.randn(2, 3, 5, 4)
    expected = torch.einsum("nchw,oc->nohw", x[:, :, ::2, ::2], layer.weight[:, :, 0, 0])
    torch.testing.assert_close(layer(x), expected + layer.bias[:, None, None])
    assert repr(layer) == "PointwiseConv2d(3, 5, stride=(2, 2))"


def test_torchs_fusion_of_convolution_and_batch_norm_takes_ours() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)).eval()
    fused = torch.nn.utils.fuse_conv_bn_eval(model[0], model[1])
    x = torch.randn(1, 3, 5, 5)
    torch.testing.assert_close(fused(x), model(x))


@pytest.mark.parametrize("algorithm", ["direct", "im2col", "winograd", "fft", "onednn"])
def test_every_algorithm_can_be_asked_for(algorithm: str) -> None:
    layer = nn.Conv2d(3, 4, 3, padding=1, algorithm=algorithm)
    plain, x = nn.Conv2d(3, 4, 3, padding=1), torch.randn(2, 3, 9, 8)
    plain.load_state_dict(layer.state_dict())
    torch.testing.assert_close(layer(x), plain(x), rtol=1e-4, atol=1e-5)
    assert repr(layer) == f"Conv2d(3, 4, kernel_size=(3, 3), stride=(1, 1), padding=(1, 1), algorithm={algorithm!r})"  # fmt: skip # noqa: E501
    assert list(layer.state_dict()) == ["weight", "bias"]
    for again in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert again.algorithm == algorithm
        assert torch.equal(again(x), layer(x))


def test_the_algorithm_reaches_the_op(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(ops, "conv2d", lambda x, *_, algorithm: asked.append(algorithm) or x)
    for layer in (nn.Conv2d(2, 2, 1), nn.PointwiseConv2d(2, 2, algorithm="direct")):
        layer(torch.zeros(1, 2, 3, 3))
    assert asked == ["auto", "direct"]


def test_a_layer_that_was_pickled_without_an_algorithm() -> None:
    layer = nn.Conv2d(2, 3, 3)
    del layer.__dict__["algorithm"]
    assert pickle.loads(pickle.dumps(layer)).algorithm == "auto"
    assert layer(torch.zeros(1, 2, 5, 5)).shape == (1, 3, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"algorithm": "strassen"}, "algorithm must be one of 'auto', 'direct'"),
        ({"algorithm": "winograd", "stride": 3}, 'for "winograd" stride must be'),
        ({"algorithm": "winograd", "kernel_size": 7}, 'for "winograd" kernel_size must be'),
        ({"algorithm": "fft", "stride": 2}, 'for "fft" stride must be'),
    ],
)
def test_an_algorithm_that_does_not_serve_is_refused_at_once(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        nn.Conv2d(**{"in_channels": 2, "out_channels": 2, "kernel_size": 3, **arguments})


@pytest.mark.parametrize("argument", ["stride", "padding", "dilation"])
def test_a_tuple_of_one_is_for_both_axes(argument: str) -> None:
    x = torch.randn(2, 3, 8, 9)
    torch.manual_seed(0)
    ours = nn.Conv2d(3, 4, 3, **{argument: (2,)})
    torch.manual_seed(0)
    theirs = torch.nn.Conv2d(3, 4, 3, **{argument: (2,)})
    torch.testing.assert_close(ours(x), theirs(x))
