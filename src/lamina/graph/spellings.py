"""Functions that people write out of others, by their own names.

silu         x · sigmoid(x)
hardsigmoid  relu6(x + 3) / 6
hardswish    x · relu6(x + 3) / 6
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Graph, Node

from lamina.graph import nodes
from lamina.graph.memory import Memory, written

__all__ = ["by_name"]


def by_name(graph: Graph) -> None:
    """Rewrite each spelling whose parts nobody else reads; dead parts go."""
    for spelling in (_hardsigmoid, _product):
        memory = Memory(graph)
        for node in list(graph.nodes):
            found = spelling(node)
            if found is None:
                continue
            function, x, parts = found
            if not nodes.is_plain(x) or not memory.may_move((*parts, node), (x,)):
                continue
            with graph.inserting_after(node):
                new = graph.call_function(function, (x,), _in_place(node))
            new.meta = dict(node.meta)
            node.replace_all_uses_with(new)
            for old in (node, *reversed(parts)):
                graph.erase_node(old)


def _in_place(node: Node) -> dict[str, Any]:
    return {"inplace": True} if written(node) else {}


_Found = tuple[Callable[..., Any], Node, tuple[Node, ...]]
"""The function, what it is of, and the nodes in front of the last one, in order."""


def _hardsigmoid(node: Node) -> _Found | None:
    x = _sixth_of(node)
    parts = None if x is None else _relu6_of_shifted(x)
    if parts is None or written(node) or not _are_private(parts, node):
        return None
    return F.hardsigmoid, parts[0].all_input_nodes[0], parts


def _product(node: Node) -> _Found | None:
    """silu, or hardswish in either order of its factors."""
    factors = nodes.product_of(node)
    if factors is None:
        whole = _sixth_of(node)
        factors = None if whole is None else nodes.product_of(whole)
        if factors is None or whole is None or len(whole.users) != 1 or written(node):
            return None
        return _hardswish(factors, node, whole)
    for x, gate in (factors, factors[::-1]):
        function = _OF_GATES.get(nodes.gate(gate) or "")
        if function is not None and nodes.argument(gate, "input", 0) is x:
            is_own = not written(gate) and _are_private((gate,), node)
            return (function, x, (gate,)) if is_own and written(node) in ((), (x,)) else None
    return None


_OF_GATES = {"sigmoid": F.silu, "hardsigmoid": F.hardswish}


def _hardswish(factors: tuple[Node, Node], node: Node, whole: Node) -> _Found | None:
    for x, gate in (factors, factors[::-1]):
        parts = _relu6_of_shifted(gate)
        if parts is not None and parts[0].all_input_nodes == [x] and not written(whole):
            own = (*parts, whole)
            return (F.hardswish, x, own) if _are_private(parts, whole) else None
    return None


def _relu6_of_shifted(node: Node) -> tuple[Node, Node] | None:
    """(x + 3, relu6 of it), where that is what a node is."""
    found = nodes.activation(node)
    if found is not None and found.name == "relu6":
        shifted = found.x
    elif node.target in ("clamp", torch.clamp) and _limits(node) == (0, 6):
        shifted = node.args[0]  # type: ignore[assignment]
    else:
        return None
    if not isinstance(shifted, Node) or written(shifted):
        return None
    is_sum = shifted.target in (operator.add, torch.add, "add")
    if not is_sum or len(shifted.args) != 2 or shifted.kwargs or 3 not in shifted.args:
        return None
    return (shifted, node) if len(shifted.all_input_nodes) == 1 else None


def _limits(node: Node) -> tuple[Any, Any]:
    return nodes.argument(node, "min", 1), nodes.argument(node, "max", 2)


def _sixth_of(node: Node) -> Node | None:
    """What a node divides by 6."""
    if len(node.args) != 2 or node.kwargs:
        return None
    x, by = node.args
    if node.target in _DIVISIONS and isinstance(x, Node) and by == 6:
        return x
    if nodes.factors(node) is not None:
        x, by = (x, by) if isinstance(x, Node) else (by, x)
        if isinstance(x, Node) and isinstance(by, float) and math.isclose(by, 1 / 6, rel_tol=1e-6):
            return x
    return None


_DIVISIONS = frozenset((operator.truediv, operator.itruediv, torch.div, "div", "div_"))


def _are_private(parts: tuple[Node, ...], last: Node) -> bool:
    """Whether each part is read by the next alone."""
    return all(
        set(part.users) == {reader} for part, reader in zip(parts, (*parts[1:], last), strict=True)
    )
