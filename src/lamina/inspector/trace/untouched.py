"""Leave a model and the process as they were: state, flags, hooks, gradients, random numbers."""

from __future__ import annotations

import random
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from lamina.inspector.trace.dialect import modules_of

__all__ = ["untouched"]


def _containers(module: nn.Module) -> dict[str, Any]:
    """A module's attributes, and copies of the plain containers among them."""
    copied: dict[str, Any] = {}
    for name, value in vars(module).items():
        plain = type(value) in (dict, OrderedDict, list, set)
        copied[name] = (value, value.copy() if plain else None)
    return copied


def _restore(module: nn.Module, before: dict[str, Any]) -> None:
    attributes = vars(module)
    for name in [name for name in attributes if name not in before]:
        del attributes[name]
    for name, (value, content) in before.items():
        attributes[name] = value
        if content is None:
            continue
        if isinstance(value, list):
            value[:] = content
        else:
            value.clear()
            value.update(content)


def _tensors(model: nn.Module) -> list[Tensor]:
    held = [*model.parameters(), *model.buffers()]
    # Keras keeps the state of its random generators outside of parameters and buffers.
    for variable in getattr(model, "variables", []):
        value = getattr(variable, "value", None)
        if isinstance(value, Tensor):
            held.append(value)
    return list({id(tensor): tensor for tensor in held}.values())


def _same_bits(left: Tensor, right: Tensor) -> bool:
    # NaN differs from itself, so bytes are compared, not numbers.
    return torch.equal(
        left.contiguous().flatten().view(torch.uint8),
        right.contiguous().flatten().view(torch.uint8),
    )


@contextmanager
def untouched(model: nn.Module, *, data: bool, state: bool = True) -> Iterator[None]:
    """Undo on leaving, also by an exception, all that running the model changes.

    Attributes of every module (flags, hooks, counters, registered tensors) and the states of the
    random generators of torch, numpy and Python are put back. Gradients are put back by identity.

    Args:
        model: the module that will be run.
        data: keep a copy of every parameter and buffer too and put the values back; not needed
            when the run is on fake tensors. Costs that much memory.
        state: put the model back at all; False guards the random generators alone.
    """
    modules = [(module, _containers(module)) for module in modules_of(model)] if state else []
    flags = [module.training for module, _ in modules]
    tensors = [] if not state else _tensors(model)
    gradients = [tensor.grad for tensor in tensors]
    values = [tensor.detach().clone() for tensor in tensors] if data else []
    grads = [g.detach().clone() if data and g is not None else None for g in gradients]
    python, numeric = random.getstate(), np.random.get_state()
    on_gpu = torch.cuda.is_initialized()  # type: ignore[no-untyped-call]
    devices = list(range(torch.cuda.device_count())) if on_gpu else []
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(numeric)
        for (module, before), flag in zip(modules, flags, strict=True):
            _restore(module, before)
            if module.training is not flag:  # of a TorchScript module, where it is no attribute
                module.training = flag
        with torch.no_grad():
            for tensor, gradient, content in zip(tensors, gradients, grads, strict=True):
                tensor.grad = gradient
                if gradient is not None and content is not None:
                    gradient.copy_(content)
            for tensor, value in zip(tensors, values, strict=False):
                if not _same_bits(tensor, value):
                    tensor.data.copy_(value)
