"""Winograd's F(4×4, 3×3) as a torch op: 36 products where the sum of a 4×4 tile takes 144.

    y = Aᵀ [(G g Gᵀ) · (Bᵀ d B)] A,  summed over the channels before the output's transform

The input's gradient is the same algorithm with the kernels flipped; the weight's is
F(3×3, 4×4), with the output's gradient for a filter.

Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops import native
from lamina.ops.registration import differentiable_gradients, register
from lamina.theory.shapes import Pair, ResolvedPadding

TILE = 4
"""Outputs of a tile along one axis."""


def why_not(kernel_size: Pair, stride: Pair, dilation: Pair, groups: int) -> str | None:
    """What keeps the algorithm from a convolution of this window; None where nothing does.

    Example:
        >>> why_not((3, 3), (2, 2), (1, 1), 1)
        'stride must be (1, 1), got (2, 2)'
    """
    for name, required, given in (
        ("kernel_size", (3, 3), kernel_size),
        ("stride", (1, 1), stride),
        ("dilation", (1, 1), dilation),
        ("groups", 1, groups),
    ):
        if given != required:
            return f"{name} must be {required}, got {given}"
    return None


def serves(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    """Whether the kernel may compute on these tensors."""
    # Under autocast a convolution is PyTorch's, which casts.
    return native.serves(x, weight, bias) and not torch.is_autocast_enabled("cpu")


def winograd_conv2d(
    x: Tensor, weight: Tensor, bias: Tensor | None, padding: ResolvedPadding
) -> Tensor:
    """Convolve by a 3×3 kernel at stride 1.

    Args:
        x: (N, C, H, W), float32 on the CPU, any strides; channels-last is the fastest.
        weight: (out_channels, C, 3, 3).
        bias: (out_channels,).
        padding: ((top, bottom), (left, right)) pixels of zeros.

    Returns:
        (N, out_channels, H + top + bottom − 2, W + left + right − 2), channels-last where the
        input or the weight is, else contiguous. Every element is within
        ``theory.numerics.winograd_error_bound(4, C, max|x|, max|weight|)`` of the exact result;
        an infinity or NaN makes the whole tile NaN.
    """
    (top, bottom), (left, right) = padding
    y: Tensor = _convolve(x, weight, bias, top, bottom, left, right)
    return y


def _empty_output(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    top: int,
    bottom: int,
    left: int,
    right: int,
) -> Tensor:
    batch, _, height, width = x.shape
    shape = (batch, weight.shape[0], height + top + bottom - 2, width + left + right - 2)
    return torch.empty(shape, dtype=x.dtype, device=x.device, memory_format=_layout(x, weight))


def _layout(x: Tensor, weight: Tensor) -> torch.memory_format:
    """Of the output: PyTorch's rule."""
    channels_last = native.is_channels_last(x) or (
        native.is_channels_last(weight) and not weight.is_contiguous()
    )
    return torch.channels_last if channels_last else torch.contiguous_format


def _image(x: Tensor) -> tuple[int, tuple[int, ...], tuple[int, ...]]:
    """Address, sizes and strides, as the kernels take them."""
    return x.data_ptr(), tuple(x.shape), x.stride()


def _convolve_kernel(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    top: int,
    bottom: int,
    left: int,
    right: int,
) -> Tensor:
    x, weight = x.resolve_neg(), weight.resolve_neg()
    bias = None if bias is None else bias.resolve_neg().contiguous()
    y = _empty_output(x, weight, bias, top, bottom, left, right)
    native.kernels.conv2d_winograd(
        *_image(x),
        weight.data_ptr(),
        weight.stride(),
        native.address(bias),
        top,
        left,
        *_image(y),
    )
    return y


def _context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, bias, *ctx.padding = inputs
    ctx.save_for_backward(x, weight, bias)


def _backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    x, weight, bias = ctx.saved_tensors
    top, bottom, left, right = ctx.padding
    if torch.is_grad_enabled():

        def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias)

        gradients = differentiable_gradients(forward, (x, weight, bias), dy)
    else:
        for_x, for_weight, for_bias = ctx.needs_input_grad[:3]
        gradients = (
            _input_gradient(x, dy, weight, top, left) if for_x else None,
            _weight_gradient(x, dy, weight, top, left) if for_weight else None,
            dy.sum((0, 2, 3)) if for_bias else None,
        )
    return (*gradients, None, None, None, None)


def _input_gradient_kernel(x: Tensor, dy: Tensor, weight: Tensor, top: int, left: int) -> Tensor:
    dy, weight = dy.resolve_neg(), weight.resolve_neg()
    dx = _empty_gradient(x)
    native.kernels.conv2d_winograd_input_gradient(
        *_image(dy), weight.data_ptr(), weight.stride(), top, left, *_image(dx)
    )
    return dx


def _weight_gradient_kernel(x: Tensor, dy: Tensor, weight: Tensor, top: int, left: int) -> Tensor:
    x, dy = x.resolve_neg(), dy.resolve_neg()
    gradient = _empty_gradient(weight)
    native.kernels.conv2d_winograd_weight_gradient(
        *_image(x), *_image(dy), top, left, gradient.data_ptr(), gradient.stride()
    )
    return gradient


def _empty_gradient(like: Tensor) -> Tensor:
    """Dense, in the layout of ``like``."""
    channels_last = native.is_channels_last(like)
    return torch.empty_like(
        like, memory_format=torch.channels_last if channels_last else torch.contiguous_format
    )


_input_gradient = register(
    "conv2d_winograd_input_gradient(Tensor x, Tensor dy, Tensor weight, SymInt top, SymInt left) "
    "-> Tensor",
    _input_gradient_kernel,
    lambda x, dy, weight, top, left: _empty_gradient(x),
)
_weight_gradient = register(
    "conv2d_winograd_weight_gradient(Tensor x, Tensor dy, Tensor weight, SymInt top, SymInt left) "
    "-> Tensor",
    _weight_gradient_kernel,
    lambda x, dy, weight, top, left: _empty_gradient(weight),
)
_convolve = register(
    "conv2d_winograd(Tensor x, Tensor weight, Tensor? bias, SymInt top, SymInt bottom, "
    "SymInt left, SymInt right) -> Tensor",
    _convolve_kernel,
    _empty_output,
    setup_context=_context,
    backward=_backward,
)
