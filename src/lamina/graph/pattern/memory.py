"""Which nodes share memory and which write into it: what may be computed later than it was written.

A group of nodes becomes one op in the place of its last. What it reads must then still be what it
was in the place of its first.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Graph, Node

from lamina.graph.pattern.nodes import OURS, argument, op_of

__all__ = ["Memory", "read_after_writing", "written"]

# Of functions: those whose result never shares memory with what they read.
_FRESH = frozenset(
    (
        torch.conv2d,
        torch.cat,
        torch.matmul,
        F.linear,
        F.batch_norm,
        F.relu,
        F.relu6,
        F.silu,
        F.hardswish,
        F.hardsigmoid,
        F.hardtanh,
        F.leaky_relu,
        F.gelu,
        F.adaptive_avg_pool2d,
        F.max_pool2d,
        F.avg_pool2d,
        torch.sigmoid,
        torch.tanh,
        torch.relu,
        torch.add,
        torch.mul,
    )
)
_FRESH_NAMES = frozenset(
    ["add", "sub", "mul", "truediv", "matmul", "boolean_dispatch", "fn", "mean", "sum"]
)


class Memory:
    """The memory of a graph's tensors, by the nodes that brought it.

    Args:
        graph: that was captured.
    """

    def __init__(self, graph: Graph) -> None:
        self._order: Mapping[Node, int] = {node: at for at, node in enumerate(graph.nodes)}
        self._roots: dict[Node, frozenset[Node]] = {}
        self._writers: list[tuple[int, Node, frozenset[Node]]] = []
        for node in graph.nodes:
            into = written(node)
            if into:
                self._roots[node] = self._of(into)
                self._writers.append((self._order[node], node, self._roots[node]))
            elif not node.all_input_nodes or _is_fresh(node):
                self._roots[node] = frozenset((node,))
            else:
                self._roots[node] = self._of(node.all_input_nodes) | {node}

    def may_move(self, group: Collection[Node], reads: Iterable[Node]) -> bool:
        """Whether a group may be computed in the place of its last node.

        Args:
            group: nodes of the graph.
            reads: what they read from outside.
        """
        places = [self._order[node] for node in group]
        roots = self._of(reads)
        return not any(
            min(places) < at < max(places) and node not in group and roots & into
            for at, node, into in self._writers
        )

    def is_written_after(self, node: Node) -> bool:
        """Whether memory that a node may share is changed behind it."""
        place, roots = self._order[node], self._roots[node]
        return any(at > place and roots & into for at, _, into in self._writers)

    def _of(self, nodes: Iterable[Node]) -> frozenset[Node]:
        return frozenset().union(*(self._roots[node] for node in nodes))


def _is_fresh(node: Node) -> bool:
    if op_of(node) is not None or OURS in node.meta:
        return True
    if node.op != "call_function":
        return False
    return node.target in _FRESH or getattr(node.target, "__name__", "") in _FRESH_NAMES


def read_after_writing(graph: Graph) -> None:
    """Have whoever reads a tensor after it was changed in place read the change's result.

    It is the same tensor; now the node in front of the change has one user, and can be joined.
    """
    order = {node: at for at, node in enumerate(graph.nodes)}
    for node in graph.nodes:
        into = written(node)
        if len(into) != 1 or node.op not in ("call_function", "call_method"):
            continue
        (tensor,) = into
        first = node.args[0] if node.args else node.kwargs.get("input")
        if first is not tensor or tensor.op in ("placeholder", "get_attr"):
            continue
        if getattr(node.target, "__name__", node.target) in ("setitem", "__setitem__"):
            continue
        for user in list(tensor.users):
            if order[user] > order[node]:
                user.replace_input_with(tensor, node)


# ---- who writes ---------------------------------------------------------------------------------

_INPLACE_OPERATORS = frozenset(
    getattr(operator, name)
    for name in [
        "iadd",
        "isub",
        "imul",
        "itruediv",
        "ifloordiv",
        "imod",
        "ipow",
        "iand",
        "ior",
        "ixor",
        "ilshift",
        "irshift",
        "imatmul",
        "setitem",
    ]
)


def written(node: Node) -> tuple[Node, ...]:
    """The tensors that a node changes."""
    targets: list[Any] = [node.kwargs.get("out")]
    if node.op == "call_method":
        name = str(node.target)
        if (name.endswith("_") and not name.endswith("__")) or name == "__setitem__":
            targets.append(node.args[0])
    elif node.op == "call_function":
        name = getattr(node.target, "__name__", "")
        if node.target in _INPLACE_OPERATORS or (name.endswith("_") and not name.endswith("__")):
            targets.append(node.args[0] if node.args else node.kwargs.get("input"))
        else:
            position = _position_of_inplace(node.target)
            if position is not None and argument(node, "inplace", position, False):
                targets.append(argument(node, "input", 0))
        if node.target is F.batch_norm and argument(node, "training", 5, False):
            targets += [argument(node, n, i) for i, n in ((1, "running_mean"), (2, "running_var"))]
        schema = getattr(node.target, "_schema", None)
        if schema is not None and schema.is_mutable:
            targets += node.all_input_nodes
    return tuple(target for target in targets if isinstance(target, Node))


@lru_cache(maxsize=1024)
def _position_of_inplace(function: Callable[..., Any]) -> int | None:
    try:
        return list(inspect.signature(function).parameters).index("inplace")
    except (TypeError, ValueError):
        return None
