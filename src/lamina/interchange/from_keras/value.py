"""A tensor of the Keras model, as the torch graph has it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import fx

__all__ = ["IMAGE", "Value", "inverse"]

IMAGE = (0, 2, 3, 1)
"""The axes of (N, H, W, C) in (N, C, H, W)."""


@dataclass(frozen=True)
class Value:
    """A tensor on both sides.

    Attributes:
        node: what computes it in the graph.
        shape: Keras's, None for a size that is not fixed.
        axes: torch's axes in Keras's order.
        order: (H, W, C) where the last axis holds an image's elements as (C, H, W) and Keras has
            them as (H, W, C).
        border: zeros, (rows, columns) on either side, that the convolution that reads it adds.
    """

    node: fx.Node
    shape: tuple[int | None, ...]
    axes: tuple[int, ...]
    order: tuple[int, int, int] | None = None
    border: tuple[int, int] = (0, 0)

    @property
    def rank(self) -> int:
        """How many axes it has."""
        return len(self.shape)

    @property
    def torch_shape(self) -> tuple[int | None, ...]:
        """Its shape in torch."""
        return tuple(self.shape[axis] for axis in inverse(self.axes))

    @property
    def is_natural(self) -> bool:
        """Whether both have the axes in one order."""
        return self.axes == tuple(range(self.rank))

    @property
    def flattens_alike(self) -> bool:
        """Whether both have the elements in one order: axes of length 1 do not count."""
        places = [self.axes[i] for i in range(self.rank) if self.shape[i] != 1 or i == 0]
        return places == sorted(places)

    def dim(self, axis: int) -> int:
        """Torch's axis for one of Keras's, which may count from the end."""
        return self.axes[axis % self.rank]


def inverse(axes: Sequence[int]) -> tuple[int, ...]:
    """The permutation that undoes one.

    Example:
        >>> inverse((0, 2, 3, 1))
        (0, 3, 1, 2)
    """
    return tuple(sorted(range(len(axes)), key=axes.__getitem__))
