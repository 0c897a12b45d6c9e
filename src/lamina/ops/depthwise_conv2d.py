"""Depthwise convolution: each channel with kernels of its own.

    y[n, c·M + m] = activation(bias[c·M + m] + weight[c·M + m, 0] ⋆ x[n, c])

Source: Howard et al., "MobileNets" (2017), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from lamina.ops.conv2d import pytorch
from lamina.ops.conv2d.pytorch import torch_conv2d
from lamina.ops.finish import apply_finish, cost_of_finish, finish_of, is_sum, vectors
from lamina.ops.padding import sides, window_padding
from lamina.ops.runtime import boundary, checks, layout, memory, native
from lamina.ops.runtime.registration import (
    Arguments,
    Gradients,
    Window,
    arguments_of,
    differentiable_gradients,
    register,
)
from lamina.ops.tuning import plans
from lamina.theory import depthwise_conv2d as theory
from lamina.theory import validation
from lamina.theory.cost import Cost
from lamina.theory.shapes import Padding, Pair, ResolvedPadding


def depthwise_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    *,
    activation: str | None = None,
    negative_slope: float = 0.01,
) -> Tensor:
    """Convolve each channel with kernels of its own.

    Args:
        x: (N, C, H, W) or (C, H, W), any memory format.
        weight: (C·M, 1, kernel height, kernel width); M is the depth multiplier, output channel
            c·M + m comes from input channel c.
        bias: (C·M,).
        stride: pixels from one window to the next, at least 1; may differ by axis.
        padding: as for ``conv2d``.
        dilation: pixels from one tap to the next, at least 1.
        activation: applied to the sum: "relu", "relu6", "leaky_relu", "silu", "hardswish" or None.
        negative_slope: of leaky_relu.

    Returns:
        (N, C·M, H', W'), sizes as for ``conv2d``. For backward it keeps its arguments alone; the
        activation's input is recomputed.

    Raises:
        ValueError: a wrong rank, channel count or argument; a kernel larger than the padded input.
        TypeError: an integer input, or two dtypes outside of autocast.

    Example:
        >>> import torch
        >>> depthwise_conv2d(torch.ones(1, 2, 4, 4), torch.ones(6, 1, 3, 3)).shape
        torch.Size([1, 6, 2, 2])
    """
    window = (stride, padding, dilation, activation, negative_slope)
    y: Tensor = _planned((x, weight, bias), window)
    return y


def plan(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Pair,
    padding: Padding,
    dilation: int | Pair,
    activation: str | None,
    negative_slope: float,
) -> plans.Run:
    """``depthwise_conv2d`` of such tensors, once its arguments are checked."""
    stride = validation.positive_pair(stride, "stride")
    dilation = validation.positive_pair(dilation, "dilation")
    checks.check_image(x, "depthwise_conv2d")
    _check_weight(x, weight)
    checks.check_vector(bias, "depthwise_conv2d", "bias", weight.shape[0])
    checks.check_same_dtype(x, weight, "depthwise_conv2d")
    resolved = window_padding(x, weight, stride, padding, dilation)
    name = activation or "none"
    if not (
        native.serves(x, weight, bias)
        and name in native.ACTIVATIONS
        and not torch.is_autocast_enabled("cpu")  # PyTorch's op would compute in bfloat16
    ):
        channels = x.shape[-3]
        return pytorch.plan(weight, stride, resolved, dilation, channels, name, negative_slope)
    is_batch = x.dim() == 4
    window = (stride, _flat(resolved), dilation, name, negative_slope)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        images = x if is_batch else x.unsqueeze(0)
        y: Tensor = _forward(images, weight, None, bias, None, None, 0.0, *window)
        return y if is_batch else y.squeeze(0)

    return run


_planned = plans.planned(plan)


def _check_weight(x: Tensor, weight: Tensor) -> None:
    channels = x.shape[-3]
    if weight.dim() != 4 or weight.shape[1] != 1 or not channels or weight.shape[0] % channels:
        raise ValueError(
            f"depthwise_conv2d: weight must be (C * depth_multiplier, 1, height, width) for "
            f"C = {channels}, got shape {tuple(weight.shape)}"
        )


def _flat(padding: ResolvedPadding) -> tuple[int, int, int, int]:
    return (*padding[0], *padding[1])


# ---- the kernel ---------------------------------------------------------------------------------

Sizes = Sequence[int]


def _output_size(x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes) -> Pair:
    top, bottom, left, right = padding
    height, width = x.shape[2] + top + bottom, x.shape[3] + left + right
    return (
        (height - dilation[0] * (weight.shape[2] - 1) - 1) // stride[0] + 1,
        (width - dilation[1] * (weight.shape[3] - 1) - 1) // stride[1] + 1,
    )


def _output_shape(
    x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes
) -> tuple[int, int, int, int]:
    rows, columns = _output_size(x, weight, stride, padding, dilation)
    return x.shape[0], weight.shape[0], rows, columns


def _empty_parameters(x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> tuple[Tensor, Tensor]:
    """For the gradients of weight and bias; of no element where one is not wanted."""
    steps = layout.strides_of_gradient(weight)
    return (
        x.new_empty_strided(weight.shape, steps) if wanted[1] else x.new_empty(0),
        x.new_empty(weight.shape[:1]) if wanted[2] else x.new_empty(0),
    )


def _geometry(
    x: Tensor,
    weight: Tensor,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    channels_last: bool,
) -> tuple[Sizes, Sizes, Sizes, Sizes, Sizes, Sizes, Sizes, bool]:
    """As the kernels take it: bindings/depthwise_conv2d.cc names the items."""
    images, channels, height, width = x.shape
    return (
        (images, channels, weight.shape[0] // channels),
        (height, width),
        _output_size(x, weight, stride, padding, dilation),
        (weight.shape[2], weight.shape[3]),
        stride,
        (padding[0], padding[2]),
        dilation,
        channels_last,
    )


def _kernel(
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    eps: float,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    activation: str,
    negative_slope: float,
) -> Tensor:
    _check_weight(x, weight)
    channels_last = layout.is_channels_last_after(x, weight)
    shape = _output_shape(x, weight, stride, padding, dilation)
    y = memory.empty(shape, x, channels_last=channels_last)
    scale, shift, mean, variance = vectors(
        (scale, shift, mean, variance), "depthwise_conv2d", weight.shape[0]
    )
    native.kernels.depthwise_conv2d_forward(
        boundary.image(x, "depthwise_conv2d: the input", channels_last),
        boundary.row_major(weight, "depthwise_conv2d: weight", weight.shape),
        scale,
        shift,
        mean,
        variance,
        eps,
        *_geometry(x, weight, stride, padding, dilation, channels_last),
        native.ACTIVATIONS.index(activation),
        negative_slope,
        y,
    )
    return y


def _backward_kernel(
    x: Tensor,
    dy: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    activation: str,
    negative_slope: float,
    wanted: Sequence[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    _check_weight(x, weight)
    channels_last = layout.is_channels_last_after(x, weight)
    shape = _output_shape(x, weight, stride, padding, dilation)
    dx = memory.empty(x.shape, x, channels_last=channels_last) if wanted[0] else x.new_empty(0)
    # The kernel writes the weight's row by row.
    dweight, dbias = _empty_parameters(x, weight.contiguous(), wanted)
    gradients = (dx, dweight, dbias)
    native.kernels.depthwise_conv2d_backward(
        boundary.image(x, "depthwise_conv2d: the input", channels_last),
        boundary.image(dy, "depthwise_conv2d: the gradient", channels_last, shape),
        boundary.row_major(weight, "depthwise_conv2d: weight", weight.shape),
        boundary.vector(bias, "depthwise_conv2d: bias", weight.shape[0]),
        *_geometry(x, weight, stride, padding, dilation, channels_last),
        native.ACTIVATIONS.index(activation),
        negative_slope,
        *(g if asked else None for g, asked in zip(gradients, wanted, strict=True)),
    )
    if wanted[1]:
        dweight = boundary.laid_out(dweight, layout.strides_of_gradient(weight))
    return dx, dweight, dbias


def _fake(a: Arguments) -> Tensor:
    shape = _output_shape(a.x, a.weight, a.stride, a.padding, a.dilation)
    return layout.fake_empty(a.x, shape, layout.is_channels_last_after(a.x, a.weight))


def _backward_fake(a: Arguments) -> tuple[Tensor, Tensor, Tensor]:
    channels_last = layout.is_channels_last_after(a.x, a.weight)
    dx = layout.fake_empty(a.x, a.x.shape, channels_last) if a.wanted[0] else a.x.new_empty(0)
    return dx, *_empty_parameters(a.x, a.weight, a.wanted)


# ---- autograd -----------------------------------------------------------------------------------


def _save(ctx: Any, a: Arguments, output: Tensor) -> None:
    ctx.options = a[_TENSORS:]
    ctx.is_sum = is_sum(a)
    recomputes = a.activation != "none"
    shift = a.shift if recomputes or not ctx.is_sum else None
    ctx.save_for_backward(a.x, a.weight, a.scale, shift, a.mean, a.variance)


_TENSORS = 6
"""Of the arguments: what autograd may ask the gradients of."""

_INPUTS = ("x", "weight", "shift")
"""Of a sum and its bias."""


def _gradients(ctx: Any, dy: Tensor) -> Gradients:
    # Beside a bias, a graph that was traced without gradients and is differentiated all the same.
    if torch.is_grad_enabled() or not ctx.is_sum:
        return _differentiable_gradients(ctx, dy)
    x, weight, _, bias, _, _ = ctx.saved_tensors
    for_x, for_weight, _, for_bias = ctx.needs_input_grad[:4]
    wanted = (for_x, for_weight, for_bias)
    _, *window_and_activation = ctx.options
    found = _backward(x, dy, weight, bias, *window_and_activation, wanted)
    return {
        name: gradient
        for name, gradient, asked in zip(_INPUTS, found, wanted, strict=True)
        if asked
    }


def _differentiable_gradients(ctx: Any, dy: Tensor) -> Gradients:
    def forward(*tensors: Any) -> Tensor:
        a = _named(*tensors, *ctx.options)
        z = torch_conv2d(a.x, a.weight, None, a.stride, sides(a.padding), a.dilation, a.x.shape[1])
        return apply_finish(z, finish_of(a))

    tensors = ctx.saved_tensors
    found = differentiable_gradients(forward, tensors, dy)
    gradients = dict(zip(_named._fields[:_TENSORS], found, strict=True))
    if ctx.needs_input_grad[3] and tensors[3] is None:
        # Not saved: without an activation nothing else needs it.
        gradients["shift"] = dy.sum((0, 2, 3))
    return gradients


def _cost(a: Arguments, bias: bool, **direction: Any) -> Cost:
    channels = a.x.shape[1]
    return theory.cost(
        tuple(a.x.shape),
        tuple(a.weight.shape[2:]),
        tuple(a.stride),
        sides(a.padding),
        tuple(a.dilation),
        depth_multiplier=a.weight.shape[0] // channels,
        bias=bias,
        **direction,
    )


def _backward_cost(a: Arguments) -> Cost:
    for_x, for_weight, for_bias = a.wanted
    return _cost(
        a,
        a.bias is not None,
        direction="backward",
        input_gradient=for_x,
        weight_gradient=for_weight or for_bias,
    )


def _forward_cost(a: Arguments) -> Cost:
    shape = _output_shape(a.x, a.weight, a.stride, a.padding, a.dilation)
    return _cost(a, bias=False) + cost_of_finish(finish_of(a), prod(shape))


def _window(a: Arguments) -> Window:
    kernel_size = (a.weight.shape[2], a.weight.shape[3])
    return Window(kernel_size, tuple(a.stride), sides(a.padding), tuple(a.dilation), False)


_OPTIONS = "int[] stride, SymInt[] padding, int[] dilation, str activation, float negative_slope"
_backward = register(
    "depthwise_conv2d_backward(Tensor x, Tensor dy, Tensor weight, Tensor? bias, "
    f"{_OPTIONS}, bool[] wanted) -> (Tensor, Tensor, Tensor)",
    _backward_kernel,
    _backward_fake,
    cost=_backward_cost,
)
_SCHEMA = (
    "depthwise_conv2d(Tensor x, Tensor weight, Tensor? scale, Tensor? shift, Tensor? mean, "
    f"Tensor? variance, float eps, {_OPTIONS}) -> Tensor"
)
_named = arguments_of(_SCHEMA)
_forward = register(
    _SCHEMA,
    _kernel,
    _fake,
    save=_save,
    backward=_gradients,
    cost=_forward_cost,
    kind="depthwise_conv2d",
    window=_window,
)
