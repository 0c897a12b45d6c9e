"""Memory that is ready: large outputs come from blocks of huge pages that earlier tensors left.

The C library hands large memory out as fresh pages of 4 KiB, and the first write to each costs a
page fault: for an output of 150 MB several times what computing it costs. The kernels' outputs come
from a pool instead, whose blocks wait for the next tensor of their size. What waits is limited, and
``empty_cache`` gives it back. Without huge pages (Linux has them) outputs are PyTorch's own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.dlpack import from_dlpack

from lamina.ops.runtime import layout, memory_tuning, native
from lamina.ops.runtime.torch_private import dispatch_modes

__all__ = [
    "MemoryStatistics",
    "empty",
    "empty_cache",
    "empty_like",
    "empty_strided",
    "set_limit",
    "statistics",
]

# Below this the C library keeps what is freed. From here on, when a tensor is freed, it gives
# memory back to the system that other tensors left: that takes milliseconds where there is much.
_SMALLEST = 1 << 16  # bytes

_CPU = torch.device("cpu")

_SUPPORTED = native.kernels is not None and native.kernels.memory_is_supported()

# DLPack's code of a number's kind, by PyTorch's dtype.
_INTEGER, _UNSIGNED, _FLOAT = 0, 1, 2
_CODES = {
    torch.float32: _FLOAT,
    torch.float64: _FLOAT,
    torch.int8: _INTEGER,
    torch.int32: _INTEGER,
    torch.int64: _INTEGER,
    torch.uint8: _UNSIGNED,
}


@dataclass(frozen=True)
class MemoryStatistics:
    """The pool, now; all in bytes but for the two counts.

    Args:
        cached: in blocks that wait for a tensor.
        in_use: in blocks that tensors live in.
        limit: the most that may wait.
        hits: requests that found a block waiting.
        misses: requests that took fresh memory.
    """

    cached: int
    in_use: int
    limit: int
    hits: int
    misses: int


def empty_like(x: Tensor) -> Tensor:
    """An uninitialised tensor for what is computed element by element from a CPU tensor.

    It is dense, with the strides that PyTorch's own ops would give it.

    Example:
        >>> empty_like(torch.zeros(2, 3, 4, 4).to(memory_format=torch.channels_last)).stride()
        (48, 1, 12, 3)
    """
    order = layout.memory_format(x)
    if order is torch.preserve_format:
        return torch.empty_like(x)
    return empty(x.shape, x, channels_last=order is not torch.contiguous_format)


def empty(
    shape: Sequence[int],
    like: Tensor,
    *,
    channels_last: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """An uninitialised tensor on the CPU.

    It is a tensor like any other, no view; only ``resize_`` cannot make it larger.

    Args:
        shape: sizes, (N, C, H, W) or (N, C, D, H, W) for ``channels_last``.
        like: the tensor whose dtype it has; a CPU tensor.
        channels_last: channels vary fastest in memory.
        dtype: another dtype than that of ``like``.

    Raises:
        RuntimeError: PyTorch's, where memory is not enough.

    Example:
        >>> empty((2, 3, 4, 4), torch.zeros(1), channels_last=True).stride()
        (48, 1, 12, 3)
    """
    dtype = dtype or like.dtype
    if math.prod(shape) * dtype.itemsize >= _SMALLEST:
        return empty_strided(shape, layout.strides(shape, channels_last), dtype)
    order = layout.format_of(len(shape), channels_last)
    return torch.empty(shape, dtype=dtype, device=_CPU, memory_format=order)


def empty_strided(shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype) -> Tensor:
    """An uninitialised dense tensor on the CPU, its axes in the order of its strides.

    Example:
        >>> empty_strided((2, 3), (1, 2), torch.float32).stride()
        (1, 2)
    """
    size = math.prod(shape) * dtype.itemsize
    # Who watches what is allocated sees PyTorch's functions alone.
    if size >= _SMALLEST and _SUPPORTED and not dispatch_modes():
        ready = _from_pool(shape, strides, dtype, size)
        if ready is not None:
            return ready
    return torch.empty_strided(shape, strides, dtype=dtype, device=_CPU)


def empty_cache() -> int:
    """Give the memory that waits for a tensor back to the system; return its bytes.

    After ``tune_memory`` what is free in the process's heap goes back too, uncounted.

    Example:
        >>> empty_cache() >= 0, statistics().cached
        (True, 0)
    """
    memory_tuning.trim()
    return native.kernels.memory_empty_cache() if native.kernels else 0


def set_limit(limit: int) -> None:
    """Let at most ``limit`` bytes wait for a tensor; the default is a quarter of the memory.

    0 switches reuse off.

    Raises:
        ValueError: a negative number.
    """
    if limit < 0:
        raise ValueError(f"limit must be a number of bytes, 0 or more, got {limit}")
    if native.kernels:
        native.kernels.memory_set_limit(limit)


def statistics() -> MemoryStatistics | None:
    """The pool's figures; None where there is no pool."""
    if not (native.kernels and _SUPPORTED):
        return None
    return MemoryStatistics(**native.kernels.memory_statistics())


def _from_pool(
    shape: Sequence[int], strides: Sequence[int], dtype: torch.dtype, size: int
) -> Tensor | None:
    code = _CODES.get(dtype)
    if code is None:
        return None
    capsule = native.kernels.memory_allocate(shape, strides, code, dtype.itemsize * 8, size)
    return None if capsule is None else from_dlpack(capsule)
