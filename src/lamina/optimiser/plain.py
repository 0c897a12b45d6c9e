"""Which layer of lamina.nn is which of torch.nn, and how one becomes the other.

A layer changes its class and keeps its identity: whoever holds it, its parameters or its hooks
holds them afterwards too, as torch.nn's own lazy layers do when they learn their size.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.parameter import UninitializedParameter

from lamina import nn

_OURS: Mapping[type[torch.nn.Module], type[torch.nn.Module]] = {
    plain: getattr(nn, plain.__name__)
    for plain in (
        torch.nn.Conv2d,
        torch.nn.BatchNorm1d,
        torch.nn.BatchNorm2d,
        torch.nn.MaxPool2d,
        torch.nn.AvgPool2d,
        torch.nn.AdaptiveAvgPool2d,
        torch.nn.AdaptiveMaxPool2d,
        torch.nn.Linear,
        torch.nn.Flatten,
        torch.nn.Dropout,
        torch.nn.Dropout2d,
        torch.nn.ReLU,
        torch.nn.ReLU6,
        torch.nn.LeakyReLU,
        torch.nn.ELU,
        torch.nn.SiLU,
        torch.nn.Hardswish,
        torch.nn.Hardsigmoid,
        torch.nn.GELU,
        torch.nn.Sigmoid,
        torch.nn.Tanh,
        torch.nn.Softmax,
    )
}

PLAIN: Mapping[type[torch.nn.Module], type[torch.nn.Module]] = {
    **{ours: plain for plain, ours in _OURS.items()},
    nn.DepthwiseConv2d: torch.nn.Conv2d,
    nn.PointwiseConv2d: torch.nn.Conv2d,
}

_STATE = frozenset(vars(torch.nn.Module()))
"""What every module has: parameters, buffers, children, hooks, the mode."""


def make_plain(module: torch.nn.Module) -> None:
    """Make a layer of lamina.nn one of torch.nn; its tensors stay."""
    plain = PLAIN[type(module)]
    before, after = _build(_OURS[plain], module, plain), _build(plain, module, plain)
    for name, buffer in module._buffers.items():
        if name in after._buffers or name not in before._buffers:
            after._buffers[name] = buffer
    after._non_persistent_buffers_set |= (
        module._non_persistent_buffers_set - before._non_persistent_buffers_set
    )
    rebuilt = ("_buffers", "_non_persistent_buffers_set")
    kept = {
        name: value
        for name, value in vars(module).items()
        if name not in rebuilt and (name in _STATE or name not in vars(before))
    }
    module.__class__ = plain
    module.__dict__ = {**vars(after), **kept}


_HOW = ("algorithm",)  # how a layer computes, not what: a plain one does it in its own way


def inexpressible(module: torch.nn.Module) -> str | None:
    """What torch.nn cannot say of a layer of lamina.nn; None where it has an equal."""
    kind = type(module)
    if kind not in PLAIN:
        return f"torch.nn has no {kind.__name__}"
    plain = PLAIN[kind]
    if any(isinstance(parameter, UninitializedParameter) for parameter in module.parameters()):
        return "its size is not known yet"
    padding: Any = getattr(module, "padding", 0)
    asymmetric = isinstance(padding, tuple) and isinstance(padding[0], tuple)
    by_rule = isinstance(padding, str) and not (
        plain is torch.nn.Conv2d and (padding == "valid" or module.stride == (1, 1))
    )
    if asymmetric or by_rule:
        return f"torch.nn.{plain.__name__} has no padding={padding!r} here"
    ours, theirs = _build(_OURS[plain], module, plain), _build(plain, module, plain)
    for name in sorted(vars(ours).keys() - vars(theirs).keys()):
        if name.startswith("_") or name in _HOW:
            continue
        value = getattr(module, name)
        if value != getattr(ours, name):
            return f"torch.nn.{plain.__name__} has no {name}={value!r}"
    return None


def _build(
    target: type[torch.nn.Module], module: torch.nn.Module, plain: type[torch.nn.Module]
) -> torch.nn.Module:
    """A ``target`` with the arguments of ``module``, which are ``plain``'s, and no memory."""
    arguments: dict[str, Any] = {}
    for name in inspect.signature(plain).parameters:
        if name == "device":
            arguments[name] = "meta"
        elif name == "bias":
            arguments[name] = module.bias is not None
        elif name not in ("dtype", "args", "kwargs"):  # *args: of layers without arguments
            arguments[name] = getattr(module, name)
    return target(**arguments)
