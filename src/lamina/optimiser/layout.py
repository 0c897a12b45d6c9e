"""The memory format of the convolutions' weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.parameter import is_lazy


def to_channels_last(model: torch.nn.Module) -> tuple[str, ...]:
    """Bring the weights of two-dimensional convolutions into channels_last: all or none.

    Returns:
        The names of the layers whose weight was laid out anew.
    """
    return _lay_out(model, [name for name, _ in model.named_modules()], torch.channels_last)


def to_contiguous(model: torch.nn.Module, names: Sequence[str]) -> None:
    """Bring the weights of these layers, those that are still there, back."""
    _lay_out(model, names, torch.contiguous_format)


def _lay_out(
    model: torch.nn.Module, names: Sequence[str], memory_format: torch.memory_format
) -> tuple[str, ...]:
    modules = dict(model.named_modules())
    weights = {
        name: weight
        for name in names
        if (weight := _weight_of(modules.get(name))) is not None
        and not weight.is_contiguous(memory_format=memory_format)
    }
    tensors = [t for weight in weights.values() for t in (weight, weight.grad) if t is not None]
    copies = [tensor.detach().contiguous(memory_format=memory_format) for tensor in tensors]
    for tensor, moved in zip(tensors, copies, strict=True):
        tensor.data = moved
    return tuple(weights)


def _weight_of(module: torch.nn.Module | None) -> Tensor | None:
    if not isinstance(module, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
        return None
    weight = module._parameters.get("weight")
    if weight is None or is_lazy(weight):
        return None
    return weight if weight.dim() == 4 and type(weight.data) is Tensor else None
