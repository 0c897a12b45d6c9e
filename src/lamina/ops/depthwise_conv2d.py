"""Depthwise convolution: each channel with kernels of its own.

    y[n, c·M + m] = activation(bias[c·M + m] + weight[c·M + m, 0] ⋆ x[n, c])

Source: Howard et al., "MobileNets" (2017), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.ops.activation import activation_epilogue
from lamina.ops.conv2d.pytorch import torch_conv2d
from lamina.ops.padding import sides, window_padding
from lamina.ops.runtime import checks, memory, native
from lamina.ops.runtime.registration import (
    Arguments,
    Gradients,
    Window,
    differentiable_gradients,
    register,
)
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
    stride = validation.positive_pair(stride, "stride")
    dilation = validation.positive_pair(dilation, "dilation")
    checks.check_image(x, "depthwise_conv2d")
    channels = x.shape[-3]
    if weight.shape[1] != 1 or weight.shape[0] % channels:
        raise ValueError(
            f"depthwise_conv2d: weight must be (C * depth_multiplier, 1, height, width) for "
            f"C = {channels}, got shape {tuple(weight.shape)}"
        )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise ValueError(
            f"depthwise_conv2d: bias must be (C * depth_multiplier,) = ({weight.shape[0]},), "
            f"got shape {tuple(bias.shape)}"
        )
    checks.check_same_dtype(x, weight, "depthwise_conv2d")
    resolved = window_padding(x, weight, stride, padding, dilation)
    name = activation or "none"
    if not (
        native.serves(x, weight, bias)
        and name in native.ACTIVATIONS
        and not torch.is_autocast_enabled("cpu")  # PyTorch's op would compute in bfloat16
    ):
        z = torch_conv2d(x, weight, bias, stride, resolved, dilation, channels)
        return activation_epilogue(z, name, negative_slope)
    images = x if x.dim() == 4 else x.unsqueeze(0)
    y: Tensor = _forward(
        images, weight, bias, stride, _flat(resolved), dilation, name, negative_slope
    )
    return y if x.dim() == 4 else y.squeeze(0)


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


def _layout(x: Tensor) -> torch.memory_format:
    """Of the dense tensor ``x``, and of the output."""
    return torch.channels_last if native.is_channels_last(x) else torch.contiguous_format


def _output_shape(
    x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes
) -> tuple[int, int, int, int]:
    rows, columns = _output_size(x, weight, stride, padding, dilation)
    return x.shape[0], weight.shape[0], rows, columns


def _empty_parameters(x: Tensor, weight: Tensor, wanted: Sequence[bool]) -> tuple[Tensor, Tensor]:
    """For the gradients of weight and bias; of no element where one is not wanted."""
    none = (0,)
    return (
        x.new_empty(weight.shape if wanted[1] else none),
        x.new_empty(weight.shape[:1] if wanted[2] else none),
    )


def _geometry(
    x: Tensor, weight: Tensor, stride: Sizes, padding: Sizes, dilation: Sizes
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
        native.is_channels_last(x),
    )


def _kernel(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
    activation: str,
    negative_slope: float,
) -> Tensor:
    x = native.dense(x)
    weight = native.row_major(weight)
    bias = None if bias is None else native.row_major(bias)
    shape = _output_shape(x, weight, stride, padding, dilation)
    y = memory.empty(shape, x, channels_last=native.is_channels_last(x))
    native.kernels.depthwise_conv2d_forward(
        x.data_ptr(),
        weight.data_ptr(),
        native.address(bias),
        *_geometry(x, weight, stride, padding, dilation),
        native.ACTIVATIONS.index(activation),
        negative_slope,
        y.data_ptr(),
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
    x = native.dense(x)
    dy = (dy.resolve_neg() if dy.is_neg() else dy).contiguous(memory_format=_layout(x))
    weight = native.row_major(weight)
    bias = None if bias is None else native.row_major(bias)
    dx = memory.empty_like(x) if wanted[0] else x.new_empty(0)
    gradients = (dx, *_empty_parameters(x, weight, wanted))
    native.kernels.depthwise_conv2d_backward(
        x.data_ptr(),
        dy.data_ptr(),
        weight.data_ptr(),
        native.address(bias),
        *_geometry(x, weight, stride, padding, dilation),
        native.ACTIVATIONS.index(activation),
        negative_slope,
        *(native.address(g if asked else None) for g, asked in zip(gradients, wanted, strict=True)),
    )
    return gradients


def _fake(a: Arguments) -> Tensor:
    x = native.dense(a.x)
    return torch.empty(
        _output_shape(x, a.weight, a.stride, a.padding, a.dilation),
        dtype=x.dtype,
        device=x.device,
        memory_format=_layout(x),
    )


def _backward_fake(a: Arguments) -> tuple[Tensor, Tensor, Tensor]:
    dx = torch.empty_like(native.dense(a.x)) if a.wanted[0] else a.x.new_empty(0)
    return dx, *_empty_parameters(a.x, a.weight, a.wanted)


# ---- autograd -----------------------------------------------------------------------------------


def _save(ctx: Any, a: Arguments, output: Tensor) -> None:
    ctx.window = (a.stride, a.padding, a.dilation)
    ctx.activation = (a.activation, a.negative_slope)
    recomputes = a.activation != "none"
    ctx.save_for_backward(a.x, a.weight, a.bias if recomputes else None)


_INPUTS = ("x", "weight", "bias")


def _gradients(ctx: Any, dy: Tensor) -> Gradients:
    x, weight, bias = ctx.saved_tensors
    if torch.is_grad_enabled():
        found = _differentiable_gradients(ctx, x, weight, bias, dy)
        return dict(zip(_INPUTS, found, strict=True))
    wanted = ctx.needs_input_grad[:3]
    found = _backward(x, dy, weight, bias, *ctx.window, *ctx.activation, wanted)
    return {
        name: gradient
        for name, gradient, asked in zip(_INPUTS, found, wanted, strict=True)
        if asked
    }


def _differentiable_gradients(
    ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, dy: Tensor
) -> tuple[Tensor | None, ...]:
    stride, padding, dilation = ctx.window

    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        z = torch_conv2d(x, weight, bias, stride, sides(padding), dilation, x.shape[1])
        return activation_epilogue(z, *ctx.activation)

    dx, gradient_weight, gradient_bias = differentiable_gradients(forward, (x, weight, bias), dy)
    if ctx.needs_input_grad[2] and bias is None:
        gradient_bias = dy.sum((0, 2, 3))  # not saved: without an activation nothing else needs it
    return dx, gradient_weight, gradient_bias


def _cost(a: Arguments, **direction: Any) -> Cost:
    channels = a.x.shape[1]
    return theory.cost(
        tuple(a.x.shape),
        tuple(a.weight.shape[2:]),
        tuple(a.stride),
        sides(a.padding),
        tuple(a.dilation),
        depth_multiplier=a.weight.shape[0] // channels,
        bias=a.bias is not None,
        **direction,
    )


def _backward_cost(a: Arguments) -> Cost:
    for_x, for_weight, for_bias = a.wanted
    return _cost(
        a, direction="backward", input_gradient=for_x, weight_gradient=for_weight or for_bias
    )


def _window(a: Arguments) -> Window:
    kernel_size = (a.weight.shape[2], a.weight.shape[3])
    return Window(kernel_size, tuple(a.stride), sides(a.padding), tuple(a.dilation), False)


_ARGUMENTS = (
    "Tensor weight, Tensor? bias, int[] stride, SymInt[] padding, int[] dilation, "
    "str activation, float negative_slope"
)
_backward = register(
    f"depthwise_conv2d_backward(Tensor x, Tensor dy, {_ARGUMENTS}, bool[] wanted) "
    "-> (Tensor, Tensor, Tensor)",
    _backward_kernel,
    _backward_fake,
    cost=_backward_cost,
)
_forward = register(
    f"depthwise_conv2d(Tensor x, {_ARGUMENTS}) -> Tensor",
    _kernel,
    _fake,
    save=_save,
    backward=_gradients,
    cost=_cost,
    kind="depthwise_conv2d",
    window=_window,
)
