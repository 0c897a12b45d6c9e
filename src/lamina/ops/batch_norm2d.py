"""Batch normalisation: every channel to mean 0 and deviation 1, then scaled and shifted.

y[n, c, h, w] = activation((x[n, c, h, w] − mean[c]) / √(variance[c] + eps) · weight[c] + bias[c])

Source: Ioffe and Szegedy, "Batch Normalization" (2015), algorithm 1.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.activation import activation_epilogue
from lamina.ops.runtime import boundary, layout, memory, native
from lamina.ops.runtime.checks import check_floating, check_vector
from lamina.ops.runtime.registration import (
    Arguments,
    Gradients,
    differentiable_gradients,
    register,
)
from lamina.ops.runtime.torch_private import script_tracer
from lamina.theory import batch_norm2d as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    unbiased: bool = True,
    activation: str | None = None,
    negative_slope: float = 0.01,
) -> Tensor:
    """Normalises every channel and applies an activation in the same pass over memory.

    Args:
        x: (N, C, ...), any memory format; the output has the same.
        running_mean: (C,), updated in training; None takes the batch's statistics always.
        running_var: (C,), likewise.
        weight: (C,) or None for 1.
        bias: (C,) or None for 0.
        training: normalise with the batch's statistics, else with the running ones.
        momentum: the part of the running statistics that is replaced, in [0, 1].
        eps: added to the variance, > 0.
        unbiased: the running variance divides by n − 1 (PyTorch) and not by n (Keras). With one
            value per channel only the latter is defined: the output is then the bias.
        activation: "relu", "relu6", "leaky_relu", "silu", "hardswish" or None.
        negative_slope: of leaky_relu.

    Returns:
        (N, C, ...). For backward it keeps x and 2·C numbers; the activation's input is recomputed.
        (Small images go to PyTorch's op, which is quicker there and keeps more.)

    Raises:
        TypeError: an integer input.
        ValueError: no axis of channels, a parameter or statistic of another length, one of the two
            statistics alone, or one value per channel in training with ``unbiased``.

    Example:
        >>> y = batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True)
        >>> y.flatten()
        tensor([-1.0000,  1.0000])
    """
    check_floating(x, "batch_norm")
    _check_shapes(x, running_mean, running_var, weight, bias)
    use_batch_statistics = training or running_mean is None or running_var is None
    count = x.numel() // x.shape[1] if x.shape[1] else 0
    if use_batch_statistics and unbiased and count == 1:
        raise ValueError(
            "batch_norm: training needs more than one value per channel, "
            f"got an input of shape {tuple(x.shape)}"
        )
    name = activation or "none"
    by_one_op = unbiased or not use_batch_statistics
    if (
        name not in native.ACTIVATIONS
        or not native.serves(x, running_mean, running_var, weight, bias)
        or (by_one_op and native.is_small(x))
    ):
        plain = _torch_batch_norm(
            x, running_mean, running_var, weight, bias, training, momentum, eps, unbiased
        )
        return activation_epilogue(plain, name, negative_slope)
    y: Tensor
    if not use_batch_statistics:
        y = _inference(x, running_mean, running_var, weight, bias, eps, name, negative_slope)
        return y
    y, mean, variance = _training(x, weight, bias, eps, name, negative_slope)
    if training and running_mean is not None and running_var is not None:
        correction = count / (count - 1) if unbiased else 1.0
        _update(running_mean, running_var, mean, variance, momentum, momentum * correction)
    return y


def _check_shapes(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
) -> None:
    if x.dim() < 2:
        raise ValueError(f"batch_norm: the input must be (N, C, ...), got shape {tuple(x.shape)}")
    channels = x.shape[1]
    check_vector(running_mean, "batch_norm", "running_mean", channels)
    check_vector(running_var, "batch_norm", "running_var", channels)
    check_vector(weight, "batch_norm", "weight", channels)
    check_vector(bias, "batch_norm", "bias", channels)
    if (running_mean is None) != (running_var is None):
        missing = "running_mean" if running_mean is None else "running_var"
        raise ValueError(f"batch_norm: {missing} is None; the other one needs it")


def _update(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    variance: Tensor,
    share: float,
    variance_share: float,
) -> None:
    """Move the running statistics by ``share`` towards the batch's.

    Their version stays, as it does in PyTorch's op: what was saved of them for a backward pass,
    which needs none or has copies, is not out of date.
    """
    own = (running_mean, running_var)
    directly = native.runs_directly(own)
    if directly and all(tensor.is_contiguous() for tensor in own):
        # Three small ops of PyTorch's would cost as much as a small layer.
        native.kernels.batch_norm2d_update(
            running_mean, running_var, mean, variance, mean.numel(), share, variance_share
        )
        return
    with torch.no_grad():
        if directly:
            running_mean, running_var = running_mean.data, running_var.data
        running_mean.mul_(1 - share).add_(mean, alpha=share)
        running_var.mul_(1 - share).add_(variance, alpha=variance_share)


def _kept(statistic: Tensor, *differentiated: Tensor | None) -> Tensor:
    """A running statistic as backward will read it, whatever training makes of it before."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled() or script_tracer() is not None:
        return statistic
    asked = any(tensor is not None and tensor.requires_grad for tensor in differentiated)
    return statistic.clone() if asked else statistic


# ---- PyTorch's own ------------------------------------------------------------------------------


def _torch_batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    unbiased: bool,
) -> Tensor:
    if not training and running_mean is not None and running_var is not None:
        mean, variance = (_kept(own, x, weight, bias) for own in (running_mean, running_var))
        return _affine_batch_norm(x, mean, variance, weight, bias, False, momentum, eps)
    if unbiased:
        return _affine_batch_norm(x, running_mean, running_var, weight, bias, True, momentum, eps)
    count = x.numel() // x.shape[1]
    if count == 0:
        return _affine_batch_norm(x, None, None, weight, bias, True, momentum, eps)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    variance, mean = torch.var_mean(x, axes, correction=0)
    if training and running_mean is not None and running_var is not None:
        # No `no_grad`: what is exported with it and saved, PyTorch does not load again.
        running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
        running_var.lerp_(variance.detach().to(running_var.dtype), momentum)
    if count > 1:
        return _affine_batch_norm(x, None, None, weight, bias, True, momentum, eps)
    y = x - x  # one value is its own mean; keeps the graph, whose gradient is zero
    shape = [1, -1] + [1] * (x.dim() - 2)
    y = y if weight is None else y * weight.view(shape)
    return y if bias is None else y + bias.view(shape)


def _affine_batch_norm(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    if weight is not None or bias is None:
        return F.batch_norm(x, mean, variance, weight, bias, training, momentum, eps)
    # PyTorch's own second derivative forgets a bias that has no weight beside it.
    y = F.batch_norm(x, mean, variance, None, None, training, momentum, eps)
    return y + bias.to(y.dtype).view(1, -1, *[1] * (x.dim() - 2))


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
            y = _affine_batch_norm(x, None, None, weight, bias, True, 0.0, eps)
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
            y = _affine_batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
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
_training = register(
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
_inference = register(
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
