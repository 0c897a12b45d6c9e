"""Separable convolution, depthwise and then pointwise, and the block around it.

Source: Howard et al., "MobileNets" (2017), section 3.1; Chollet, "Xception" (2017), section 2;
Sandler et al., "MobileNetV2" (2018), section 3.3.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from lamina.ops.conv2d import kernels
from lamina.ops.conv2d.op import conv2d
from lamina.ops.depthwise_conv2d import depthwise_conv2d
from lamina.ops.finish import Finish, apply_finish, operations, vectors
from lamina.ops.padding import sides, window_padding
from lamina.ops.runtime import boundary, layout, native
from lamina.ops.runtime.registration import (
    Arguments,
    Gradients,
    Window,
    arguments_of,
    differentiable_gradients,
    register,
)
from lamina.theory import separable_conv2d as theory
from lamina.theory import shapes, validation
from lamina.theory.cost import Cost
from lamina.theory.shapes import Padding, Pair


def separable_conv2d(
    x: Tensor,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
) -> Tensor:
    """Depthwise, then pointwise convolution, with nothing in between.

    Without gradients the tensor between them never leaves the caches. With gradients it is kept:
    made again in the backward pass it would be read and written as often as it now is.

    Args:
        x: (N, C, H, W) or (C, H, W), any memory format.
        depthwise_weight: (C·M, 1, kernel height, kernel width).
        pointwise_weight: (out_channels, C·M, 1, 1).
        bias: (out_channels,), added after the pointwise part.
        stride: of the depthwise part, pixels.
        padding: of the depthwise part, as for ``conv2d``.
        dilation: of the depthwise part, pixels.

    Returns:
        (N, out_channels, H', W'), sizes as for ``conv2d``.

    Raises:
        ValueError: a wrong rank, channel count or argument; a kernel larger than the padded input.
        TypeError: an integer input, or two dtypes outside of autocast.

    Example:
        >>> import torch
        >>> x, depthwise = torch.ones(1, 2, 5, 5), torch.ones(2, 1, 3, 3)
        >>> separable_conv2d(x, depthwise, torch.ones(4, 2, 1, 1)).shape
        torch.Size([1, 4, 3, 3])
    """
    # A compiler sees both layers: with what follows them they make a larger block.
    is_compiling = torch.compiler.is_compiling()
    if x.dim() == 4 and not is_compiling and _fuses(x, depthwise_weight, pointwise_weight, bias):
        return separable_block(
            x,
            depthwise_weight,
            pointwise_weight,
            stride=stride,
            padding=padding,
            dilation=dilation,
            pointwise=Finish(shift=bias),
        )
    middle = depthwise_conv2d(x, depthwise_weight, None, stride, padding, dilation)
    return conv2d(middle, pointwise_weight, bias)


def separable_block(
    x: Tensor,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    *,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    depthwise: Finish = Finish(),  # noqa: B008 - immutable
    pointwise: Finish = Finish(),  # noqa: B008
    expand_weight: Tensor | None = None,
    expand: Finish = Finish(),  # noqa: B008
    shortcut: bool = False,
) -> Tensor:
    """A separable convolution with what stands around it in inference, made tile by tile.

    Neither the expanded tensor nor the depthwise result is written to memory where no gradient is
    asked for: beside x and y it takes some rows of them per thread.

    Args:
        x: (N, C, H, W), any memory format; channels-last is the fastest.
        depthwise_weight: (K·M, 1, kernel height, kernel width).
        pointwise_weight: (out_channels, K·M, 1, 1).
        stride: of the depthwise convolution, pixels.
        padding: of the depthwise convolution, as for ``conv2d``.
        dilation: of the depthwise convolution, pixels.
        depthwise: what follows the depthwise convolution.
        pointwise: what follows the last one.
        expand_weight: (K, C, 1, 1) of a pointwise convolution in front; None for none, K = C.
        expand: what follows it.
        shortcut: add x to the result, which has its shape.

    Returns:
        (N, out_channels, H', W'), in the layout of x.

    Raises:
        ValueError: a wrong rank, channel count or argument; a kernel larger than the padded input;
            a shortcut where shapes differ.
        TypeError: an integer input, or two dtypes outside of autocast.

    Example:
        >>> x, depthwise = torch.ones(1, 2, 5, 5), torch.ones(6, 1, 3, 3)
        >>> expand, project = torch.ones(6, 2, 1, 1), torch.ones(2, 6, 1, 1)
        >>> separable_block(
        ...     x, depthwise, project, padding=1, expand_weight=expand, shortcut=True
        ... ).shape
        torch.Size([1, 2, 5, 5])
    """
    stride = validation.positive_pair(stride, "stride")
    dilation = validation.positive_pair(dilation, "dilation")
    tensors = (x, depthwise_weight, pointwise_weight, expand_weight)
    finishes = (expand, depthwise, pointwise)
    parameters = [tensor for finish in finishes for tensor in finish.parameters]
    middle_channels = x.shape[1] if expand_weight is None else expand_weight.shape[0]
    if (
        depthwise_weight.shape[0] == middle_channels
        and _fuses(*tensors, *parameters)
        and all(map(_is_the_kernels, finishes))
    ):
        resolved = window_padding(x, depthwise_weight, stride, padding, dilation)
        if shortcut:
            size = _output_size(x, depthwise_weight, stride, resolved, dilation)
            _check_shortcut(x, pointwise_weight, size)
        y: Tensor = _forward(
            *tensors,
            *parameters,
            [finish.eps for finish in finishes],
            stride,
            (*resolved[0], *resolved[1]),
            dilation,
            [finish.activation or "none" for finish in finishes],
            shortcut,
        )
        return y
    z = _one_by_one(*tensors, finishes, stride, padding, dilation)
    if not shortcut:
        return z
    _check_shortcut(x, pointwise_weight, (z.shape[2], z.shape[3]))
    return x + z


def _one_by_one(
    x: Tensor,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    expand_weight: Tensor | None,
    finishes: tuple[Finish, Finish, Finish],
    stride: Pair,
    padding: Padding,
    dilation: Pair,
) -> Tensor:
    """The block before its shortcut, layer after layer."""
    expand, depthwise, pointwise = finishes
    z = x if expand_weight is None else apply_finish(conv2d(x, expand_weight), expand)
    z = depthwise_conv2d(z, depthwise_weight, None, stride, padding, dilation)
    z = apply_finish(z, depthwise)
    return apply_finish(conv2d(z, pointwise_weight), pointwise)


def _fuses(*tensors: Tensor | None) -> bool:
    """Whether the kernel may serve: plain tensors, no gradient asked for, no autocast."""
    return (
        native.serves(*tensors)
        and not torch.is_autocast_enabled("cpu")
        and not (
            torch.is_grad_enabled()
            and any(tensor is not None and tensor.requires_grad for tensor in tensors)
        )
    )


def _is_the_kernels(finish: Finish) -> bool:
    """Whether it is one that the kernel applies: it adds nothing and has one slope."""
    return (
        (finish.activation or "none") in native.ACTIVATIONS
        and finish.addend is None
        and finish.negative_slope == _NEGATIVE_SLOPE
    )


_NEGATIVE_SLOPE = 0.01


def _check_shortcut(x: Tensor, pointwise_weight: Tensor, size: Pair) -> None:
    result = (x.shape[0], pointwise_weight.shape[0], *size)
    if tuple(x.shape) != result:
        raise ValueError(
            f"separable_block: shortcut needs a result of the input's shape {tuple(x.shape)}, "
            f"got {result}"
        )


# ---- the kernel ---------------------------------------------------------------------------------


def _output_size(x: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any) -> Pair:
    kernel_size = (weight.shape[2], weight.shape[3])
    return shapes.window_output_size(
        (x.shape[2], x.shape[3]), kernel_size, stride, padding, dilation
    )


_SCHEMA = (
    "separable_block(Tensor x, Tensor depthwise_weight, Tensor pointwise_weight, "
    "Tensor? expand_weight, "
    "Tensor? expand_scale, Tensor? expand_shift, Tensor? expand_mean, Tensor? expand_variance, "
    "Tensor? depthwise_scale, Tensor? depthwise_shift, Tensor? depthwise_mean, "
    "Tensor? depthwise_variance, Tensor? scale, Tensor? shift, Tensor? mean, Tensor? variance, "
    "float[] eps, int[] stride, SymInt[] padding, int[] dilation, str[] activations, "
    "bool shortcut) -> Tensor"
)
_named = arguments_of(_SCHEMA)
_TENSORS = 16
"""Of the arguments: what autograd may ask the gradients of."""


def _weights(a: Arguments) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
    return a.x, a.depthwise_weight, a.pointwise_weight, a.expand_weight


def _finishes(a: Arguments) -> tuple[Finish, Finish, Finish]:
    """Behind the expansion, the depthwise part and the last one."""
    parameters = (
        (a.expand_scale, a.expand_shift, a.expand_mean, a.expand_variance),
        (a.depthwise_scale, a.depthwise_shift, a.depthwise_mean, a.depthwise_variance),
        (a.scale, a.shift, a.mean, a.variance),
    )
    expand, depthwise, pointwise = (
        Finish(scale, shift, None if name == "none" else name, mean, variance, eps)
        for (scale, shift, mean, variance), name, eps in zip(
            parameters, a.activations, a.eps, strict=True
        )
    )
    return expand, depthwise, pointwise


def _kernel(*arguments: Any) -> Tensor:
    a = _named(*arguments)
    images, channels, height, width = a.x.shape
    middle, _, *kernel_size = a.depthwise_weight.shape
    outputs = a.pointwise_weight.shape[0]
    size = _output_size(a.x, a.depthwise_weight, a.stride, sides(a.padding), a.dilation)
    shape = (images, outputs, *size)
    channels_last = layout.is_channels_last_after(*_weights(a))
    y = kernels.empty_images(shape, a.x, False, channels_last)
    native.kernels.separable_conv2d_forward(
        kernels.to_channels_last(a.x),
        _read_weights(a),
        _read_parameters(a),
        a.eps,
        (images, channels, middle, outputs),
        (height, width),
        size,
        tuple(kernel_size),
        a.stride,
        (a.padding[0], a.padding[2]),
        a.dilation,
        a.shortcut,
        [native.ACTIVATIONS.index(name) for name in a.activations],
        _NEGATIVE_SLOPE,
        y,
    )
    return kernels.in_layout(y, channels_last)


def _read_weights(a: Arguments) -> list[Tensor | None]:
    """Those of the three convolutions, as the kernel reads them."""
    channels, middle = a.x.shape[1], a.depthwise_weight.shape[0]
    outputs, kernel_size = a.pointwise_weight.shape[0], a.depthwise_weight.shape[2:]
    inputs = channels if a.expand_weight is None else middle
    shapes = ((middle, channels, 1, 1), (inputs, 1, *kernel_size), (outputs, middle, 1, 1))
    names = ("expand_weight", "depthwise_weight", "pointwise_weight")
    return [
        None if weight is None else boundary.row_major(weight, f"separable_block: {name}", shape)
        for name, shape in zip(names, shapes, strict=True)
        for weight in (getattr(a, name),)
    ]


def _read_parameters(a: Arguments) -> list[Tensor | None]:
    """Scale, shift, mean and variance after each of them."""
    lengths = (*(a.depthwise_weight.shape[0],) * 2, a.pointwise_weight.shape[0])
    return [
        vector
        for finish, length in zip(_finishes(a), lengths, strict=True)
        for vector in vectors(finish.parameters, "separable_block", length)
    ]


def _fake(a: Arguments) -> Tensor:
    size = _output_size(a.x, a.depthwise_weight, a.stride, sides(a.padding), a.dilation)
    shape = (a.x.shape[0], a.pointwise_weight.shape[0], *size)
    return layout.fake_empty(a.x, shape, layout.is_channels_last_after(*_weights(a)))


def _save(ctx: Any, a: Arguments, output: Tensor) -> None:
    ctx.options = a[_TENSORS:]
    ctx.save_for_backward(*a[:_TENSORS])


def _backward(ctx: Any, dy: Tensor) -> Gradients:
    """For a graph that was traced without gradients and is differentiated all the same."""

    def forward(*tensors: Any) -> Tensor:
        a = _named(*tensors, *ctx.options)
        z = _one_by_one(*_weights(a), _finishes(a), a.stride, sides(a.padding), a.dilation)
        return a.x + z if a.shortcut else z

    found = differentiable_gradients(forward, ctx.saved_tensors, dy)
    return dict(zip(_named._fields[:_TENSORS], found, strict=True))


# ---- its books ----------------------------------------------------------------------------------


def _cost(a: Arguments) -> Cost:
    expand, depthwise, pointwise = map(operations, _finishes(a))
    return theory.block_cost(
        tuple(a.x.shape),
        a.depthwise_weight.shape[0],
        a.pointwise_weight.shape[0],
        tuple(a.depthwise_weight.shape[2:]),
        tuple(a.stride),
        sides(a.padding),
        tuple(a.dilation),
        expanded_channels=None if a.expand_weight is None else a.expand_weight.shape[0],
        operations=(expand, depthwise, pointwise),
        shortcut=a.shortcut,
    )


def _window(a: Arguments) -> Window:
    kernel_size = (a.depthwise_weight.shape[2], a.depthwise_weight.shape[3])
    return Window(kernel_size, tuple(a.stride), sides(a.padding), tuple(a.dilation), True)


_forward = register(
    _SCHEMA,
    _kernel,
    _fake,
    save=_save,
    backward=_backward,
    cost=_cost,
    kind=lambda a: "separable_conv2d" if a.expand_weight is None else "inverted_residual",
    window=_window,
)
