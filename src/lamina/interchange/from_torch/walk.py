"""Through the torch graph, operation by operation."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor, fx, nn
from torch.fx.node import map_arg

from lamina.errors import InputError
from lamina.interchange.crossing import Pair
from lamina.interchange.from_torch import (
    activation,
    arithmetic,
    border,
    convolution,
    normalization,
    pooling,
    shape,
)
from lamina.interchange.from_torch.builder import Builder, Weight
from lamina.interchange.from_torch.call import Call, Rule, is_in_place, operation, refusal
from lamina.interchange.from_torch.value import Value

__all__ = ["Walk"]

RULES: dict[str, Rule] = {
    **activation.RULES,
    **arithmetic.RULES,
    **border.RULES,
    **convolution.RULES,
    **normalization.RULES,
    **pooling.RULES,
    **shape.RULES,
}
"""What becomes of each of PyTorch's operations."""

_WORDS = """
alias chunk contiguous detach dropout expand feature_dropout flatten getitem permute reshape select
slice split squeeze t to transpose unbind unflatten unsqueeze view
"""
_VIEWS = frozenset(_WORDS.split())
"""Whose result may be their input's memory."""


@dataclass
class Walk:
    """One pass over a graph.

    Attributes:
        module: that was traced.
        graph: its trace.
        build: the Keras side.
        values: what each node is there.
        pairs: places that must hold the same numbers, with the tensor of Keras.
    """

    module: nn.Module
    graph: fx.GraphModule
    build: Builder
    values: dict[fx.Node, Any] = field(default_factory=dict)
    pairs: list[tuple[Pair, Any]] = field(default_factory=list)

    @property
    def inputs(self) -> list[fx.Node]:
        """The nodes that stand for the model's inputs."""
        return self.graph.graph.find_nodes(op="placeholder")

    def run(self, inputs: list[Value]) -> list[Value]:
        """Build everything; returns the outputs."""
        given = iter(inputs)
        for node in self.graph.graph.nodes:
            if node.op == "placeholder":
                self.values[node] = next(given)
            elif node.op == "get_attr":
                self.values[node] = self._weight(str(node.target))
            elif node.op == "call_function":
                self._call(node)
            elif node.op == "output":
                nodes: list[fx.Node] = []
                map_arg(node.args[0], nodes.append)
                return [self._output(one) for one in nodes]
        raise AssertionError("a graph ends with its output")

    def _output(self, one: fx.Node) -> Value:
        value = self.values.get(one)
        if not isinstance(value, Value):
            raise InputError(
                f"model {type(self.module).__name__}: an output that is no tensor of its data"
            )
        return value

    def _weight(self, target: str) -> Weight:
        tensor: Any = self.graph
        for part in target.split("."):
            tensor = getattr(tensor, part)
        name = self._names.get(id(tensor), target)
        return Weight(name, tensor, isinstance(tensor, nn.Parameter), tuple(tensor.shape))

    @cached_property
    def _names(self) -> dict[int, str]:
        named = [*self.module.named_parameters(), *self.module.named_buffers()]
        return {id(tensor): name for name, tensor in reversed(named)}

    def _call(self, node: fx.Node) -> None:
        if not node.users and "val" in node.meta and not is_in_place(node):
            return
        if node.target is operator.getitem:
            whole, index = self.values[node.all_input_nodes[0]], node.args[1]
            self.values[node] = whole[index]
            self._pair(node)
            return
        if not isinstance(node.meta.get("val"), Tensor | tuple | list):
            self.values[node] = node  # a size: shapes are read from the results
            return
        where, module, own = self._place(node)
        rule = RULES.get(operation(node))
        # A layer's name is for what its module does last, behind its padding for example.
        main = own and not self._goes_on(node, where)
        label = where if main else "_".join(filter(None, (where, operation(node))))
        self.build.name, self.build.operation = label, operation(node)
        self.build.place = where.rpartition(".")[0] if own else where
        self.build.where = where if own else f"{where}: {operation(node)}".lstrip(": ")
        if rule is None:
            raise refusal(self.build.where, f"the operation {node.target}", "unsupported")
        if is_in_place(node):
            self._check_aliases(node)
        call = Call(node, self._arguments(node), self.build.where, module, self.build, self.values)
        try:
            result = rule(call)
        except InputError:
            raise
        except (ValueError, TypeError) as error:
            what = f"{operation(node)} ({_brief(error)})"
            raise refusal(self.build.where, what, "unsupported") from error
        self.values[node] = result
        if is_in_place(node):
            self.values[node.all_input_nodes[0]] = result
        self._pair(node)

    def _arguments(self, node: fx.Node) -> dict[str, Any]:
        schema = node.target._schema  # type: ignore[union-attr]
        found: dict[str, Any] = {}
        for place, argument in enumerate(schema.arguments):
            if place < len(node.args):
                given = node.args[place]
            elif argument.name in node.kwargs:
                given = node.kwargs[argument.name]
            elif argument.has_default_value():
                given = argument.default_value
            else:
                given = None
            found[argument.name] = map_arg(given, lambda one: self.values[one])
        return found

    def _place(self, node: fx.Node) -> tuple[str, nn.Module, bool]:
        """The module that a node was called in, and whether the node is all that it does."""
        stack = list(node.meta.get("nn_module_stack", {}).values())
        path = re.sub(r"^L\['self'\]\.?", "", stack[-1][0]) if stack else ""
        path = re.sub(r"@\d+$", "", path)
        try:
            module = self.module.get_submodule(path)
        except AttributeError:
            return path, self.module, False
        library = type(module).__module__.startswith(("torch.nn.modules", "lamina.nn"))
        leaf = not any(True for _ in module.children()) and path != ""
        return path, module, library and leaf

    def _goes_on(self, node: fx.Node, where: str) -> bool:
        """Whether the next operation belongs to the same module."""
        following = node.next
        while following.op == "call_function" and not isinstance(following.meta.get("val"), Tensor):
            following = following.next
        return following.op == "call_function" and self._place(following)[0] == where

    def _pair(self, node: fx.Node) -> None:
        value = self.values[node]
        if not isinstance(value, Value) or not value.is_complete:
            return
        history = value.tensor._keras_history
        natural = tuple(range(value.rank))
        axes = None if value.axes == natural else value.axes
        name, call = history.operation.name, history.node_index
        if any(tensor is value.tensor for _, tensor in self.pairs[-1:]):
            return
        self.pairs.append((Pair(name, call, node.name, axes, self.build.where), value.tensor))

    def _check_aliases(self, node: fx.Node) -> None:
        """What is changed in place must not be read under another name afterwards."""
        changed, order = node.all_input_nodes[0], list(self.graph.graph.nodes)
        here = order.index(node)
        after = set(order[here + 1 :])
        for other in _family(changed) & set(order[:here]) - {changed}:
            if after & other.users.keys():
                what = f"{operation(node)} in place on a tensor that is read by another name later"
                raise refusal(self.build.where, what, "unsupported")


def _family(node: fx.Node) -> set[fx.Node]:
    """The nodes that share a tensor's memory."""
    base = node
    while _is_alias(base):
        base = base.all_input_nodes[0]
    found, pending = {base}, [base]
    while pending:
        for user in pending.pop().users:
            if _is_alias(user) and user.all_input_nodes[0] in found and user not in found:
                found.add(user)
                pending.append(user)
    return found


def _is_alias(node: fx.Node) -> bool:
    """Whether a node's result may be its first input's memory."""
    return node.op == "call_function" and (operation(node) in _VIEWS or is_in_place(node))


def _brief(error: BaseException) -> str:
    """What went wrong, without Keras's account of where."""
    text = re.sub(r"\x1b\[\d*m", "", str(error))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith("Exception encountered")]
    return (said or lines or [type(error).__name__])[0].rstrip(".")
