"""What a crossing between Keras and PyTorch gives: two models, what pairs with what, and notes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import fx

from lamina.interchange.traps import TRAPS

__all__ = ["Crossing", "Fate", "Note", "Pair", "Rearrangement", "WeightPair"]

Fate = Literal["changed", "approximated", "dropped"]
"""Changed: the same numbers in another form. Approximated: other numbers. Dropped: it is gone."""


@dataclass(frozen=True)
class Note:
    """What became of one thing of a layer; what has no note crossed as it is.

    Attributes:
        layer: its name in the model that was given.
        fate: what became of it.
        trap: a key of `traps.TRAPS`, the row that says why.
        what: a clause for a reader, such as "momentum 0.99 became 0.01".
    """

    layer: str
    fate: Fate
    trap: str
    what: str

    def __post_init__(self) -> None:
        if self.trap not in TRAPS:
            raise ValueError(f"trap must be a key of TRAPS, got {self.trap!r}")


@dataclass(frozen=True)
class Rearrangement:
    """How a Keras weight's elements become a torch weight's: reshaped, transposed, reshaped.

    Attributes:
        split: the Keras weight's axes, split where an axis holds several.
        axes: the order that torch has them in.
        shape: torch's shape.

    Example:
        >>> kernel = Rearrangement((3, 3, 8, 16), (3, 2, 0, 1), (16, 8, 3, 3))
        >>> kernel.to_torch(np.zeros((3, 3, 8, 16))).shape
        (16, 8, 3, 3)
        >>> kernel.to_keras(np.zeros((16, 8, 3, 3)), (3, 3, 8, 16)).shape
        (3, 3, 8, 16)
    """

    split: tuple[int, ...]
    axes: tuple[int, ...]
    shape: tuple[int, ...]

    @classmethod
    def none(cls, shape: Sequence[int]) -> Rearrangement:
        """The same elements in the same order."""
        return cls(tuple(shape), tuple(range(len(shape))), tuple(shape))

    def __post_init__(self) -> None:
        if math.prod(self.split) != math.prod(self.shape):
            raise ValueError(f"{self.split} and {self.shape} hold different numbers of elements")

    def to_torch(self, weight: NDArray[Any]) -> NDArray[Any]:
        """A Keras weight as torch has it."""
        return weight.reshape(self.split).transpose(self.axes).reshape(self.shape)

    def to_keras(self, weight: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
        """A torch weight as Keras has it, in Keras's shape."""
        inner = weight.reshape([self.split[axis] for axis in self.axes])
        return inner.transpose(np.argsort(self.axes)).reshape(shape)


@dataclass(frozen=True)
class WeightPair:
    """One weight under its two names.

    Attributes:
        keras: the variable's path in the Keras model, such as "stem/kernel".
        torch: the entry of the torch model's state_dict.
        rearrangement: how the elements lie.
        trainable: whether it is trained, in both models.
    """

    keras: str
    torch: str
    rearrangement: Rearrangement
    trainable: bool = True


@dataclass(frozen=True)
class Pair:
    """Two places that must hold the same numbers.

    Attributes:
        keras: an operation's name; one inside of a nested model after a slash, "backbone/conv1".
        call: which of the operation's calls, from 0, as Keras makes them: a shared one has several.
        torch: the name of a node of `Crossing.graph`.
        axes: torch's axes in Keras's order, (0, 2, 3, 1) for images; None where they are equal.
        layer: what the reader knows it by, in the model that was given.
    """

    keras: str
    call: int
    torch: str
    axes: tuple[int, ...] | None
    layer: str


@dataclass
class Crossing:
    """A model on both sides.

    Attributes:
        keras_model: a functional Keras model whose operations `pairs` names.
        torch_model: the module that users get, or gave.
        graph: the torch side as a graph whose nodes `pairs` names; in evaluation. It shares
            `torch_model`'s parameters.
        pairs: in the order of execution.
        weights: every weight, statistics too, under both names.
        notes: what changed its form, was approximated or dropped.
        input_axes: for every input, torch's axes in Keras's order; None where they are equal.
        output_axes: the same for every output.
        sizes: of the inputs that the crossing was made with, as Keras has them, without the batch;
            empty where it was made without.
    """

    keras_model: Any
    torch_model: torch.nn.Module
    graph: fx.GraphModule
    pairs: list[Pair] = field(default_factory=list)
    weights: list[WeightPair] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    input_axes: list[tuple[int, ...] | None] = field(default_factory=list)
    output_axes: list[tuple[int, ...] | None] = field(default_factory=list)
    sizes: list[tuple[int, ...]] = field(default_factory=list)
