"""Convolution by the kernels: the direct sum and Winograd's algorithm, each in its three passes.

They read and write channels-last images; an image in the other layout is reordered on the way. A
pointwise convolution is a matrix product in either layout: "direct" then computes on the planes of
an NCHW image where they lie.

Source: Dukhan, "The Indirect Convolution Algorithm" (2019), section 3; Lavin and Gray, "Fast
Algorithms for Convolutional Neural Networks" (2016), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lamina.ops.finish import Finish, vectors
from lamina.ops.runtime import boundary, layout, memory, native
from lamina.theory.conv2d_problem import Problem

Sizes = Sequence[int]

ALGORITHMS = ("direct", "winograd_4x4", "winograd_2x2")


def forward(
    algorithm: str,
    x: Tensor,
    weight: Tensor,
    finish: Finish,
    problem: Problem,
    channels_last: bool,
) -> Tensor:
    """The convolution, finished, in the layout asked for."""
    outputs = problem.output_shape[1]
    algorithm, planar = _way(algorithm, problem, x)
    y = empty_images(problem.output_shape, x, planar, channels_last)
    native.kernels.conv2d_forward(
        algorithm,
        _image(x, "the input", problem.input_shape, planar),
        *_filter(weight),
        *vectors(finish.parameters, "conv2d", outputs),
        # As y is laid out.
        finish.addend
        if finish.addend is None
        else _image(finish.addend, "the addend", problem.output_shape, planar),
        finish.eps,
        *geometry(problem),
        native.ACTIVATIONS.index(finish.activation or "none"),
        finish.negative_slope,
        y,
    )
    return in_layout(y, channels_last)


def input_gradient(
    algorithm: str, x: Tensor, dy: Tensor, weight: Tensor, problem: Problem, channels_last: bool
) -> Tensor:
    """Of the input, in the layout asked for."""
    algorithm, planar = _way(algorithm, problem, dy)
    dx = empty_images(problem.input_shape, x, planar, channels_last)
    native.kernels.conv2d_input_gradient(
        algorithm,
        _image(dy, "the gradient", problem.output_shape, planar),
        *_filter(weight),
        *geometry(problem),
        dx,
    )
    return in_layout(dx, channels_last)


def weight_gradient(
    algorithm: str, x: Tensor, dy: Tensor, weight: Tensor, problem: Problem
) -> Tensor:
    """Of the weight, in its layout."""
    algorithm, planar = _way(algorithm, problem, x, dy)
    dweight = memory.empty(weight.shape, x, channels_last=layout.is_channels_last(weight))
    native.kernels.conv2d_weight_gradient(
        algorithm,
        _image(x, "the input", problem.input_shape, planar),
        _image(dy, "the gradient", problem.output_shape, planar),
        *geometry(problem),
        dweight,
        dweight.stride(),
    )
    return boundary.laid_out(dweight, layout.strides_of_gradient(weight))


def _way(algorithm: str, problem: Problem, *images: Tensor) -> tuple[str, bool]:
    """The kernels' name of the algorithm for these images, and whether it runs on planes."""
    planar = (
        algorithm == "direct"
        and problem.is_matrix_product
        and not any(map(is_channels_last_in_memory, images))
    )
    return ("planes" if planar else algorithm), planar


def _image(x: Tensor, what: str, shape: Sizes, planar: bool) -> Tensor:
    """As the kernels read it."""
    if planar:
        return boundary.image(x, f"conv2d: {what}", False, shape)
    return to_channels_last(boundary.of_shape(x, f"conv2d: {what}", shape))


def _filter(weight: Tensor) -> tuple[Tensor, tuple[int, ...]]:
    """The kernels read weights of any strides."""
    weight = boundary.plain(weight, "conv2d: weight")
    return weight, weight.stride()


def empty_images(shape: Sizes, like: Tensor, planar: bool, channels_last: bool) -> Tensor:
    """For what a kernel writes; of one channel or one pixel it is in the layout asked for."""
    both = shape[1] == 1 or shape[2] == shape[3] == 1
    return memory.empty(shape, like, channels_last=channels_last if both else not planar)


def in_layout(image: Tensor, channels_last: bool) -> Tensor:
    """What ``empty_images`` gave, in the layout asked for."""
    if image.is_contiguous(memory_format=layout.format_of(4, channels_last)):
        return image
    return to_channels_last(image) if channels_last else from_channels_last(image)


def is_channels_last_in_memory(x: Tensor) -> bool:
    """Whether the kernels read the images ``x`` where they lie, a grey one in NCHW included."""
    return x.is_contiguous(memory_format=torch.channels_last)


def to_channels_last(x: Tensor) -> Tensor:
    """``x`` itself where channels vary fastest in its memory, else such a copy."""
    x = boundary.plain(x, "conv2d: an image")
    if is_channels_last_in_memory(x):
        return x
    if not x.is_contiguous():
        return x.contiguous(memory_format=torch.channels_last)
    y = memory.empty(x.shape, x, channels_last=True)
    native.kernels.to_channels_last(x, *_planes(x), y)
    return y


def from_channels_last(x: Tensor) -> Tensor:
    """A copy of a channels-last image in which columns vary fastest."""
    y = memory.empty(x.shape, x)
    native.kernels.from_channels_last(x, *_planes(x), y)
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
