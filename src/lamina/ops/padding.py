"""The border of an image: zeros, its mirror, its edge or its other side."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor

from lamina.theory import shapes
from lamina.theory.shapes import Padding, Pair, ResolvedPadding

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


def pad2d(
    x: Tensor,
    padding: Padding,
    kernel_size: Pair,
    stride: Pair = (1, 1),
    dilation: Pair = (1, 1),
    mode: str = "zeros",
) -> Tensor:
    """The image with the border that a window of this size, stride and dilation asks for.

    Args:
        x: (N, C, H, W) or (C, H, W), any memory format.
        padding: pixels or a rule, as for ``conv2d``.
        kernel_size: (height, width) of the window; it matters for ``"same"`` alone, as do
            ``stride`` and ``dilation``.
        stride: (height, width) in pixels.
        dilation: (height, width) in pixels.
        mode: one of ``PADDING_MODES``.

    Returns:
        (N, C, H + top + bottom, W + left + right).

    Example:
        >>> import torch
        >>> pad2d(torch.tensor([[[1.0, 2.0, 3.0]]]), ((0, 0), (1, 0)), (1, 2), mode="reflect")
        tensor([[[2., 1., 2., 3.]]])
    """
    size = (x.shape[-2], x.shape[-1])
    (top, bottom), (left, right) = shapes.resolve_padding(
        padding, size, kernel_size, stride, dilation
    )
    return F.pad(x, (left, right, top, bottom), mode="constant" if mode == "zeros" else mode)


def torch_padding(padding: Padding) -> Padding:
    """The padding as torch.nn keeps it, (height, width), where both ends of an axis are alike.

    Raises:
        ValueError: none of the forms of ``Padding``, or a negative number.

    Example:
        >>> torch_padding(1), torch_padding(((0, 1), (0, 1))), torch_padding("same")
        ((1, 1), ((0, 1), (0, 1)), 'same')
    """
    canonical = shapes.canonical_padding(padding)
    if isinstance(canonical, str):
        return canonical
    (top, bottom), (left, right) = canonical
    return (top, left) if top == bottom and left == right else canonical


def sides(padding: Sequence[int]) -> ResolvedPadding:
    """An op's four numbers, (top, bottom, left, right), as the theory has them."""
    top, bottom, left, right = padding
    return (top, bottom), (left, right)


def is_even(padding: ResolvedPadding) -> bool:
    """Whether both ends of an axis are padded alike, as PyTorch's windows do by themselves.

    Returns:
        False too where a tracer knows the pixels by name alone: they may differ in another image.

    Example:
        >>> is_even(((1, 1), (0, 0))), is_even(((0, 1), (0, 1)))
        (True, False)
    """
    (top, bottom), (left, right) = padding
    known = type(top) is type(bottom) is type(left) is type(right) is int
    return known and top == bottom and left == right


def border(padding: Padding, kernel_size: Pair, stride: Pair, dilation: Pair) -> list[int] | None:
    """[left, right, top, bottom], as ``F.pad`` takes them and torch.nn's convolutions keep them.

    Returns:
        None where it depends on the image's size: ``"same"`` at a stride above 1.

    Example:
        >>> border((1, 2), (3, 3), (1, 1), (1, 1)), border("same", (2, 3), (2, 1), (1, 1))
        ([2, 2, 1, 1], None)
    """
    if padding == "same" and stride != (1, 1):
        return None
    any_size = kernel_size
    (top, bottom), (left, right) = shapes.resolve_padding(
        padding, any_size, kernel_size, stride, dilation
    )
    return [left, right, top, bottom]


def window_padding(
    x: Tensor, weight: Tensor, stride: Pair, padding: Padding, dilation: Pair
) -> ResolvedPadding:
    """The padding in pixels for this input; raises if then no window fits."""
    size, kernel_size = (x.shape[-2], x.shape[-1]), (weight.shape[-2], weight.shape[-1])
    resolved = shapes.resolve_padding(padding, size, kernel_size, stride, dilation)
    shapes.window_output_size(size, kernel_size, stride, resolved, dilation)
    return resolved
