"""A torch tensor as Keras holds it: which axis lies where, and what that makes of reshapes.

Keras has channels last, so every axis of a torch tensor has another place there. A `Value` keeps
account of it, and much of what a torch model says about axes needs no layer at all: a permutation
changes the account alone, and an axis of size 1 need not exist.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

__all__ = ["Features", "Group", "Shape", "Size", "Value", "canonical", "groups", "shape_of"]

Size = Any
"""An int, or the SymPy expression of a size that the batch decides."""

Shape = tuple[Size, ...]


@dataclass(frozen=True)
class Features:
    """How the elements of a flattened axis lie in Keras, where torch has them in another order.

    Attributes:
        sizes: of the axes that were flattened, in Keras's order.
        axes: torch's order of them.
    """

    sizes: tuple[int, ...]
    axes: tuple[int, ...]


@dataclass(frozen=True)
class Value:
    """A tensor on both sides.

    Attributes:
        tensor: the symbolic tensor of Keras.
        shape: torch's shape.
        axes: torch's axes in Keras's order; one of size 1 may be missing.
        features: the order of the last axis's elements, where it is not torch's.
        expanded: torch's shape where axes of size 1 stand for more: what broadcasts need not.
        is_nonnegative: whether no element is below 0.
    """

    tensor: Any
    shape: Shape
    axes: tuple[int, ...]
    features: Features | None = None
    expanded: Shape | None = None
    is_nonnegative: bool = False

    @property
    def rank(self) -> int:
        """Number of torch's axes."""
        return len(self.shape)

    @property
    def is_complete(self) -> bool:
        """Whether every torch axis has a place in Keras, and every element torch's order."""
        return len(self.axes) == self.rank and self.features is None and self.expanded is None

    def permuted(self, dims: Sequence[int]) -> Value:
        """The account after ``torch.permute``; the tensor stays as it lies.

        Example:
            >>> image = Value(None, (2, 3, 5, 5), (0, 2, 3, 1))
            >>> image.permuted((0, 2, 3, 1)).axes
            (0, 1, 2, 3)
        """
        return replace(
            self,
            shape=tuple(self.shape[dim] for dim in dims),
            axes=tuple(list(dims).index(axis) for axis in self.axes),
            expanded=self.expanded and tuple(self.expanded[dim] for dim in dims),
        )

    def sizes(self, axes: Sequence[int]) -> Shape:
        """The sizes of some axes."""
        return tuple(self.shape[axis] for axis in axes)


def canonical(rank: int) -> tuple[int, ...]:
    """Keras's order of a tensor's axes: channels last of images, torch's order of all others.

    Example:
        >>> canonical(4), canonical(3)
        ((0, 2, 3, 1), (0, 1, 2))
    """
    return (0, 2, 3, 1) if rank == 4 else tuple(range(rank))


def shape_of(tensor: torch.Tensor) -> Shape:
    """The shape of a traced tensor, without PyTorch's own symbols."""
    return tuple(
        int(size) if (known := _constant(size)) is None else known for size in tensor.shape
    )


def _constant(size: Any) -> Any:  # noqa: ANN401 - an int or a SymInt
    expression = getattr(getattr(size, "node", None), "expr", None)
    return None if expression is None or expression.is_number else expression


Group = tuple[list[int], list[int]]
"""Axes of a shape, and the axes of another one that hold the same elements."""


def groups(old: Shape, new: Shape) -> list[Group]:
    """What becomes of which axis in a reshape: the smallest runs of equal products.

    Axes of size 1 are in no group.

    Raises:
        ValueError: the shapes hold different numbers of elements.

    Example:
        >>> groups((2, 12, 5, 5), (2, 3, 4, 25))
        [([0], [0]), ([1], [1, 2]), ([2, 3], [3])]
    """
    olds = [axis for axis, size in enumerate(old) if size != 1]
    news = [axis for axis, size in enumerate(new) if size != 1]
    found: list[Group] = []
    while olds and news:
        left, right = [olds.pop(0)], [news.pop(0)]
        while (a := math.prod(old[x] for x in left)) != (b := math.prod(new[x] for x in right)):
            if news and (not olds or _is_smaller(b, a)):
                right.append(news.pop(0))
            elif olds:
                left.append(olds.pop(0))
            else:
                raise ValueError(f"{old} and {new} hold different numbers of elements")
        found.append((left, right))
    if olds or news:
        raise ValueError(f"{old} and {new} hold different numbers of elements")
    return found


def _is_smaller(a: Size, b: Size) -> bool:
    """Whether ``a`` needs another factor to be ``b``; symbols stand for a number above 1."""
    ratio = a / b
    return bool(ratio < 1) if getattr(ratio, "is_number", True) else not (b / a).is_polynomial()
