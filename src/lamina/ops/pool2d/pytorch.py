"""Pooling on PyTorch's own ops; paddings that those refuse are put on before."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.theory.shapes import Pair, ResolvedPadding


def torch_max_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair,
    padding: ResolvedPadding,
    dilation: Pair,
    output_size: Pair,
    ceil_mode: bool,
    return_indices: bool,
) -> tuple[Tensor, Tensor | None]:
    """PyTorch's own max pool, which pads both ends alike, by half of the kernel at most.

    Other paddings, of the least value there is, are put on before. A dilated window
    covers more than its kernel's size.
    """
    (top, bottom), (left, right) = padding
    uneven = top != bottom or left != right
    before = uneven or top > kernel_size[0] // 2 or left > kernel_size[1] // 2
    padded = F.pad(x, (left, right, top, bottom), value=_least(x.dtype)) if before else x
    sides = (0, 0) if before else (top, left)
    if not return_indices:
        pooled = F.max_pool2d(padded, kernel_size, stride, sides, dilation, ceil_mode)
        return _crop(pooled, output_size) if before else pooled, None
    pooled, indices = F.max_pool2d(
        padded, kernel_size, stride, sides, dilation, ceil_mode, return_indices=True
    )
    if before:
        pooled, indices = _crop(pooled, output_size), _crop(indices, output_size)
        height, width = x.shape[-2:]
        padded_width = width + left + right
        # Where all is −∞ PyTorch names the first tap, which may lie in the padding: clamp it.
        rows = (indices // padded_width - top).clamp(0, height - 1)
        columns = (indices % padded_width - left).clamp(0, width - 1)
        indices = rows * width + columns
    return pooled, indices


def torch_avg_pool2d(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair,
    padding: ResolvedPadding,
    output_size: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """PyTorch's own average pool, which pads both ends alike; uneven padding is put on before."""
    (top, bottom), (left, right) = padding
    if top == bottom and left == right:
        return F.avg_pool2d(
            x, kernel_size, stride, (top, left), ceil_mode, count_include_pad, divisor_override
        )
    padded = F.pad(x, (left, right, top, bottom))
    if count_include_pad or divisor_override is not None:
        pooled = F.avg_pool2d(padded, kernel_size, stride, 0, ceil_mode, True, divisor_override)
        return _crop(pooled, output_size)
    total = F.avg_pool2d(padded, kernel_size, stride, 0, ceil_mode, True, 1)
    rows, columns = (
        _real_pixels(*axis, x)
        for axis in zip(x.shape[-2:], output_size, kernel_size, stride, (top, left), strict=True)
    )
    return _crop(total, output_size) / (rows[:, None] * columns)


def adaptive_by_slices(
    x: Tensor, output_size: Pair, reduce: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """An adaptive pool as a reduction of every window's rows, then of its columns."""
    for axis, count in zip((x.dim() - 2, x.dim() - 1), output_size, strict=True):
        size = x.shape[axis]
        edges = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        windows = [reduce(x.narrow(axis, start, end - start), axis) for start, end in edges]
        x = torch.stack(windows, axis)
    return x


def _least(dtype: torch.dtype) -> float:
    return -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _crop(pooled: Tensor, output_size: Pair) -> Tensor:
    """Without the windows of ``ceil_mode`` that saw nothing but padding put on by hand."""
    height, width = output_size
    if pooled.shape[-2] == height and pooled.shape[-1] == width:
        return pooled
    return pooled[..., :height, :width]


def _real_pixels(
    size: int, windows: int, kernel_size: int, stride: int, before: int, like: Tensor
) -> Tensor:
    """How many pixels of the image itself each window along one axis holds."""
    start = torch.arange(windows, device=like.device) * stride - before
    return ((start + kernel_size).clamp(max=size) - start.clamp(min=0)).to(like.dtype)
