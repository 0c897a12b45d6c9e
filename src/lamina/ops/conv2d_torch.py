"""Convolution by PyTorch's own op, which oneDNN serves: the peer, and what serves everything."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.padding import is_overrun, torch_conv2d
from lamina.theory.conv2d_problem import Problem


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
    if not wanted[0] and is_overrun(weight, stride, padding):
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
