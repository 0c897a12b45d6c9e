"""Convolution as a matrix product: every window of an image becomes a column of a matrix.

    y[n] = weight (M, C·K²) times columns of x[n] (C·K², H'·W')

One image at a time, so that the matrix of one is all the memory that it takes beside the tensors.

Source: Chellapilla, Puri and Simard, "High Performance Convolutional Neural Networks for Document
Processing" (2006), section 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.theory.conv2d_problem import Problem


def forward(x: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """The convolution, (N, M, H', W')."""
    y = x.new_empty(problem.output_shape)
    matrix = _matrix(weight, problem)
    for n in range(x.shape[0]):
        torch.bmm(matrix, _columns(x[n], problem), out=_grouped(y[n], problem))
    return y


def input_gradient(x: Tensor, dy: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Of the input, of which nothing counts: windows added back where they were cut out."""
    del x
    transposed = _matrix(weight, problem).transpose(1, 2)
    (top, bottom), (left, right) = problem.padding
    height, width = problem.input_shape[2:]
    dx = dy.new_empty(problem.input_shape)
    for n in range(dy.shape[0]):
        columns = torch.bmm(transposed, _grouped(dy[n].contiguous(), problem))
        padded = F.fold(
            columns.flatten(0, 1),
            (height + top + bottom, width + left + right),
            problem.kernel_size,
            problem.dilation,
            stride=problem.stride,
        )
        dx[n] = padded[:, top : top + height, left : left + width]
    return dx


def weight_gradient(x: Tensor, dy: Tensor, weight: Tensor, problem: Problem) -> Tensor:
    """Of the weight: summed over the images."""
    gradient = torch.zeros_like(_matrix(weight, problem))
    for n in range(x.shape[0]):
        columns = _columns(x[n], problem).transpose(1, 2)
        gradient.baddbmm_(_grouped(dy[n].contiguous(), problem), columns)
    return gradient.view(weight.shape)


def _matrix(weight: Tensor, problem: Problem) -> Tensor:
    """(groups, M / groups, C / groups · K²)."""
    return weight.reshape(problem.groups, weight.shape[0] // problem.groups, -1)


def _grouped(image: Tensor, problem: Problem) -> Tensor:
    """(groups, M / groups, H'·W') of one contiguous image."""
    return image.view(problem.groups, image.shape[0] // problem.groups, -1)


def _columns(image: Tensor, problem: Problem) -> Tensor:
    """(groups, C / groups · K², H'·W')."""
    (top, bottom), (left, right) = problem.padding
    padded = F.pad(image, (left, right, top, bottom))
    columns = F.unfold(padded, problem.kernel_size, problem.dilation, stride=problem.stride)
    return columns.view(problem.groups, -1, columns.shape[-1])
