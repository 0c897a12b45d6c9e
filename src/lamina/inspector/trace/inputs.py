"""What a model is run on: sizes or data in, arguments out; and lazy modules made ready."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedBuffer, is_lazy

from lamina.dialects import is_keras
from lamina.errors import InputError
from lamina.inspector.trace.dialect import own_inputs
from lamina.inspector.trace.recorder import Recorder
from lamina.inspector.trace.untouched import untouched

__all__ = ["arguments_of", "materialised"]

Size = Sequence[int]
Sizes = Size | Sequence[Size] | Mapping[str, Size]


def _random(
    size: Size, dtype: torch.dtype, device: torch.device, generator: torch.Generator
) -> Tensor:
    for extent in size:
        if not isinstance(extent, int) or isinstance(extent, bool) or extent < 0:
            raise InputError(f"input_size must hold whole numbers of 0 or more, got {tuple(size)}")
    if dtype.is_floating_point:
        return torch.randn(*size, generator=generator, dtype=dtype).to(device)
    return torch.zeros(*size, dtype=dtype, device=device)


def arguments_of(
    model: nn.Module,
    input_size: Sizes | None,
    input_data: object,
    dtype: torch.dtype = torch.float32,
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and named arguments for a model's forward.

    Args:
        model: tells the device; a Keras model its inputs too, where neither of the next is given.
        input_size: a size with the batch, several of them, or a size per argument name.
        input_data: a tensor, a tuple or list of positional arguments, or a dict of named ones.
        dtype: of tensors made from sizes; an integer one makes zeros, valid indices anywhere.

    Raises:
        InputError: neither or both are given, or a size is none.
    """
    declared = own_inputs(model) if input_size is None and input_data is None else []
    if (input_size is None) == (input_data is None) and not declared:
        given = "neither" if input_size is None else "both"
        raise InputError(f"give either input_size or input_data, got {given}")
    if input_data is not None:
        if isinstance(input_data, Mapping):
            return (), dict(input_data)
        if isinstance(input_data, tuple | list):
            return tuple(input_data), {}
        return (input_data,), {}
    state = next(iter([*model.parameters(), *model.buffers()]), None)
    device = state.device if state is not None else torch.device("cpu")
    generator = torch.Generator().manual_seed(0)
    if declared:
        return _packed(model, [_random(s, kind, device, generator) for s, kind in declared]), {}
    if isinstance(input_size, Mapping):
        made = {n: _random(s, dtype, device, generator) for n, s in input_size.items()}
        return ((made,), {}) if _is_functional(model) else ((), made)
    if not isinstance(input_size, Sequence) or isinstance(input_size, str) or not input_size:
        raise InputError(f"input_size must be a size such as (1, 3, 224, 224), got {input_size!r}")
    if all(isinstance(extent, Sequence) for extent in input_size):
        several = [_random(s, dtype, device, generator) for s in input_size]  # type: ignore[arg-type]
        return _packed(model, several), {}
    return (_random(input_size, dtype, device, generator),), {}  # type: ignore[arg-type]


def _packed(model: nn.Module, inputs: list[Tensor]) -> tuple[Any, ...]:
    """Positional arguments; Keras's models of several inputs take them as one list or dict."""
    if len(inputs) == 1 or not _is_functional(model):
        return tuple(inputs)
    structure: Any = model.input
    if not isinstance(structure, dict):
        return (inputs,)
    names = {id(tensor): name for name, tensor in structure.items()}
    return ({names[id(t)]: made for t, made in zip(model.inputs, inputs, strict=True)},)  # type: ignore[arg-type]


def _is_functional(model: nn.Module) -> bool:
    return is_keras(model) and bool(getattr(model, "inputs", None))


def materialised(model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> nn.Module:
    """The model itself or, if it has lazy modules, a copy that ran once and knows its shapes.

    Raises:
        InputError: it has lazy modules and cannot be copied.
        ForwardError: it raises.
    """
    if not any(is_lazy(tensor) for tensor in [*model.parameters(), *model.buffers()]):
        return model
    # PyTorch copies a lazy parameter, but not a lazy buffer: those are handed over ready made.
    memo: dict[int, Any] = {
        id(buffer): type(buffer)(buffer.requires_grad, buffer.device, buffer.dtype)  # type: ignore[arg-type]
        for buffer in model.buffers()
        if isinstance(buffer, UninitializedBuffer)
    }
    try:
        ready = copy.deepcopy(model, memo)
    except Exception as error:
        raise InputError(
            f"the model is lazy and cannot be copied: {error}; run it once, then inspect it"
        ) from error
    recorder = Recorder(ready)
    with untouched(ready, data=False, state=False), torch.no_grad():
        try:
            with recorder:
                ready(*args, **kwargs)
        except Exception as error:
            raise recorder.failure(model, error) from error
    return ready
