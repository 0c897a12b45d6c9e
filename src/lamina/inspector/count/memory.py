"""Bytes: what an operator moves, what is alive, what autograd keeps."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

__all__ = ["LiveMemory", "bytes_of", "storage_key"]


def bytes_of(tensor: Tensor) -> int:
    """Bytes that a tensor's elements occupy; an expanded dimension counts once.

    Example:
        >>> bytes_of(torch.zeros(8, 1).expand(8, 100))
        32
    """
    if tensor.layout is not torch.strided:
        return tensor.numel() * tensor.element_size()
    count = tensor.element_size()
    for size, stride in zip(tensor.shape, tensor.stride(), strict=True):
        count *= size if stride or size == 0 else 1
    return count


def storage_key(tensor: Tensor) -> int:
    """What identifies a tensor's memory while it is alive; views of it share it."""
    return int(tensor.untyped_storage()._cdata)


class LiveMemory:
    """Bytes of the storages that are alive, and the most that there were.

    A storage counts from the moment it is seen until PyTorch frees it, which a weak reference
    tells; on fake tensors these are the lifetimes of a real run without its memory.
    """

    def __init__(self) -> None:
        self.now = 0
        self.peak = 0
        self._alive: dict[int, Any] = {}

    def see(self, tensors: Iterable[Tensor]) -> int:
        """Count the storages of these tensors, each once; the bytes that were new."""
        new = 0
        for tensor in tensors:
            if tensor.layout is not torch.strided:
                continue
            storage = tensor.untyped_storage()
            key = storage._cdata
            if key in self._alive:
                continue
            size = storage.nbytes()
            self._alive[key] = weakref.ref(storage, partial(self._gone, key, size))
            new += size
        self.now += new
        self.peak = max(self.peak, self.now)
        return new

    def _gone(self, key: int, size: int, _: object) -> None:
        if self._alive.pop(key, None) is not None:
            self.now -= size
