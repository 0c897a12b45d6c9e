"""Global pooling's kernels as torch ops: a reduction over the pixels, keeping their axes.

For backward a mean keeps nothing; a maximum keeps x and itself, as equal maxima share the gradient.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.ops.runtime import boundary, layout, memory, native
from lamina.ops.runtime.registration import (
    Arguments,
    Gradients,
    differentiable_gradients,
    register,
)
from lamina.theory import pool2d as theory
from lamina.theory.cost import Cost
from lamina.theory.pool2d import Operation

_Numbers = Sequence[int]


_INPUT, _GRADIENT = "global pooling: the input", "global pooling: the gradient"


def _global_kernel(name: str) -> Callable[[Tensor], Tensor]:
    def kernel(x: Tensor) -> Tensor:
        channels_last = layout.is_channels_last(x)
        images, channels, height, width = x.shape
        y = memory.empty((images, channels, 1, 1), x, channels_last=channels_last)
        compute = getattr(native.kernels, name)
        x = boundary.image(x, _INPUT, channels_last)
        compute(x, images, channels, height * width, channels_last, y)
        return y

    return kernel


def _global_fake(a: Arguments) -> Tensor:
    return layout.fake_empty(a.x, (*a.x.shape[:2], 1, 1), layout.is_channels_last(a.x))


def _global_average_save(ctx: Any, a: Arguments, output: Tensor) -> None:
    ctx.size = tuple(a.x.shape[2:])
    # Of one pixel PyTorch's gradient is row-major, whatever the strides say.
    ctx.channels_last = layout.is_channels_last(a.x) and ctx.size != (1, 1)


def _global_average_backward(ctx: Any, dy: Tensor) -> Gradients:
    return {"x": _global_average_gradient(dy, ctx.size, ctx.channels_last)}


def _global_average_gradient_kernel(dy: Tensor, size: _Numbers, channels_last: bool) -> Tensor:
    images, channels = dy.shape[:2]
    dy = boundary.image(dy, _GRADIENT, channels_last, (images, channels, 1, 1))
    dx = memory.empty((images, channels, *size), dy, channels_last=channels_last)
    native.kernels.pool2d_global_average_backward(
        dy, images, channels, size[0] * size[1], channels_last, dx
    )
    return dx


def _global_average_gradient_save(ctx: Any, a: Arguments, output: Tensor) -> None:
    pass  # linear, and the gradient of its result has the size that it needs


def _global_average_gradient_backward(ctx: Any, ddx: Tensor) -> Gradients:
    return {"dy": global_average(ddx)}


def _global_max_save(ctx: Any, a: Arguments, output: Tensor) -> None:
    ctx.save_for_backward(a.x, output)


def _global_max_backward(ctx: Any, dy: Tensor) -> Gradients:
    x, y = ctx.saved_tensors
    dx: Tensor | None
    if torch.is_grad_enabled():
        (dx,) = differentiable_gradients(lambda x: x.amax((-2, -1), keepdim=True), (x,), dy)
    else:
        dx = _global_max_gradient(x, y, dy)
    return {"x": dx}


def _global_max_gradient_kernel(x: Tensor, y: Tensor, dy: Tensor) -> Tensor:
    channels_last = layout.is_channels_last(x)
    images, channels, height, width = x.shape
    pooled = (images, channels, 1, 1)
    dx = memory.empty(x.shape, x, channels_last=channels_last)
    native.kernels.pool2d_global_max_backward(
        boundary.image(x, _INPUT, channels_last),
        boundary.image(y, "global pooling: the output", channels_last, pooled),
        boundary.image(dy, _GRADIENT, channels_last, pooled),
        images,
        channels,
        height * width,
        channels_last,
        dx,
    )
    return dx


def _cost(operation: Operation) -> Callable[[Arguments], Cost]:
    return lambda a: theory.global_cost(tuple(a.x.shape), operation=operation)


global_average = register(
    "global_avg_pool2d(Tensor x) -> Tensor",
    _global_kernel("pool2d_global_average"),
    _global_fake,
    save=_global_average_save,
    backward=_global_average_backward,
    cost=_cost("average"),
    linear_in="x",
    kind="global_avg_pool2d",
)
_global_average_gradient = register(
    "global_avg_pool2d_backward(Tensor dy, SymInt[] size, bool channels_last) -> Tensor",
    _global_average_gradient_kernel,
    lambda a: layout.fake_empty(a.dy, (*a.dy.shape[:2], *a.size), a.channels_last),
    save=_global_average_gradient_save,
    backward=_global_average_gradient_backward,
    cost=lambda a: theory.global_cost(
        (*a.dy.shape[:2], *a.size), operation="average", direction="backward"
    ),
)
global_max = register(
    "global_max_pool2d(Tensor x) -> Tensor",
    _global_kernel("pool2d_global_max"),
    _global_fake,
    save=_global_max_save,
    backward=_global_max_backward,
    cost=_cost("max"),
    kind="global_max_pool2d",
)
_global_max_gradient = register(
    "global_max_pool2d_backward(Tensor x, Tensor y, Tensor dy) -> Tensor",
    _global_max_gradient_kernel,
    lambda a: layout.fake_empty(a.x, a.x.shape, layout.is_channels_last(a.x)),
    cost=lambda a: theory.global_cost(tuple(a.x.shape), operation="max", direction="backward"),
)
