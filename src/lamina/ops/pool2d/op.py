"""Pooling: the maximum or the mean of every window, or of the whole image.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), section 3.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.padding import is_even
from lamina.ops.pool2d import over_image, windows
from lamina.ops.pool2d.pytorch import adaptive_by_slices, plan_avg_pool2d, plan_max_pool2d
from lamina.ops.runtime import checks, native
from lamina.ops.tuning import plans
from lamina.theory import shapes, validation
from lamina.theory.pool2d import check_pool_padding
from lamina.theory.shapes import Padding, Pair, ResolvedPadding

OutputSize = int | None | tuple[int | None, int | None]
"""(H', W'); one number for both; None keeps the input's."""


def max_pool2d(
    x: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest value of every window; padding counts as −∞, NaN wins.

    Args:
        x: (N, C, H, W) or (C, H, W), any memory format; integers too.
        kernel_size: window in pixels.
        stride: pixels from one window to the next; None takes ``kernel_size``.
        padding: one number, (height, width), ((top, bottom), (left, right)), ``"same"``
            (TensorFlow's rule) or ``"valid"``; at most half of the dilated window on each side.
        dilation: pixels from one tap to the next.
        ceil_mode: keep a last window that hangs over the end.
        return_indices: also return where the maximum was: row · W + column, int64.

    Returns:
        (N, C, H', W'), or that and the indices. The gradient goes to the first maximum.

    Raises:
        ValueError: a wrong rank or argument; a window larger than the padded input.
        TypeError: a boolean or complex input.

    Example:
        >>> max_pool2d(torch.arange(16.0).reshape(1, 1, 4, 4), 2)
        tensor([[[[ 5.,  7.],
                  [13., 15.]]]])
    """
    window = (kernel_size, stride, padding, dilation, ceil_mode, return_indices)
    pooled: Tensor | tuple[Tensor, Tensor] = _planned_max((x,), window)
    return pooled


def _plan_max(
    x: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None,
    padding: Padding,
    dilation: int | Pair,
    ceil_mode: bool,
    return_indices: bool,
) -> plans.Run:
    checks.check_ordered(x, "max_pool2d")
    kernel_size, stride, dilation = _window(kernel_size, stride, dilation)
    resolved, output_size = _fit(x, kernel_size, stride, padding, dilation, ceil_mode, "max_pool2d")
    if kernel_size[0] * kernel_size[1] <= windows.BYTE_TAPS and _serves(x, resolved):
        sides = (*resolved[0], *resolved[1])
        window = windows.Sliding(kernel_size, stride, sides, dilation, output_size)
        return partial(_native_max_pool2d, window=window, return_indices=return_indices)
    return plan_max_pool2d(
        kernel_size, stride, resolved, dilation, output_size, ceil_mode, return_indices
    )


def _serves(x: Tensor, padding: ResolvedPadding) -> bool:
    """Whether a kernel computes; PyTorch's pools take other padding than even by several ops."""
    return native.serves(x) and not (native.is_small(x) and is_even(padding))


def _native_max_pool2d(
    x: Tensor, window: windows.Sliding, return_indices: bool
) -> Tensor | tuple[Tensor, Tensor]:
    batch = _as_batch(x)
    if not return_indices and not (torch.is_grad_enabled() and x.requires_grad):
        return _unbatch(windows.max_pool_inference(batch, *window), x)
    pooled, places = windows.max_pool(batch, *window)
    if not return_indices:
        return _unbatch(pooled, x)
    indices, _ = windows.indices_of(places, x.shape[-2:], window)
    return _unbatch(pooled, x), _unbatch(indices, x)


_planned_max = plans.planned(_plan_max)


def avg_pool2d(
    x: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None = None,
    padding: Padding = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of every window.

    Args:
        x: (N, C, H, W) or (C, H, W), any memory format.
        kernel_size: window in pixels.
        stride: pixels from one window to the next; None takes ``kernel_size``.
        padding: as for ``max_pool2d``, of zeros.
        ceil_mode: keep a last window that hangs over the end.
        count_include_pad: divide by the window's size within the padded image; False divides by the
            number of real pixels (TensorFlow's rule).
        divisor_override: divide by this number in the place of either.

    Returns:
        (N, C, H', W').

    Raises:
        ValueError: a wrong rank or argument; a window larger than the padded input.
        TypeError: an integer input.

    Example:
        >>> ones = torch.ones(1, 1, 3, 3)
        >>> avg_pool2d(ones, 2, padding="same")
        tensor([[[[1.0000, 0.5000],
                  [0.5000, 0.2500]]]])
        >>> avg_pool2d(ones, 2, padding="same", count_include_pad=False)
        tensor([[[[1., 1.],
                  [1., 1.]]]])
    """
    window = (kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override)
    pooled: Tensor = _planned_average((x,), window)
    return pooled


def _plan_average(
    x: Tensor,
    kernel_size: int | Pair,
    stride: int | Pair | None,
    padding: Padding,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> plans.Run:
    checks.check_floating(x, "avg_pool2d")
    kernel_size, stride, _ = _window(kernel_size, stride, 1)
    if divisor_override is not None:
        validation.positive_int(divisor_override, "divisor_override")
    resolved, output_size = _fit(x, kernel_size, stride, padding, (1, 1), ceil_mode, "avg_pool2d")
    if not _serves(x, resolved):
        return plan_avg_pool2d(
            kernel_size,
            stride,
            resolved,
            output_size,
            ceil_mode,
            count_include_pad,
            divisor_override,
        )
    sides = (*resolved[0], *resolved[1])
    window = windows.Sliding(kernel_size, stride, sides, (1, 1), output_size)
    divided = (count_include_pad, divisor_override or 0)
    return lambda x: _unbatch(windows.average_pool(_as_batch(x), *window, *divided), x)


_planned_average = plans.planned(_plan_average)


def adaptive_avg_pool2d(x: Tensor, output_size: OutputSize) -> Tensor:
    """The mean of H'×W' windows that together cover the image.

    Window i along an axis runs from floor(i · n / n') to ceil((i + 1) · n / n').

    Args:
        x: (N, C, H, W) or (C, H, W), any memory format.
        output_size: (H', W'), one number for both, None for the input's own.

    Returns:
        (N, C, H', W').

    Raises:
        ValueError: a wrong rank or a size below 1.
        TypeError: an integer input.

    Example:
        >>> adaptive_avg_pool2d(torch.arange(9.0).reshape(1, 3, 3), (1, None))
        tensor([[[3., 4., 5.]]])
    """
    pooled: Tensor = _planned_adaptive_average((x,), (output_size,))
    return pooled


def _plan_adaptive_average(x: Tensor, output_size: OutputSize) -> plans.Run:
    checks.check_image(x, "adaptive_avg_pool2d")
    checks.check_floating(x, "adaptive_avg_pool2d")
    size, to_onnx = _fill(output_size, x), _goes_to_onnx()
    if to_onnx or (native.serves(x) and not native.is_small(x)):
        if size == (1, 1):
            return global_avg_pool2d
        if (bins := _equal_bins(x, size)) is not None:
            return _plan_average(x, bins, None, 0, False, True, None)
    if to_onnx:
        return lambda x: adaptive_by_slices(x, _pixels(x), size, torch.mean)
    return lambda x: F.adaptive_avg_pool2d(x, size)


_planned_adaptive_average = plans.planned(_plan_adaptive_average)


def adaptive_max_pool2d(
    x: Tensor, output_size: OutputSize, return_indices: bool = False
) -> Tensor | tuple[Tensor, Tensor]:
    """The largest value of H'×W' windows that together cover the image; windows as for the mean.

    Args:
        x: (N, C, H, W) or (C, H, W), any memory format; integers too.
        output_size: (H', W'), one number for both, None for the input's own.
        return_indices: also return where the maximum was: row · W + column, int64.

    Returns:
        (N, C, H', W'), or that and the indices.

    Raises:
        ValueError: a wrong rank or a size below 1.
        TypeError: a boolean or complex input; an integer one where indices of windows of several
            sizes are asked for.

    Example:
        >>> adaptive_max_pool2d(torch.arange(9.0).reshape(1, 3, 3), 1)
        tensor([[[8.]]])
    """
    settings = (output_size, return_indices)
    pooled: Tensor | tuple[Tensor, Tensor] = _planned_adaptive_max((x,), settings)
    return pooled


def _plan_adaptive_max(x: Tensor, output_size: OutputSize, return_indices: bool) -> plans.Run:
    checks.check_image(x, "adaptive_max_pool2d")
    checks.check_ordered(x, "adaptive_max_pool2d")
    size = _fill(output_size, x)
    integers = not x.is_floating_point()  # of which PyTorch has the plain pool alone
    plain = integers or _goes_to_onnx()
    if (plain or (native.serves(x) and not native.is_small(x))) and (
        bins := _equal_bins(x, size)
    ) is not None:
        return _plan_max(x, bins, None, 0, 1, False, return_indices)
    if plain and not return_indices:
        return lambda x: adaptive_by_slices(x, _pixels(x), size, torch.amax)
    if return_indices:
        checks.check_floating(x, "adaptive_max_pool2d with indices")
        return lambda x: F.adaptive_max_pool2d(x, size, return_indices=True)
    return lambda x: F.adaptive_max_pool2d(x, size)


_planned_adaptive_max = plans.planned(_plan_adaptive_max)


def global_avg_pool2d(x: Tensor, keepdims: bool = True) -> Tensor:
    """The mean over all pixels: (N, C, 1, 1), or (N, C) without ``keepdims``.

    Source: Lin, Chen and Yan, "Network In Network" (2013), section 3.2.

    Raises:
        ValueError: a wrong rank.
        TypeError: an integer input.

    Example:
        >>> global_avg_pool2d(torch.arange(8.0).reshape(1, 2, 2, 2), keepdims=False)
        tensor([[1.5000, 5.5000]])
    """
    checks.check_image(x, "global_avg_pool2d")
    checks.check_floating(x, "global_avg_pool2d")
    if native.serves(x):
        pooled = _unbatch(over_image.global_average(_as_batch(x)), x)
        return pooled if keepdims else pooled.flatten(-3)
    if x.stride(-3) == 1 and x.shape[-3] > 1:
        # In the order of the memory: else PyTorch makes the gradient in the other, and copies it.
        # Axes from the front: PyTorch's older exporter to ONNX passes negative ones of a move on.
        channels, last = x.dim() - 3, x.dim() - 1
        means = x.movedim(channels, last).mean((-3, -2), keepdim=keepdims)
        return means.movedim(last, channels) if keepdims else means
    return x.mean((-2, -1), keepdim=keepdims)


def global_max_pool2d(x: Tensor, keepdims: bool = True) -> Tensor:
    """The maximum over all pixels: (N, C, 1, 1), or (N, C) without ``keepdims``.

    Equal maxima share the gradient, as in TensorFlow's ``reduce_max``;
    ``adaptive_max_pool2d(x, 1)`` gives it all to the first, as PyTorch's pools do.

    Raises:
        ValueError: a wrong rank.

    Example:
        >>> global_max_pool2d(torch.arange(8.0).reshape(1, 2, 2, 2), keepdims=False)
        tensor([[3., 7.]])
    """
    checks.check_image(x, "global_max_pool2d")
    if native.serves(x):
        pooled = _unbatch(over_image.global_max(_as_batch(x)), x)
        return pooled if keepdims else pooled.flatten(-3)
    return x.amax((-2, -1), keepdim=keepdims)


def canonical_output_size(output_size: OutputSize) -> tuple[int | None, int | None]:
    """(H', W') with None for the input's own; the check that a constructor makes.

    Raises:
        ValueError: not one or two of positive integer and None.
    """
    both = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,) * 2
    if len(both) != 2:
        raise ValueError(f"output_size must be one number or (height, width), got {output_size!r}")
    height, width = (
        None if size is None else validation.positive_int(size, "output_size") for size in both
    )
    return height, width


def _fill(output_size: OutputSize, x: Tensor) -> Pair:
    (height, width), pixels = canonical_output_size(output_size), _pixels(x)
    return pixels[0] if height is None else height, pixels[1] if width is None else width


def _goes_to_onnx() -> bool:
    """Whether an adaptive pool is exported to ONNX, which has none."""
    return native.is_exporting() and torch.onnx.is_in_onnx_export()


def _pixels(x: Tensor) -> Pair:
    """(H, W); for ONNX, those of the image traced, which fix an adaptive pool's windows."""
    height, width = x.shape[-2:]
    return (int(height), int(width)) if _goes_to_onnx() else (height, width)


def _as_batch(x: Tensor) -> Tensor:
    """The kernels take batches: (C, H, W) goes as a batch of one."""
    return x if x.dim() == 4 else x.unsqueeze(0)


def _unbatch(pooled: Tensor, x: Tensor) -> Tensor:
    return pooled if x.dim() == 4 else pooled.squeeze(0)


def _equal_bins(x: Tensor, output_size: Pair) -> Pair | None:
    """An adaptive pool's bins where they are the windows of a plain pool, side by side."""
    if torch.compiler.is_compiling() and not _goes_to_onnx():
        return None  # sizes may be symbols, and what is asked of them is a guard
    (height, width), (rows, columns) = _pixels(x), output_size
    return None if height % rows or width % columns else (height // rows, width // columns)


def _window(
    kernel_size: int | Pair, stride: int | Pair | None, dilation: int | Pair
) -> tuple[Pair, Pair, Pair]:
    kernel_size = validation.positive_pair(kernel_size, "kernel_size")
    stride = kernel_size if stride is None else validation.positive_pair(stride, "stride")
    return kernel_size, stride, validation.positive_pair(dilation, "dilation")


def _fit(
    x: Tensor,
    kernel_size: Pair,
    stride: Pair,
    padding: Padding,
    dilation: Pair,
    ceil_mode: bool,
    op: str,
) -> tuple[ResolvedPadding, Pair]:
    """The padding in pixels for this input, and how many windows fit."""
    checks.check_image(x, op)
    size = (x.shape[-2], x.shape[-1])
    resolved = shapes.resolve_padding(padding, size, kernel_size, stride, dilation)
    check_pool_padding(resolved, kernel_size, dilation)
    return resolved, shapes.window_output_size(
        size, kernel_size, stride, resolved, dilation, ceil_mode
    )
