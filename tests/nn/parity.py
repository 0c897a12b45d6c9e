"""Two layers, one input: outputs and every gradient, each judged against float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor


def outputs_and_gradients(layer: torch.nn.Module, x: Tensor) -> dict[str, Tensor]:
    """The output, the gradient of the input and of every parameter, the buffers afterwards."""
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    y = layer(x)
    y = y[0] if isinstance(y, tuple) else y
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)
    parameters = dict(layer.named_parameters())
    gradients = torch.autograd.grad(y, [x, *parameters.values()], weights.to(y.dtype))
    named = dict(zip(["input", *parameters], gradients, strict=True))
    buffers = {name: buffer.clone() for name, buffer in layer.named_buffers()}
    return {"output": y.detach(), **named, **buffers}


def assert_agrees(ours: torch.nn.Module, theirs: torch.nn.Module, x: Tensor) -> None:
    """Ours may be at most twice as far from float64's truth as theirs; both on the same input."""
    truth = outputs_and_gradients(copy.deepcopy(theirs).double(), x.double())
    got, expected = outputs_and_gradients(ours, x), outputs_and_gradients(theirs, x)
    assert got.keys() == expected.keys()
    for name, exact in truth.items():
        assert got[name].shape == exact.shape, name
        assert got[name].dtype == expected[name].dtype, name
        scale = float(exact.abs().max()) if exact.numel() else 0.0
        rounding = 4 * torch.finfo(x.dtype).eps * max(scale, 1.0)
        allowed = 2 * _error(expected[name], exact) + rounding
        assert _error(got[name], exact) <= allowed, f"{name}: {_error(got[name], exact)}"


def _error(value: Tensor, exact: Tensor) -> float:
    return float((value.double() - exact).abs().max()) if exact.numel() else 0.0
