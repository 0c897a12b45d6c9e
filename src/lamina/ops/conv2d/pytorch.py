"""Convolution by PyTorch's own op, which oneDNN serves: the peer, and what serves everything."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.activation import activation_epilogue
from lamina.ops.padding import is_even
from lamina.ops.runtime import layout
from lamina.theory.conv2d_problem import Problem
from lamina.theory.shapes import Pair, ResolvedPadding


def plan(
    weight: Tensor,
    stride: Pair,
    padding: ResolvedPadding,
    dilation: Pair,
    groups: int,
    activation: str = "none",
    negative_slope: float = 0.0,
) -> Callable[[Tensor, Tensor, Tensor | None], Tensor]:
    """``torch_conv2d`` and an activation, of such weights; one op of PyTorch's where that does."""
    (top, _), (left, _) = padding
    if (
        weight.shape[0] == 1
        or not is_even(padding)
        or _is_overrun(weight, stride, (top, left))
        or activation != "none"
    ):

        def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
            z = torch_conv2d(x, weight, bias, stride, padding, dilation, groups)
            return activation_epilogue(z, activation, negative_slope)

        return run
    window = (stride, (top, left), dilation, groups)
    return lambda x, weight, bias: F.conv2d(x, weight, bias, *window)


def torch_conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    padding: ResolvedPadding,
    dilation: Pair,
    groups: int,
) -> Tensor:
    """PyTorch's own convolution, which pads both ends alike; an uneven rest is padded before."""
    (top, bottom), (left, right) = padding
    if weight.shape[0] == 1:
        # For a single filter of other strides PyTorch's gradient may fail: "slow_conv2d:
        # grad_weight must be contiguous", on one small channels-last image.
        if x.dim() == 3:
            images = x.unsqueeze(0)
            return torch_conv2d(images, weight, bias, stride, padding, dilation, groups).squeeze(0)
        if layout.is_channels_last(weight):
            x = x.contiguous(memory_format=torch.channels_last)  # as it would be by the weight
        weight = weight.contiguous()
    if not is_even(padding):
        x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
    if _is_overrun(weight, stride, (top, left)):
        x, stride = x[..., :: stride[0], :: stride[1]], (1, 1)
    return F.conv2d(x, weight, bias, stride, (top, left), dilation, groups)


def _is_overrun(weight: Tensor, stride: Pair, padding: Pair) -> bool:
    """Whether oneDNN, asked for the weight's gradient, would write past its workspace.

    So it does for 1×1 windows of a stride and channels-last images of fewer channels than a
    register holds: the gradient is wrong, or never comes, or the process dies later. The pixels
    that such windows see, taken out before, are convolved alike with stride 1.

    Source: https://github.com/uxlfoundation/oneDNN/issues/6035
    """
    few_channels = weight.shape[1] < 16
    return few_channels and weight.shape[2:] == (1, 1) and stride != (1, 1) and padding == (0, 0)


def forward(x: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """The convolution, (N, M, H', W')."""
    return torch_conv2d(
        x, weight, None, problem.stride, problem.padding, problem.dilation, problem.groups
    )


def input_gradient(x: Tensor, dy: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Of the input; of ``x`` only the layout counts."""
    dx, _ = _gradients(x, dy, weight, problem, (True, False))
    (top, bottom), (left, right) = problem.padding
    if (top, left) == (bottom, right):
        return dx
    height, width = problem.input_shape[2:]
    return dx[:, :, top : top + height, left : left + width]


def weight_gradient(x: Tensor, dy: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Of the weight."""
    return _gradients(x, dy, weight, problem, (False, True))[1]


def _gradients(
    x: Tensor, dy: Tensor, weight: Tensor, problem: Problem, wanted: tuple[bool, bool]
) -> tuple[Tensor, Tensor]:
    (top, bottom), (left, right) = problem.padding
    even = (top, left) == (bottom, right)
    source = x if even else F.pad(x, (left, right, top, bottom))
    stride, padding = problem.stride, (top, left) if even else (0, 0)
    if not wanted[0] and _is_overrun(weight, stride, padding):
        source, stride = source[..., :: stride[0], :: stride[1]], (1, 1)
    dx, dweight, _ = torch.ops.aten.convolution_backward(
        dy,
        source,
        weight,
        None,
        stride,
        padding,
        problem.dilation,
        False,
        (0, 0),
        problem.groups,
        (*wanted, False),
    )
    return dx, dweight
