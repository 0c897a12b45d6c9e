"""Strides of outputs and gradients are torch.nn's, whatever route computes."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from random import Random

import pytest
import torch
import torch.nn as tnn
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lamina import nn
from lamina.ops.runtime import layout
from lamina.ops.tuning import choice
from tests.ops import calls

Make = Callable[[object, int], tnn.Module]

# By the namespace, torch.nn or ours, and the number of channels.
LAYERS: dict[str, Make] = {
    "conv2d": lambda n, c: n.Conv2d(c, 4, 3, padding=1),
    "strided conv2d": lambda n, c: n.Conv2d(c, 5, 2, stride=2, padding=1, bias=False),
    "pointwise": lambda n, c: n.Conv2d(c, 8, 1),
    "to grey": lambda n, c: n.Conv2d(c, 1, 3, padding=1),
    "depthwise": lambda n, c: n.Conv2d(c, 2 * c, 3, padding=1, groups=c),
    "max pool": lambda n, c: n.MaxPool2d(2, 2, 1),
    "average pool": lambda n, c: n.AvgPool2d(3, 1, 1),
    "global average": lambda n, c: n.AdaptiveAvgPool2d(1),
    "adaptive average": lambda n, c: n.AdaptiveAvgPool2d((1, None)),
    "batch norm": lambda n, c: n.BatchNorm2d(c),
    "frozen batch norm": lambda n, c: n.BatchNorm2d(c).eval(),
    "relu": lambda n, c: n.ReLU(),
    "silu": lambda n, c: n.SiLU(),
    "hardswish": lambda n, c: n.Hardswish(),
    "sigmoid": lambda n, c: n.Sigmoid(),
    "dropout": lambda n, c: n.Dropout(0.5),
    "dropout2d": lambda n, c: n.Dropout2d(0.5),
}
WITH_ONE_VALUE = {"batch norm"}  # which PyTorch refuses
ROUTES = ["kernels", "auto", "shipped sizes"]


@pytest.fixture(params=ROUTES)
def route(request, monkeypatch):
    """Who computes: our kernels, who is predicted to be quicker, and that with small calls."""
    if request.param == "shipped sizes":
        request.getfixturevalue("small_calls")
        return
    monkeypatch.setattr("lamina.theory.activation.FEWEST_ELEMENTS", 0)
    monkeypatch.setattr(importlib.import_module("lamina.ops.dropout"), "_SMALLEST", 0)
    if request.param == "kernels":
        monkeypatch.setattr(choice, "leaves_to_pytorch", lambda *_: False)


def drawn_image(rng: Random) -> Tensor:
    shape = tuple(rng.choice(sizes) for sizes in ([1, 2, 3], [1, 1, 2, 5], [1, 2, 6], [1, 2, 6]))
    x = torch.randn(shape)
    return calls.in_memory(x, rng, calls.LAYOUTS | {"permuted": calls._permuted})


def strides_of(layer: tnn.Module, x: Tensor) -> dict[str, tuple[int, ...]]:
    x = x.detach().requires_grad_()
    y = layer(x)
    y.backward(torch.randn_like(y))
    gradients = {name: p.grad.stride() for name, p in layer.named_parameters()}
    return {"output": y.stride(), "input's gradient": x.grad.stride(), **gradients}


@pytest.mark.parametrize("kind", LAYERS)
def test_strides_are_those_of_torch_nn(kind: str, route: None) -> None:
    for seed in range(60):
        torch.manual_seed(seed)
        rng = Random(f"{kind} {seed}")
        x = drawn_image(rng)
        if kind in WITH_ONE_VALUE and x.numel() == x.shape[1]:
            continue
        peer, ours = (LAYERS[kind](namespace, x.shape[1]) for namespace in (tnn, nn))
        if rng.random() < 0.5:
            peer, ours = (m.to(memory_format=torch.channels_last) for m in (peer, ours))
        if x.dim() == 4 and rng.random() < 0.2 and "norm" not in kind and kind != "dropout2d":
            x = x[0]
        ours.load_state_dict(peer.state_dict())
        expected, found = strides_of(peer, x), strides_of(ours, x)
        what = f"seed {seed}: {tuple(x.shape)} in {x.stride()}"
        for name in expected:
            parameter = dict(ours.named_parameters()).get(name)
            if parameter is not None and found[name] == parameter.stride():
                continue  # PyTorch's differs from its weight's where an axis has one element
            assert found[name] == expected[name], f"{name}, {what}"


def test_gradients_have_the_strides_of_their_weights(route: None) -> None:
    """DistributedDataParallel warns of any other, and copies."""
    for memory_format in (torch.contiguous_format, torch.channels_last):
        for kind in ("conv2d", "pointwise", "to grey", "depthwise"):
            layer = LAYERS[kind](nn, 16).to(memory_format=memory_format)
            weight = layer.weight
            layer(torch.randn(2, 16, 9, 9)).sum().backward()
            assert weight.grad is not None and weight.grad.stride() == weight.stride(), kind


def test_a_grey_image_can_be_viewed_as_rows(route: None) -> None:
    x = torch.randn(128, 1, 28, 28)
    assert nn.Conv2d(1, 32, 3)(x).view(128, -1).shape == (128, 32 * 26 * 26)


SIZES = st.sampled_from([1, 1, 2, 3])
STRIDES = st.sampled_from([0, 1, 2, 3, 4, 6, 9, 12])


@given(st.tuples(SIZES, SIZES, SIZES, SIZES), st.tuples(STRIDES, STRIDES, STRIDES, STRIDES))
def test_the_rule_is_pytorchs(shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    x = torch.zeros(200).as_strided(shape, strides)
    asked = torch.nn.functional.avg_pool2d(x, 1)
    expected = layout.strides(shape, layout.is_channels_last(x))
    assert asked.stride() == expected


def test_no_address_is_taken_in_python() -> None:
    """A tensor goes to a kernel as it is: the bindings look at its type, and hold it.

    Recording looks whose memory the calls of kernels were on, and hands no address on.
    """
    from tests.test_architecture import SOURCE

    for path in (SOURCE / "ops").rglob("*.py"):
        assert path.name == "recording.py" or "data_ptr" not in path.read_text(), path
