"""One operation of the torch graph, as a rule reads it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import fx

from lamina.errors import InputError
from lamina.interchange.from_torch.builder import Builder
from lamina.interchange.from_torch.value import Shape, Value, shape_of
from lamina.interchange.traps import TRAPS

__all__ = ["Call", "Rule", "is_in_place", "operation", "pair", "refusal", "short"]


def refusal(where: str, what: str, trap: str) -> InputError:
    """The error for what cannot cross, with the reason of the table's row."""
    row = TRAPS[trap]
    why = "" if trap == "unsupported" else f"; {row.topic}: Keras: {row.keras}, torch: {row.torch}"
    return InputError(f"layer {where!r}: {what} has no equal in Keras{why}")


@dataclass(frozen=True)
class Call:
    """An operation with its arguments.

    Attributes:
        node: of the graph.
        arguments: by the names of its schema; tensors are a `Value` or a `Weight`.
        where: what a reader knows it by: the module's name, or the operation's.
        module: the torch module whose own operation it is, or that it is called in.
        build: the Keras side.
        values: what the nodes before it have become.
    """

    node: fx.Node
    arguments: dict[str, Any]
    where: str
    module: torch.nn.Module
    build: Builder
    values: Mapping[fx.Node, Any]

    def __getitem__(self, name: str) -> Any:  # noqa: ANN401
        return self.arguments[name]

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """An argument that this form of the operation may not have."""
        return self.arguments.get(name, default)

    @property
    def shape(self) -> Shape:
        """Torch's shape of the result."""
        return shape_of(self.node.meta["val"])

    def value(self, name: str = "") -> Value:
        """An argument that must be a tensor of the model's data; the first one without a name."""
        found = self.arguments[name or next(iter(self.arguments))]
        if not isinstance(found, Value):
            named = getattr(found, "name", repr(found))
            self.refuse(f"{self.what} of {named}, which is no data,", "unsupported")
        return found

    def number(self, name: str) -> float:
        """An argument that must be a number which is known before the model runs."""
        found = self.arguments[name]
        if not isinstance(found, int | float):
            self.refuse(f"a {name} of {self.what} that follows from the batch", "unsupported")
        return found

    def axis(self, name: str = "dim") -> int:
        """An axis, counted from the front."""
        return int(self.arguments[name]) % max(self.value().rank, 1)

    @property
    def what(self) -> str:
        """The operation, such as "conv2d"."""
        return operation(self.node)

    def refuse(self, what: str, trap: str) -> NoReturn:
        """Raise, with the reason of the table's row."""
        raise refusal(self.where, what, trap)


Rule = Callable[[Call], Value | Sequence[Value]]
"""What an operation becomes."""


def operation(node: fx.Node) -> str:
    """The name of a node's operation without its form: "relu" of ``aten.relu_.default``."""
    name = getattr(node.target, "_schema", None)
    return name.name.split("::")[-1].rstrip("_") if name else str(node.target)


def is_in_place(node: fx.Node) -> bool:
    """Whether a node changes its first argument."""
    schema = getattr(node.target, "_schema", None)
    return bool(schema and schema.is_mutable)


def pair(value: int | Sequence[int], rank: int = 2) -> tuple[int, ...]:
    """A number for each axis of the image; PyTorch allows one for all."""
    values = [value] if isinstance(value, int) else list(value)
    return tuple(values * rank if len(values) == 1 else values)


def short(values: Sequence[int]) -> int | tuple[int, ...]:
    """One number where all are alike, as people write it."""
    return values[0] if len(set(values)) == 1 else tuple(values)
