"""One call of a Keras operation, as the rule that crosses it sees it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn

import torch

from lamina.errors import InputError
from lamina.interchange.crossing import Fate, Rearrangement
from lamina.interchange.from_keras.builder import Builder
from lamina.interchange.from_keras.constructor import Constructor
from lamina.interchange.from_keras.value import IMAGE, Value
from lamina.interchange.traps import TRAPS

__all__ = ["Call", "Operation", "Rule", "find_rule", "layer", "operation"]

Operation = Any
"""A Keras layer, or an operation that is none; Keras has no types."""


@dataclass(frozen=True)
class Call:
    """One call of an operation.

    Attributes:
        builder: what it adds to.
        operation: the layer or operation.
        kind: the name of its class, or of that of Keras that it is derived from.
        path: its name, after those of the models that it lies in.
        shape: its output's, as Keras has it.
        training: the mode that the caller fixed; None where it is the model's.
        once: whether the model calls the operation once.
        takes_any_order: whether all that reads the output takes flattened images in any order.
        takes_border: whether all that reads the output are convolutions that can pad by themselves.
    """

    builder: Builder
    operation: Operation
    kind: str
    path: str
    shape: tuple[int | None, ...]
    training: bool | None
    once: bool
    takes_any_order: bool = False
    takes_border: bool = False

    @property
    def is_frozen(self) -> bool:
        """Whether it is in inference mode for ever."""
        return self.training is False or not self.operation.trainable

    def module(self, value: Value, made_by: Constructor, part: str = "") -> Value:
        """The output of a module on a value; ``part`` tells the modules of one layer apart."""
        target = self.builder.attribute(self.path, part)
        self.builder.module(target, made_by)
        return replace(value, node=self.builder.graph.call_module(target, (value.node,)))

    def function(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """The node of a function's call."""
        return self.builder.graph.create_node(
            "call_function", function, arguments, options, self.node_name
        )

    def method(self, name: str, value: Value, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401
        """The node of a tensor's method."""
        return self.builder.graph.create_node(
            "call_method", name, (value.node, *arguments), options, self.node_name
        )

    @property
    def node_name(self) -> str:
        """What the graph calls it."""
        return self.builder.attribute(self.path).replace(".", "_")

    def weight(
        self,
        variable: Any,  # noqa: ANN401
        entry: str,
        axes: Sequence[int] | None = None,
        *,
        split: Sequence[int] | None = None,
        shape: Sequence[int] | None = None,
        part: str = "",
    ) -> None:
        """Copy a variable into an entry of a module's state_dict.

        Args:
            variable: a Keras variable.
            entry: such as "weight".
            axes: the order that torch has the axes in; None for Keras's.
            split: the variable's axes, where one holds several.
            shape: torch's, where it is not the transposed one.
            part: which of the layer's modules.
        """
        sizes = tuple(int(size) for size in (split or variable.shape))
        order = tuple(axes or range(len(sizes)))
        shape = tuple(shape or (sizes[axis] for axis in order))
        target = f"{self.builder.attribute(self.path, part)}.{entry}"
        self.builder.weight(variable, target, Rearrangement(sizes, order, shape))

    def constant(self, entry: str, value: object, part: str = "") -> None:
        """Fill a buffer, or a parameter that is no weight of Keras and stays as it is."""
        target = self.builder.attribute(self.path, part)
        tensor: torch.Tensor = getattr(self.builder.root.get_submodule(target), entry)
        with torch.no_grad():
            tensor.copy_(torch.as_tensor(value))
        tensor.requires_grad_(False)

    def image(self, value: Value) -> Value:
        """A value as (N, C, H, W), whatever the layer's data_format is."""
        if value.rank != 4:
            self.refuse(f"its input has {value.rank} axes, and images have 4")
        first = getattr(self.operation, "data_format", "channels_last") == "channels_first"
        return self.builder.arranged(value, (0, 1, 2, 3) if first else IMAGE)

    def natural(self, value: Value) -> Value:
        """A value with its axes in Keras's order."""
        return self.builder.arranged(value, tuple(range(value.rank)))

    def with_axis(self, value: Value, axis: int, dim: int) -> Value:
        """A value with one of Keras's axes in a given place of torch's."""
        axis, dim = axis % value.rank, dim % value.rank
        if value.axes[axis] == dim:
            return value
        others = [other for other in range(value.rank) if other != axis]
        order = [*others[:dim], axis, *others[dim:]]
        return self.builder.arranged(value, tuple(order.index(i) for i in range(value.rank)))

    def note(self, fate: Fate, trap: str, what: str) -> None:
        """Tell the reader what became of something."""
        self.builder.note(self.path, fate, trap, what)

    def refuse(self, what: str, trap: str = "unsupported") -> NoReturn:
        """Say that the layer cannot cross, and by which row of the table.

        Raises:
            InputError: always.
        """
        raise InputError(
            f"layer {self.path!r} ({self.kind}) cannot cross: {what} [{TRAPS[trap].topic}]"
        )


Rule = Callable[..., Any]
"""``rule(call, *values)`` gives the value of the call, or a list of them."""

_LAYER_MODULES = ("keras.src.layers.", "keras.src.applications.", "lamina.layers.")
_HARMLESS = {"get_config", "from_config"}
_LAYERS: dict[str, Rule] = {}
_OPERATIONS: dict[str, Rule] = {}


def layer(*names: str) -> Callable[[Rule], Rule]:
    """Have a rule cross the Keras layers of these names."""

    def enter(rule: Rule) -> Rule:
        _LAYERS.update(dict.fromkeys(names, rule))
        return rule

    return enter


def operation(*names: str) -> Callable[[Rule], Rule]:
    """Have a rule cross the operations of ``keras.ops`` whose classes have these names."""

    def enter(rule: Rule) -> Rule:
        _OPERATIONS.update(dict.fromkeys(names, rule))
        return rule

    return enter


def find_rule(operation: Operation) -> tuple[str, Rule] | None:
    """The class of an operation and its rule; None where there is none.

    A class of somebody's own has the rule of the class that it is derived from, if it only sets
    other arguments.
    """
    for kind in type(operation).__mro__:
        if kind.__module__.startswith(("keras.src.ops.", "keras.src.activations.")):
            rule = _OPERATIONS.get(kind.__name__)
            return rule and (kind.__name__, rule)
        if kind.__module__.startswith(_LAYER_MODULES):
            rule = _LAYERS.get(kind.__name__)
            return rule and (kind.__name__, rule)
        if {name for name in vars(kind) if not name.startswith("__")} - _HARMLESS:
            return None
    return None
