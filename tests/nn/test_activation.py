"""Activations against torch.nn's, in place too, and against their formulas."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina import nn, ops

from .parity import assert_agrees
from .strategies import few, images

LAYERS = [
    ("ReLU", ()), ("ReLU6", ()), ("LeakyReLU", (0.3,)), ("ELU", (0.7,)), ("SiLU", ()),
    ("Hardswish", ()), ("GELU", ()), ("GELU", ("tanh",)), ("Sigmoid", ()),
    ("Tanh", ()), ("Softmax", (-1,)),
]  # fmt: skip
FORMULAS = {
    "linear": lambda x: x,
    "relu": lambda x: max(x, 0.0),
    "relu6": lambda x: min(max(x, 0.0), 6.0),
    "leaky_relu": lambda x: x if x > 0 else 0.01 * x,
    "elu": lambda x: x if x > 0 else math.expm1(x),
    "silu": lambda x: x / (1 + math.exp(-x)),
    "hardswish": lambda x: x * min(max(x + 3, 0.0), 6.0) / 6,
    "hardsigmoid": lambda x: min(max(x + 3, 0.0), 6.0) / 6,
    "gelu": lambda x: x / 2 * (1 + math.erf(x / math.sqrt(2))),
    "sigmoid": lambda x: 1 / (1 + math.exp(-x)),
    "tanh": math.tanh,
}


@few
@given(st.sampled_from(LAYERS), st.sampled_from([0.1, 1.0, 10.0]), st.data())
def test_agrees_with_torch(named, scale, data) -> None:
    name, arguments = named
    x = data.draw(images(2)) * scale
    assert_agrees(getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments), x)


def test_hardsigmoids_slope_is_a_sixth_to_the_last_digit() -> None:
    # torch's own multiplies by a float32 sixth in float64 too, 5e-9 away
    x = torch.tensor([-4.0, -1.0, 2.0, 4.0], dtype=torch.float64, requires_grad=True)
    (slope,) = torch.autograd.grad(nn.Hardsigmoid()(x).sum(), x)
    assert slope.tolist() == pytest.approx([0, 1 / 6, 1 / 6, 0], abs=1e-16)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["ReLU", "ReLU6", "LeakyReLU", "Hardswish", "Hardsigmoid"])
def test_the_slope_of_every_number_of_half_precision(name: str, dtype: torch.dtype) -> None:
    numbers = torch.arange(-(2**15), 2**15, dtype=torch.int16).view(dtype)
    x = numbers[numbers.isfinite()].requires_grad_()
    slopes = []
    for namespace in (nn, torch.nn):
        (slope,) = torch.autograd.grad(getattr(namespace, name)()(x).sum(), x)
        slopes.append(slope)
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("name", [name for name in ops.ACTIVATIONS if name != "softmax"])
def test_is_its_formula(name: str) -> None:
    points = [-7.0, -3.0, -1.5, -0.1, 0.0, 0.1, 1.5, 3.0, 5.9, 7.0]
    y = ops.activation(torch.tensor(points, dtype=torch.float64), name)
    assert y.tolist() == pytest.approx([FORMULAS[name](x) for x in points], abs=1e-12)


@pytest.mark.parametrize(
    "name", ["ReLU", "ReLU6", "LeakyReLU", "ELU", "SiLU", "Hardswish", "Hardsigmoid"]
)
def test_inplace_overwrites(name: str) -> None:
    x = torch.linspace(-5, 5, 11)
    expected = getattr(nn, name)()(x)
    layer = getattr(nn, name)(inplace=True)
    y = layer(x)
    assert y.data_ptr() == x.data_ptr()
    torch.testing.assert_close(y, expected)
    assert repr(eval(f"nn.{layer!r}")) == repr(layer)


def test_nan_stays_nan() -> None:
    for name in ops.ACTIVATIONS:
        assert bool(ops.activation(torch.tensor([torch.nan]), name).isnan().all()), name


def test_softmax_of_large_numbers_is_finite_and_sums_to_one() -> None:
    y = nn.Softmax(-1)(torch.tensor([1e4, 1e4 - 1, -1e4]))
    assert float(y.sum()) == pytest.approx(1.0) and bool(y.isfinite().all())


def test_softmax_without_an_axis_warns_as_torch_does() -> None:
    with pytest.warns(UserWarning, match="Implicit dimension"):
        nn.Softmax()(torch.zeros(2, 3))
