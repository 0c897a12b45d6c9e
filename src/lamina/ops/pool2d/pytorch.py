"""Pooling on PyTorch's own ops; paddings that those refuse are put on before."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.padding import is_even
from lamina.ops.runtime import native
from lamina.theory.shapes import Pair, ResolvedPadding


def plan_max_pool2d(
    kernel_size: Pair,
    stride: Pair,
    padding: ResolvedPadding,
    dilation: Pair,
    output_size: Pair,
    ceil_mode: bool,
    return_indices: bool,
) -> Callable[[Tensor], Tensor | tuple[Tensor, Tensor]]:
    """PyTorch's own max pool, which pads both ends alike, by half of the kernel at most.

    Other paddings, of the least value there is, are put on before. A dilated window
    covers more than its kernel's size.
    """
    (top, _), (left, _) = padding
    fits = top <= kernel_size[0] // 2 and left <= kernel_size[1] // 2
    if fits and _pads_by_itself(padding, ceil_mode):
        window: Any = (kernel_size, stride, (top, left), dilation, ceil_mode, return_indices)
        return lambda x: F.max_pool2d(x, *window)

    def run(x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        whole = _reaching(padding, x, kernel_size, stride, dilation, output_size, ceil_mode)
        padded = _pad(x, whole, _least(x.dtype))
        if not return_indices:
            return F.max_pool2d(padded, kernel_size, stride, 0, dilation)
        pooled, indices = F.max_pool2d(
            padded, kernel_size, stride, 0, dilation, return_indices=True
        )
        height, width = x.shape[-2:]
        padded_width = width + left + whole[1][1]
        # Where all is −∞ PyTorch names the first tap, which may lie in the padding: clamp it.
        rows = (indices // padded_width - top).clamp(0, height - 1)
        columns = (indices % padded_width - left).clamp(0, width - 1)
        return pooled, rows * width + columns

    return run


def plan_avg_pool2d(
    kernel_size: Pair,
    stride: Pair,
    padding: ResolvedPadding,
    output_size: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Callable[[Tensor], Tensor]:
    """PyTorch's own average pool; what it cannot do is a mean of whole windows, and a factor."""
    (top, _), (left, _) = padding
    # The exporters to ONNX pass over a divisor.
    divides = divisor_override is None or not native.is_exporting()
    if divides and _pads_by_itself(padding, ceil_mode):
        window = (kernel_size, stride, (top, left), ceil_mode, count_include_pad, divisor_override)
        return lambda x: F.avg_pool2d(x, *window)

    def run(x: Tensor) -> Tensor:
        whole = _reaching(padding, x, kernel_size, stride, (1, 1), output_size, ceil_mode)
        means: Tensor = F.avg_pool2d(_pad(x, whole, 0.0), kernel_size, stride)
        if divisor_override is not None:
            return means * (kernel_size[0] * kernel_size[1] / divisor_override)
        counted = padding if count_include_pad else ((0, 0), (0, 0))
        rows, columns = (
            size / _pixels(windows, size, step, before, (-outer[0], pixels + outer[1]), x)
            for windows, size, step, (before, _), outer, pixels in zip(
                output_size, kernel_size, stride, padding, counted, x.shape[-2:], strict=True
            )
        )
        factor: Tensor = rows[:, None] * columns
        return means * factor

    return run


def _pads_by_itself(padding: ResolvedPadding, ceil_mode: bool) -> bool:
    """Whether PyTorch's pools pad so; in ONNX windows that hang over the end are others."""
    return is_even(padding) and not (ceil_mode and native.is_exporting())


def _reaching(
    padding: ResolvedPadding,
    x: Tensor,
    kernel_size: Pair,
    stride: Pair,
    dilation: Pair,
    output_size: Pair,
    ceil_mode: bool,
) -> ResolvedPadding:
    """The padding with what the last windows of ``ceil_mode`` hang over, or leave, at the end."""
    if not ceil_mode:
        return padding
    (top, bottom), (left, right) = (
        (before, (windows - 1) * step + gap * (size - 1) + 1 - pixels - before)
        for (before, _), windows, step, gap, size, pixels in zip(
            padding, output_size, stride, dilation, kernel_size, x.shape[-2:], strict=True
        )
    )
    return (top, bottom), (left, right)


def _pad(x: Tensor, padding: ResolvedPadding, value: float) -> Tensor:
    (top, bottom), (left, right) = padding
    return F.pad(x, (left, right, top, bottom), value=value)


def adaptive_by_slices(
    x: Tensor, pixels: Pair, output_size: Pair, reduce: Callable[[Tensor, int], Tensor]
) -> Tensor:
    """An adaptive pool as a reduction of every window's rows, then of its columns."""
    axes = x.dim() - 2, x.dim() - 1
    for axis, size, count in zip(axes, pixels, output_size, strict=True):
        edges = [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]
        windows = [reduce(x.narrow(axis, start, end - start), axis) for start, end in edges]
        x = torch.stack(windows, axis)
    return x


def _least(dtype: torch.dtype) -> float:
    return -torch.inf if dtype.is_floating_point else torch.iinfo(dtype).min


def _pixels(windows: int, size: int, stride: int, before: int, span: Pair, like: Tensor) -> Tensor:
    """How many pixels of this span of an axis each window holds; the image starts at 0."""
    start = torch.arange(windows, device=like.device) * stride - before
    return ((start + size).clamp(max=span[1]) - start.clamp(min=span[0])).to(like.dtype)
