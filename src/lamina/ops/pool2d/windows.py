"""Pooling's kernels as torch ops: four numbers for the padding, sizes already worked out.

For backward a maximum keeps its place in the window, one byte; a mean keeps nothing. Both
gradients are linear maps, so each can be differentiated as often as one likes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamina.ops.padding import sides
from lamina.ops.runtime import boundary, layout, memory, native
from lamina.ops.runtime.registration import Arguments, Gradients, Window, register
from lamina.theory import pool2d as theory
from lamina.theory.cost import Cost
from lamina.theory.pool2d import Operation
from lamina.theory.shapes import Direction

BYTE_TAPS = 256
"""A window of more taps has places that no byte holds."""

_Numbers = Sequence[int]


class Sliding(NamedTuple):
    """The window that an op takes, in this order; its padding is (top, bottom, left, right)."""

    kernel_size: _Numbers
    stride: _Numbers
    padding: _Numbers
    dilation: _Numbers
    output_size: _Numbers


_WINDOW = ", ".join(f"SymInt[] {name}" for name in Sliding._fields)


def _axes(size: _Numbers, window: Sliding) -> tuple[_Numbers, _Numbers]:
    """Rows and columns as the kernels take them, in the order of ``Axis`` in pool2d.h."""
    kernel_size, stride, padding, dilation, windows = window
    top, bottom, left, right = padding
    return (
        (size[0], windows[0], kernel_size[0], stride[0], dilation[0], top, bottom),
        (size[1], windows[1], kernel_size[1], stride[1], dilation[1], left, right),
    )


# ---- maximum ------------------------------------------------------------------------------------

_INPUT, _GRADIENT = "pooling: the input", "pooling: the gradient"


def _run_max(x: Tensor, places: Tensor | None, window: Sliding) -> Tensor:
    channels_last = layout.is_channels_last(x)
    images, channels, *size = x.shape
    y = memory.empty((images, channels, *window.output_size), x, channels_last=channels_last)
    native.kernels.pool2d_max(
        boundary.image(x, _INPUT, channels_last),
        images,
        channels,
        *_axes(size, window),
        channels_last,
        y,
        places,
    )
    return y


def _max_inference_kernel(x: Tensor, *window: Any) -> Tensor:
    return _run_max(x, None, Sliding(*window))


def _pooled_fake(a: Arguments) -> Tensor:
    return layout.fake_empty(a.x, (*a.x.shape[:2], *a.output_size), layout.is_channels_last(a.x))


def _max_kernel(x: Tensor, *numbers: Any) -> tuple[Tensor, Tensor]:
    window = Sliding(*numbers)
    size = (*x.shape[:2], *window.output_size)
    places = memory.empty(size, x, channels_last=layout.is_channels_last(x), dtype=torch.uint8)
    return _run_max(x, places, window), places


def _max_fake(a: Arguments) -> tuple[Tensor, Tensor]:
    y = _pooled_fake(a)
    return y, torch.empty_like(y, dtype=torch.uint8)


def _save_window(ctx: Any, a: Arguments) -> None:
    _, *ctx.window = a
    ctx.size = tuple(a.x.shape[2:])
    ctx.channels_last = layout.is_channels_last(a.x)


def _max_save(ctx: Any, a: Arguments, output: tuple[Tensor, Tensor]) -> None:
    _save_window(ctx, a)
    _, places = output
    ctx.mark_non_differentiable(places)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(places)


def _max_backward(ctx: Any, dy: Tensor | None, _: Tensor | None) -> Gradients:
    (places,) = ctx.saved_tensors
    return _gradient_of_max(ctx, dy, places)


def _max_inference_save(ctx: Any, a: Arguments, output: Tensor) -> None:
    _save_window(ctx, a)
    ctx.save_for_backward(a.x)


def _max_inference_backward(ctx: Any, dy: Tensor) -> Gradients:
    # Rarely asked: a program that was exported without gradients is differentiated after all.
    (x,) = ctx.saved_tensors
    _, places = max_pool(x.detach(), *ctx.window)
    return _gradient_of_max(ctx, dy, places)


def _gradient_of_max(ctx: Any, dy: Tensor | None, places: Tensor) -> Gradients:
    if dy is None:
        return {}
    backward = _scatter if torch.is_grad_enabled() else _max_gradient
    return {"x": backward(dy, places, ctx.size, *ctx.window, ctx.channels_last)}


def indices_of(places: Tensor, size: _Numbers, window: Sliding) -> tuple[Tensor, Tensor]:
    """Pixels of the image, row · W + column, of places in windows; and which exist.

    A dilated window beside a small image may hold no pixel at all.
    """
    kernel_size, stride, padding, dilation, output_size = window
    taps = places.long()
    # Not on the device that is the default just now.
    rows = torch.arange(output_size[0], device=places.device)[:, None] * stride[0] - padding[0]
    rows = rows + taps // kernel_size[1] * dilation[0]
    columns = torch.arange(output_size[1], device=places.device) * stride[1] - padding[2]
    columns = columns + taps % kernel_size[1] * dilation[1]
    inside = (rows >= 0) & (rows < size[0]) & (columns >= 0) & (columns < size[1])
    return rows.clamp(0, size[0] - 1) * size[1] + columns.clamp(0, size[1] - 1), inside


def _scatter(dy: Tensor, places: Tensor, size: _Numbers, *window_and_layout: Any) -> Tensor:
    """The gradient in PyTorch's own ops, to be differentiated again."""
    *window, _ = window_and_layout
    indices, inside = indices_of(places, size, Sliding(*window))
    images, channels = dy.shape[:2]
    dx = dy.new_zeros(images, channels, size[0] * size[1])
    dx = dx.scatter_add(2, indices.flatten(2), torch.where(inside, dy, 0.0).flatten(2))
    return dx.view(images, channels, *size)


def _max_gradient_kernel(
    dy: Tensor, places: Tensor, size: _Numbers, *window_and_layout: Any
) -> Tensor:
    *numbers, channels_last = window_and_layout
    window = Sliding(*numbers)
    images, channels = dy.shape[:2]
    pooled = (images, channels, *window.output_size)
    dx = memory.empty((images, channels, *size), dy, channels_last=channels_last)
    native.kernels.pool2d_max_backward(
        boundary.image(dy, _GRADIENT, channels_last, pooled),
        boundary.image(places, "pooling: the saved places", channels_last, pooled, torch.uint8),
        images,
        channels,
        *_axes(size, window),
        channels_last,
        dx,
    )
    return dx


# ---- of both ------------------------------------------------------------------------------------


def _gradient_fake(a: Arguments) -> Tensor:
    return layout.fake_empty(a.dy, (*a.dy.shape[:2], *a.size), a.channels_last)


def _cost(operation: Operation, direction: Direction) -> Callable[[Arguments], Cost]:
    def cost(a: Arguments) -> Cost:
        forward = direction == "forward"
        return theory.cost(
            tuple(a.x.shape) if forward else (*a.dy.shape[:2], *a.size),
            tuple(a.kernel_size),
            tuple(a.stride),
            sides(a.padding),
            tuple(a.dilation),
            operation=operation,
            direction=direction,
        )

    return cost


def _window(a: Arguments) -> Window:
    padding = sides(a.padding)
    return Window(tuple(a.kernel_size), tuple(a.stride), padding, tuple(a.dilation), False)


max_pool = register(
    f"max_pool2d(Tensor x, {_WINDOW}) -> (Tensor, Tensor)",
    _max_kernel,
    _max_fake,
    save=_max_save,
    backward=_max_backward,
    cost=_cost("max", "forward"),
    kind="max_pool2d",
    window=_window,
)
max_pool_inference = register(
    f"max_pool2d_inference(Tensor x, {_WINDOW}) -> Tensor",
    _max_inference_kernel,
    _pooled_fake,
    save=_max_inference_save,
    backward=_max_inference_backward,
    cost=_cost("max", "forward"),
    kind="max_pool2d",
    window=_window,
)
_max_gradient = register(
    f"max_pool2d_backward(Tensor dy, Tensor places, SymInt[] size, {_WINDOW}, "
    "bool channels_last) -> Tensor",
    _max_gradient_kernel,
    _gradient_fake,
    cost=_cost("max", "backward"),
)


# ---- mean ---------------------------------------------------------------------------------------

_MEAN = f"{_WINDOW}, bool count_padding, int divisor"


def _average_kernel(x: Tensor, *window_and_divisor: Any) -> Tensor:
    *numbers, count_padding, divisor = window_and_divisor
    window = Sliding(*numbers)
    channels_last = layout.is_channels_last(x)
    images, channels, *size = x.shape
    y = memory.empty((images, channels, *window.output_size), x, channels_last=channels_last)
    native.kernels.pool2d_average(
        boundary.image(x, _INPUT, channels_last),
        images,
        channels,
        *_axes(size, window),
        channels_last,
        count_padding,
        divisor,
        y,
    )
    return y


def _average_save(ctx: Any, a: Arguments, output: Tensor) -> None:
    _save_window(ctx, a)


def _average_backward(ctx: Any, dy: Tensor) -> Gradients:
    return {"x": _average_gradient(dy, ctx.size, *ctx.window, ctx.channels_last)}


def _average_gradient_kernel(dy: Tensor, size: _Numbers, *rest: Any) -> Tensor:
    *numbers, count_padding, divisor, channels_last = rest
    window = Sliding(*numbers)
    images, channels = dy.shape[:2]
    dx = memory.empty((images, channels, *size), dy, channels_last=channels_last)
    native.kernels.pool2d_average_backward(
        boundary.image(dy, _GRADIENT, channels_last, (images, channels, *window.output_size)),
        images,
        channels,
        *_axes(size, window),
        channels_last,
        count_padding,
        divisor,
        dx,
    )
    return dx


def _average_gradient_save(ctx: Any, a: Arguments, output: Tensor) -> None:
    _dy, _size, *ctx.window, _channels_last = a


def _average_gradient_backward(ctx: Any, ddx: Tensor) -> Gradients:
    return {"dy": average_pool(ddx, *ctx.window)}


average_pool = register(
    f"avg_pool2d(Tensor x, {_MEAN}) -> Tensor",
    _average_kernel,
    _pooled_fake,
    save=_average_save,
    backward=_average_backward,
    cost=_cost("average", "forward"),
    linear_in="x",
    kind="avg_pool2d",
    window=_window,
)
_average_gradient = register(
    f"avg_pool2d_backward(Tensor dy, SymInt[] size, {_MEAN}, bool channels_last) -> Tensor",
    _average_gradient_kernel,
    _gradient_fake,
    save=_average_gradient_save,
    backward=_average_gradient_backward,
    cost=_cost("average", "backward"),
)
