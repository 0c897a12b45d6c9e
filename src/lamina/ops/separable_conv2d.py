"""Separable convolution, depthwise and then pointwise, and the block around it.

Source: Howard et al., "MobileNets" (2017), section 3.1; Chollet, "Xception" (2017), section 2;
Sandler et al., "MobileNetV2" (2018), section 3.3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from lamina.ops.activation import activation_epilogue
from lamina.ops.conv2d import kernels
from lamina.ops.conv2d.op import conv2d
from lamina.ops.depthwise_conv2d import depthwise_conv2d
from lamina.ops.padding import window_padding
from lamina.ops.runtime import memory, native
from lamina.ops.runtime.registration import differentiable_gradients, register
from lamina.theory import shapes, validation
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
    if x.dim() == 4 and _fuses(x, depthwise_weight, pointwise_weight, bias):
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


class Finish(NamedTuple):
    """What follows a convolution in inference, for each channel.

    activation(scale · sum + shift), or with a batch normalisation's running statistics
    activation(scale · (sum − mean) / √(variance + eps) + shift).

    Args:
        scale: (C,), None for 1.
        shift: (C,), None for 0.
        activation: "relu", "relu6", "leaky_relu" (slope 0.01), "silu", "hardswish" or None.
        mean: (C,), None for no statistics.
        variance: (C,), None for no statistics.
        eps: added to the variance.
    """

    scale: Tensor | None = None
    shift: Tensor | None = None
    activation: str | None = None
    mean: Tensor | None = None
    variance: Tensor | None = None
    eps: float = 0.0

    @property
    def parameters(self) -> tuple[Tensor | None, ...]:
        """Its tensors, in the kernel's order."""
        return self.scale, self.shift, self.mean, self.variance


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
        and all((finish.activation or "none") in native.ACTIVATIONS for finish in finishes)
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
    z = x if expand_weight is None else _apply(conv2d(x, expand_weight), expand)
    z = _apply(depthwise_conv2d(z, depthwise_weight, None, stride, padding, dilation), depthwise)
    return _apply(conv2d(z, pointwise_weight), pointwise)


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


def _check_shortcut(x: Tensor, pointwise_weight: Tensor, size: Pair) -> None:
    result = (x.shape[0], pointwise_weight.shape[0], *size)
    if tuple(x.shape) != result:
        raise ValueError(
            f"separable_block: shortcut needs a result of the input's shape {tuple(x.shape)}, "
            f"got {result}"
        )


def _apply(z: Tensor, finish: Finish) -> Tensor:
    shape = (1, -1, 1, 1)
    scale, shift = finish.scale, finish.shift
    if finish.variance is not None and finish.mean is not None:
        inverse = torch.rsqrt(finish.variance + finish.eps)
        scale = inverse if scale is None else scale * inverse
        shift = -finish.mean * scale if shift is None else shift - finish.mean * scale
    z = z if scale is None else z * scale.view(shape)
    z = z if shift is None else z + shift.view(shape)
    return activation_epilogue(z, finish.activation or "none", 0.01)


# ---- the kernel ---------------------------------------------------------------------------------


def _output_size(x: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any) -> Pair:
    kernel_size = (weight.shape[2], weight.shape[3])
    return shapes.window_output_size(
        (x.shape[2], x.shape[3]), kernel_size, stride, padding, dilation
    )


def _sides(padding: Any) -> tuple[Pair, Pair]:
    top, bottom, left, right = padding
    return (top, bottom), (left, right)


def _kernel(
    x: Tensor,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    expand_weight: Tensor | None,
    *rest: Any,
) -> Tensor:
    parameters, (eps, stride, padding, dilation, activations, shortcut) = rest[:12], rest[12:]
    channels_last = native.is_channels_last(x)
    images = kernels.to_channels_last(x)
    size = _output_size(x, depthwise_weight, stride, _sides(padding), dilation)
    dense = [
        None if tensor is None else native.row_major(tensor)
        for tensor in (expand_weight, depthwise_weight, pointwise_weight, *parameters)
    ]
    addresses = [native.address(tensor) for tensor in dense]
    y = memory.empty((x.shape[0], pointwise_weight.shape[0], *size), x, channels_last=True)
    native.kernels.separable_conv2d_forward(
        images.data_ptr(),
        addresses[:3],
        addresses[3:],
        eps,
        (x.shape[0], x.shape[1], depthwise_weight.shape[0], pointwise_weight.shape[0]),
        (x.shape[2], x.shape[3]),
        size,
        (depthwise_weight.shape[2], depthwise_weight.shape[3]),
        stride,
        (padding[0], padding[2]),
        dilation,
        shortcut,
        [native.ACTIVATIONS.index(name) for name in activations],
        0.01,
        y.data_ptr(),
    )
    return y if channels_last else kernels.from_channels_last(y)


def _fake(x: Tensor, depthwise_weight: Tensor, pointwise_weight: Tensor, *rest: Any) -> Tensor:
    stride, padding, dilation = rest[14:17]
    size = _output_size(x, depthwise_weight, stride, _sides(padding), dilation)
    shape = (x.shape[0], pointwise_weight.shape[0], *size)
    return native.fake_empty(x, shape, native.is_channels_last(x))


def _context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    ctx.options = inputs[16:]
    ctx.save_for_backward(*inputs[:16])


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    """For a graph that was traced without gradients and is differentiated all the same."""
    eps, stride, padding, dilation, activations, shortcut = ctx.options

    def forward(*tensors: Any) -> Tensor:
        x, depthwise_weight, pointwise_weight, expand_weight, *parameters = tensors
        kinds = (parameters[at::4] for at in range(4))
        finishes = tuple(
            Finish(scale, shift, name, mean, variance, added)
            for scale, shift, mean, variance, name, added in zip(
                *kinds, activations, eps, strict=True
            )
        )
        z = _one_by_one(
            *(x, depthwise_weight, pointwise_weight, expand_weight, finishes),  # type: ignore[arg-type]
            stride,
            _sides(padding),
            dilation,
        )
        return x + z if shortcut else z

    return (*differentiable_gradients(forward, ctx.saved_tensors, dy), *(None,) * 6)


_forward = register(
    "separable_block(Tensor x, Tensor depthwise_weight, Tensor pointwise_weight, "
    "Tensor? expand_weight, "
    "Tensor? expand_scale, Tensor? expand_shift, Tensor? expand_mean, Tensor? expand_variance, "
    "Tensor? depthwise_scale, Tensor? depthwise_shift, Tensor? depthwise_mean, "
    "Tensor? depthwise_variance, Tensor? scale, Tensor? shift, Tensor? mean, Tensor? variance, "
    "float[] eps, int[] stride, SymInt[] padding, int[] dilation, str[] activations, "
    "bool shortcut) -> Tensor",
    _kernel,
    _fake,
    setup_context=_context,
    backward=_backward,
)
