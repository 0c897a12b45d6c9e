"""Convolution by the kernels: the direct sum and Winograd's algorithm, each in its three passes.

They read and write channels-last images; an image in the other layout is reordered on the way. A
pointwise convolution is a matrix product in either layout: "direct" then computes on the planes of
an NCHW image where they lie.

Source: Dukhan, "The Indirect Convolution Algorithm" (2019), section 3; Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks" (2016), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.ops.runtime import memory, native
from lamina.theory.conv2d_problem import Problem

Sizes = Sequence[int]

ALGORITHMS = ("direct", "winograd_4x4", "winograd_2x2")


def forward(
    algorithm: str,
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    problem: Problem,
    activation: str,
    negative_slope: float,
    channels_last: bool,
) -> Tensor:
    """activation(scale · convolution + shift), in the layout asked for."""
    algorithm, planar, x = _images(algorithm, problem, x)
    weight = weight.resolve_neg()
    scale, shift = (None if t is None else native.row_major(t) for t in (scale, shift))
    y = memory.empty(problem.output_shape, x, channels_last=not planar)
    native.kernels.conv2d_forward(
        algorithm,
        x.data_ptr(),
        weight.data_ptr(),
        weight.stride(),
        native.address(scale),
        native.address(shift),
        *geometry(problem),
        native.ACTIVATIONS.index(activation),
        negative_slope,
        y.data_ptr(),
    )
    return _in_layout(y, channels_last)


def input_gradient(
    algorithm: str, x: Tensor, dy: Tensor, weight: Tensor, problem: Problem
) -> Tensor:
    """Of the input, in its layout."""
    algorithm, planar, dy = _images(algorithm, problem, dy)
    weight = weight.resolve_neg()
    dx = memory.empty(problem.input_shape, x, channels_last=not planar)
    native.kernels.conv2d_input_gradient(
        algorithm,
        dy.data_ptr(),
        weight.data_ptr(),
        weight.stride(),
        *geometry(problem),
        dx.data_ptr(),
    )
    return _in_layout(dx, native.is_channels_last(x))


def weight_gradient(
    algorithm: str, x: Tensor, dy: Tensor, weight: Tensor, problem: Problem
) -> Tensor:
    """Of the weight, in its layout."""
    algorithm, _, x, dy = _images(algorithm, problem, x, dy)
    dweight = memory.empty(weight.shape, weight, channels_last=native.is_channels_last(weight))
    native.kernels.conv2d_weight_gradient(
        algorithm,
        x.data_ptr(),
        dy.data_ptr(),
        *geometry(problem),
        dweight.data_ptr(),
        dweight.stride(),
    )
    return dweight


def _images(algorithm: str, problem: Problem, *images: Tensor) -> tuple[Any, ...]:
    """The kernels' name of the algorithm, whether it runs on planes, and the images for it."""
    planar = (
        algorithm == "direct"
        and problem.is_matrix_product
        and not any(map(native.is_channels_last, images))
    )
    if planar:
        return "planes", True, *map(native.row_major, images)
    return algorithm, False, *map(to_channels_last, images)


def _in_layout(image: Tensor, channels_last: bool) -> Tensor:
    if native.is_channels_last(image) == channels_last:
        return image
    return to_channels_last(image) if channels_last else from_channels_last(image)


def to_channels_last(x: Tensor) -> Tensor:
    """``x`` itself where channels vary fastest in its memory, else such a copy."""
    if x.is_neg():
        x = x.resolve_neg()
    if native.is_channels_last(x):
        return x
    if not x.is_contiguous():
        return x.contiguous(memory_format=torch.channels_last)
    y = memory.empty(x.shape, x, channels_last=True)
    native.kernels.to_channels_last(x.data_ptr(), *_planes(x), y.data_ptr())
    return y


def from_channels_last(x: Tensor) -> Tensor:
    """A copy of a channels-last image in which columns vary fastest."""
    y = memory.empty(x.shape, x)
    native.kernels.from_channels_last(x.data_ptr(), *_planes(x), y.data_ptr())
    return y


def _planes(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], x.shape[2] * x.shape[3]


def geometry(problem: Problem) -> tuple[Sizes, Sizes, Sizes, Sizes, Sizes, Sizes, Sizes]:
    """As the kernels take it: bindings/conv2d.cc names the items."""
    (top, _), (left, _) = problem.padding
    images, channels = problem.input_shape[:2]
    return (
        (images, channels, problem.output_shape[1], problem.groups),
        problem.input_shape[2:],
        problem.output_shape[2:],
        problem.kernel_size,
        problem.stride,
        (top, left),
        problem.dilation,
    )
