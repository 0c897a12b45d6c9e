"""In which order a tensor's axes lie in memory, by PyTorch's rules, so that routes cannot differ.

Strides alone leave it open where an axis has one element: a grey image is the same memory in NCHW
and channels-last. PyTorch has a rule for what looks at windows of an image and one for what goes
element by element, and code that views an output relies on both.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = [
    "fake_empty",
    "format_of",
    "is_channels_last",
    "is_channels_last_after",
    "memory_format",
    "strides",
    "strides_of_gradient",
]


def is_channels_last(x: Tensor) -> bool:
    """Whether convolutions and pools of the images ``x`` give channels-last images.

    Source: PyTorch, c10/core/MemoryFormat.h, ``is_channels_last_strides_2d_s4``.

    Example:
        >>> grey = torch.zeros(2, 1, 4, 4)
        >>> is_channels_last(grey), is_channels_last(grey.permute(0, 3, 1, 2))
        (False, True)
    """
    if x.dim() != 4:
        return False
    if x.is_contiguous():
        if not x.is_contiguous(memory_format=torch.channels_last):
            return False  # of several channels and pixels: no question
    elif 1 not in x.shape and x.is_contiguous(memory_format=torch.channels_last):
        return True
    steps = x.stride()
    if steps[1] == 0:
        return False
    least = 0
    for axis in (1, 3, 2, 0):
        size, step = x.shape[axis], steps[axis]
        if size == 0 or step < least or (axis == 0 and least == steps[1]):
            return False
        least = step * size
    return True


def is_channels_last_after(x: Tensor, *weights: Tensor | None) -> bool:
    """Whether convolutions with these weights give channels-last images: one of them is so."""
    return is_channels_last(x) or any(
        weight is not None and is_channels_last(weight) for weight in weights
    )


def memory_format(x: Tensor) -> torch.memory_format:
    """Of what goes through ``x`` element by element: row-major where the strides say both.

    ``torch.preserve_format`` is the order of its axes, whatever that is.

    Example:
        >>> memory_format(torch.zeros(2, 1, 4, 4).permute(0, 3, 1, 2))
        torch.channels_last
        >>> memory_format(torch.zeros(2, 4, 4, 1).permute(0, 3, 1, 2))
        torch.contiguous_format
    """
    if x.is_contiguous():
        return torch.contiguous_format
    if x.dim() == 4 and x.is_contiguous(memory_format=torch.channels_last):
        return torch.channels_last
    if x.dim() == 5 and x.is_contiguous(memory_format=torch.channels_last_3d):
        return torch.channels_last_3d
    return torch.preserve_format


def format_of(dimensions: int, channels_last: bool) -> torch.memory_format:
    """Row-major, or with the channels, the second of 4 or 5 axes, innermost.

    Example:
        >>> format_of(5, channels_last=True)
        torch.channels_last_3d
    """
    if not channels_last:
        return torch.contiguous_format
    return torch.channels_last_3d if dimensions == 5 else torch.channels_last


def strides(shape: Sequence[int], channels_last: bool) -> tuple[int, ...]:
    """Of a dense tensor, row-major or with the channels, the second axis, innermost.

    Example:
        >>> strides((2, 3, 4, 5), channels_last=True)
        (60, 1, 15, 3)
    """
    last = len(shape) - 1
    order = [1, *range(last, 1, -1), 0] if channels_last else range(last, -1, -1)
    steps = [0] * len(shape)
    step = 1
    for axis in order:
        steps[axis] = step
        step *= shape[axis]
    return tuple(steps)


def strides_of_gradient(parameter: Tensor) -> tuple[int, ...]:
    """A parameter's own where its memory is dense: an optimiser goes through both side by side."""
    if memory_format(parameter) is not torch.preserve_format:
        return parameter.stride()
    return strides(parameter.shape, is_channels_last(parameter))


def fake_empty(like: Tensor, shape: Sequence[int], channels_last: bool) -> Tensor:
    """What ``memory.empty`` gives, on the fake or meta device of ``like``."""
    return torch.empty(
        shape,
        dtype=like.dtype,
        device=like.device,
        memory_format=format_of(len(shape), channels_last),
    )
