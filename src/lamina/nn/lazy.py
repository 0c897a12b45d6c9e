"""Parameters that wait for their size: the first input, or the first loaded state, tells it."""

from __future__ import annotations

from typing import Any

import torch
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter


class _Statistics(UninitializedBuffer):
    """A buffer that can be copied before it has a size, as torch's own parameters can."""

    def __deepcopy__(self, memo: dict[int, Any]) -> _Statistics:
        if id(self) not in memo:
            make: Any = type(self)
            memo[id(self)] = make(device=self.data.device, dtype=self.data.dtype)
        copied: _Statistics = memo[id(self)]
        return copied


def postpone(
    layer: torch.nn.Module, device: torch.device | str | None, dtype: torch.dtype | None
) -> None:
    """Exchange the layer's parameters and statistics for uninitialised ones.

    The layer was made on the meta device, so that no random number has been drawn yet.
    """
    uninitialized: Any = UninitializedParameter
    for name, parameter in layer._parameters.items():
        if parameter is not None:
            setattr(layer, name, uninitialized(device=device, dtype=dtype))
    uninitialized = _Statistics
    for name, buffer in layer._buffers.items():
        if buffer is None:
            continue
        if buffer.is_floating_point():
            setattr(layer, name, uninitialized(device=device, dtype=dtype))
        else:  # a count, whose size is known
            setattr(layer, name, torch.zeros(buffer.shape, dtype=buffer.dtype, device=device))


def materialize(layer: torch.nn.Module, **shapes: tuple[int, ...]) -> None:
    """Give the layer's uninitialised parameters and buffers of these names their shapes."""
    for name, shape in shapes.items():
        tensor: Any = getattr(layer, name)
        if tensor is not None:
            tensor.materialize(shape)
