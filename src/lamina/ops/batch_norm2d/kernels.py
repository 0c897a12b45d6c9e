"""Batch normalisation's kernels as torch ops: with the batch's statistics, with running ones.

Backward keeps x and 2·C numbers; the activation's input is recomputed.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lamina.ops.activation import activation_epilogue
from lamina.ops.batch_norm2d.pytorch import affine_batch_norm
from lamina.ops.runtime import boundary, layout, memory, native
from lamina.ops.runtime.registration import (
    Arguments,
    Gradients,
    differentiable_gradients,
    register,
)
from lamina.theory import batch_norm2d as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction

# ---- training: the batch's statistics -----------------------------------------------------------


def _is_channels_last(x: Tensor) -> bool:
    """Of the output: PyTorch's rule."""
    order = layout.memory_format(x)
    if order is torch.preserve_format:
        return layout.is_channels_last(x)
    return order is not torch.contiguous_format


def _gradient_is_channels_last(x: Tensor, dy: Tensor) -> bool:
    """PyTorch's rule, where an axis of one element leaves it open."""
    asked = layout.is_channels_last(x)
    return _is_channels_last(x) if layout.is_channels_last(dy) == asked else asked


def _extents(x: Tensor, channels_last: bool) -> tuple[int, int, int]:
    """(outer, channels, inner) of the kernels: channels vary fastest where inner is 1."""
    channels = x.shape[1]
    if channels_last:
        return x.numel() // channels, channels, 1
    return x.shape[0], channels, math.prod(x.shape[2:])


_INPUT = "batch_norm: the input"


def _vector(x: Tensor | None, name: str, like: Tensor) -> Tensor | None:
    return boundary.vector(x, f"batch_norm: {name}", like.shape[1])


def _training_kernel(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    activation: str,
    negative_slope: float,
) -> tuple[Tensor, Tensor, Tensor]:
    channels_last = _is_channels_last(x)
    x = boundary.image(x, _INPUT, channels_last)
    y = memory.empty(x.shape, x, channels_last=channels_last)
    mean = x.new_empty(x.shape[1])
    variance = torch.empty_like(mean)
    native.kernels.batch_norm2d_training(
        x,
        *_extents(x, channels_last),
        _vector(weight, "weight", x),
        _vector(bias, "bias", x),
        eps,
        native.ACTIVATIONS.index(activation),
        negative_slope,
        mean,
        variance,
        y,
    )
    return y, mean, variance


def _training_fake(a: Arguments) -> tuple[Tensor, Tensor, Tensor]:
    mean = a.x.new_empty(a.x.shape[1])
    return _fake_like(a.x), mean, torch.empty_like(mean)


def _fake_like(x: Tensor) -> Tensor:
    return layout.fake_empty(x, x.shape, _is_channels_last(x))


def _training_save(ctx: Any, a: Arguments, output: tuple[Tensor, ...]) -> None:
    _, mean, variance = output
    ctx.options = (a.eps, a.activation, a.negative_slope)
    ctx.mark_non_differentiable(mean, variance)
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(a.x, a.weight, a.bias, mean, variance)


def _training_backward(ctx: Any, dy: Tensor | None, *_: Tensor | None) -> Gradients:
    x, weight, bias, mean, variance = ctx.saved_tensors
    eps, activation, negative_slope = ctx.options
    if dy is None:
        return {}
    if torch.is_grad_enabled():

        def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
            y = affine_batch_norm(x, None, None, weight, bias, True, 0.0, eps)
            return activation_epilogue(y, activation, negative_slope)

        found = differentiable_gradients(forward, (x, weight, bias), dy)
    else:
        found = _backward(
            x, dy, mean, variance, weight, bias, eps, activation, negative_slope, True
        )
    return _gradients(found, weight, bias)


# ---- inference: the running statistics ----------------------------------------------------------


def _inference_kernel(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    activation: str,
    negative_slope: float,
) -> Tensor:
    channels_last = _is_channels_last(x)
    x = boundary.image(x, _INPUT, channels_last)
    channels = x.shape[1]
    y = memory.empty(x.shape, x, channels_last=channels_last)
    native.kernels.batch_norm2d_inference(
        x,
        *_extents(x, channels_last),
        boundary.row_major(mean, "batch_norm: running_mean", (channels,)),
        boundary.row_major(variance, "batch_norm: running_var", (channels,)),
        _vector(weight, "weight", x),
        _vector(bias, "bias", x),
        eps,
        native.ACTIVATIONS.index(activation),
        negative_slope,
        y,
    )
    return y


def _inference_save(ctx: Any, a: Arguments, output: Tensor) -> None:
    ctx.options = (a.eps, a.activation, a.negative_slope)
    # Training may have changed the running statistics before backward comes.
    ctx.save_for_backward(a.x, a.mean.clone(), a.variance.clone(), a.weight, a.bias)


def _inference_backward(ctx: Any, dy: Tensor) -> Gradients:
    x, mean, variance, weight, bias = ctx.saved_tensors
    eps, activation, negative_slope = ctx.options
    if torch.is_grad_enabled():

        def forward(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
            y = affine_batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
            return activation_epilogue(y, activation, negative_slope)

        found = differentiable_gradients(forward, (x, weight, bias), dy)
    else:
        found = _backward(
            x, dy, mean, variance, weight, bias, eps, activation, negative_slope, False
        )
    return _gradients(found, weight, bias)


# ---- of both ------------------------------------------------------------------------------------


def _gradients(
    found: tuple[Tensor | None, ...], weight: Tensor | None, bias: Tensor | None
) -> Gradients:
    """Of what there is: the kernel gives all three."""
    dx, dweight, dbias = found
    return {
        "x": dx,
        "weight": None if weight is None else dweight,
        "bias": None if bias is None else dbias,
    }


def _backward_kernel(
    x: Tensor,
    dy: Tensor,
    mean: Tensor,
    variance: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    eps: float,
    activation: str,
    negative_slope: float,
    batch_statistics: bool,
) -> tuple[Tensor, Tensor, Tensor]:
    channels_last = _gradient_is_channels_last(x, dy)
    x = boundary.image(x, _INPUT, channels_last)
    dx = memory.empty(x.shape, x, channels_last=channels_last)
    dy = boundary.as_in(dy, "batch_norm: the gradient", dx.shape, dx.stride())
    channels = x.shape[1]
    gradient_weight, gradient_bias = x.new_empty(channels), x.new_empty(channels)
    native.kernels.batch_norm2d_backward(
        x,
        dy,
        *_extents(x, channels_last),
        boundary.row_major(mean, "batch_norm: mean", (channels,)),
        boundary.row_major(variance, "batch_norm: variance", (channels,)),
        _vector(weight, "weight", x),
        _vector(bias, "bias", x),
        eps,
        native.ACTIVATIONS.index(activation),
        negative_slope,
        batch_statistics,
        gradient_weight,
        gradient_bias,
        dx,
    )
    return dx, gradient_weight, gradient_bias


def _cost(a: Arguments, *, training: bool, direction: Direction = "forward") -> Cost:
    return theory.cost(
        a.x.shape,
        affine=a.weight is not None,
        training=training,
        activation=None if a.activation == "none" else a.activation,
        direction=direction,
    )


def _kind(a: Arguments) -> str:
    return "batch_norm2d" if a.x.dim() == 4 else "batch_norm"


def _settings(a: Arguments) -> str:
    return "" if a.activation == "none" else f"then {a.activation}"


_OPTIONS = "Tensor? weight, Tensor? bias, float eps, str activation, float negative_slope"

_backward = register(
    f"batch_norm_backward(Tensor x, Tensor dy, Tensor mean, Tensor variance, {_OPTIONS}, "
    "bool batch_statistics) -> (Tensor, Tensor, Tensor)",
    _backward_kernel,
    lambda a: (
        layout.fake_empty(a.x, a.x.shape, _gradient_is_channels_last(a.x, a.dy)),
        a.x.new_empty(a.x.shape[1]),
        a.x.new_empty(a.x.shape[1]),
    ),
    cost=lambda a: _cost(a, training=a.batch_statistics, direction="backward"),
)
training = register(
    f"batch_norm_training(Tensor x, {_OPTIONS}) -> (Tensor, Tensor, Tensor)",
    _training_kernel,
    _training_fake,
    save=_training_save,
    backward=_training_backward,
    cost=partial(_cost, training=True),
    kind=_kind,
    settings=_settings,
    training=True,
)
inference = register(
    f"batch_norm_inference(Tensor x, Tensor mean, Tensor variance, {_OPTIONS}) -> Tensor",
    _inference_kernel,
    lambda a: _fake_like(a.x),
    save=_inference_save,
    backward=_inference_backward,
    cost=partial(_cost, training=False),
    kind=_kind,
    settings=_settings,
    training=False,
)
