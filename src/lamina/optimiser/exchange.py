"""Which layer of torch.nn becomes which of lamina.nn, what stands against it, and how it is done.

A layer changes its class and keeps its identity: whoever holds it, its parameters or its hooks
holds them afterwards too, as torch.nn's own lazy layers do when they learn their size.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn.modules.lazy import LazyModuleMixin
from torch.nn.parameter import UninitializedParameter
from torch.nn.utils import parametrize

from lamina import nn

EXCHANGES: Mapping[type[torch.nn.Module], type[torch.nn.Module]] = {
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
    **{ours: plain for plain, ours in EXCHANGES.items()},
    nn.DepthwiseConv2d: torch.nn.Conv2d,
    nn.PointwiseConv2d: torch.nn.Conv2d,
}

_STATE = frozenset(vars(torch.nn.Module()))
"""What every module has: parameters, buffers, children, hooks, the mode."""

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def has_hooks(module: torch.nn.Module) -> bool:
    """Whether somebody watches or changes what goes in or comes out."""
    return any(getattr(module, name) for name in _HOOKS)


def is_candidate(module: torch.nn.Module) -> bool:
    """Whether a report should speak of it: a layer that does something, not what holds layers."""
    if type(module) in (torch.nn.Identity, torch.nn.Sequential, nn.Sequential, torch.nn.ModuleList):
        return False
    return isinstance(module, tuple(EXCHANGES)) or next(module.children(), None) is None


def obstacle(module: torch.nn.Module) -> str | None:
    """Why this layer is left as it is; None where it can be exchanged."""
    kind = type(module)
    if kind not in EXCHANGES:
        return _other_class(module)
    if has_hooks(module):
        return "it has hooks, which may count on torch.nn's own class"
    if "forward" in vars(module):
        return "its forward was replaced on the instance"
    for name, parameter in module.named_parameters(recurse=False):
        for own, plain in ((parameter, torch.nn.Parameter), (parameter.data, torch.Tensor)):
            if type(own) is not plain:
                return f"its {name} is a {type(own).__name__}"
        if not parameter.is_floating_point():
            return f"its {name} is {parameter.dtype}"
    try:
        fresh = _build(EXCHANGES[kind], module, kind)
    except Exception as error:
        return f"its arguments do not fit lamina.nn's: {error}"
    for name, expected in fresh._parameters.items():
        found = module._parameters.get(name)
        if (found is None) != (expected is None):
            return f"its {name} was set or removed after it was made"
        if found is not None and expected is not None and found.shape != expected.shape:
            return f"its {name} is {tuple(found.shape)}, its arguments say {tuple(expected.shape)}"
    return None


def _other_class(module: torch.nn.Module) -> str:
    kind = type(module)
    if kind.__module__.startswith("lamina."):
        return "lamina's already"
    if parametrize.is_parametrized(module):
        return "its weight is parametrized"
    if isinstance(module, LazyModuleMixin):
        return "its size is not known yet: run the model once, then optimize"
    if isinstance(module, torch.jit.ScriptModule):
        return "compiled by torch.jit"
    if kind.__module__.startswith("torch.ao."):
        return "quantised"
    for plain in EXCHANGES:
        if isinstance(module, plain):
            return f"a subclass of torch.nn.{plain.__name__}, which may compute something else"
    if kind.__module__.startswith("torch."):
        return f"lamina has no {kind.__name__}"
    return "a module of the model's own"


def exchange(module: torch.nn.Module, target: type[torch.nn.Module]) -> None:
    """Make a layer of torch.nn one of lamina.nn, or the other way round; its tensors stay."""
    plain = PLAIN.get(target, target)
    before = _build(EXCHANGES[plain] if target is plain else plain, module, plain)
    after = _build(target, module, plain)
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
    module.__class__ = target
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
    ours, theirs = _build(EXCHANGES[plain], module, plain), _build(plain, module, plain)
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
