"""Functions that people write out of others, by their own names.

silu         x · sigmoid(x)
hardsigmoid  relu6(x + 3) / 6
hardswish    x · relu6(x + 3) / 6
shuffle      x as (N, G, C / G, H, W), its axes 1 and 2 exchanged, as (N, C, H, W) again
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Graph, Node

from lamina.graph.pattern import elementwise, nodes
from lamina.graph.pattern.memory import Memory, written

__all__ = ["by_name"]


def by_name(graph: Graph) -> None:
    """Rewrite each spelling whose parts nobody else reads; dead parts go.

    Before, conversions to what a tensor is already, which give the tensor itself.
    """
    for node in list(graph.nodes):
        if _converts_nothing(node):
            node.replace_all_uses_with(node.args[0])
            graph.erase_node(node)
    for spelling in (_hardsigmoid, _product, _shuffle):
        memory = Memory(graph)
        for node in list(graph.nodes):
            found = spelling(node)
            if found is None:
                continue
            function, x, parts, arguments = found
            if not nodes.is_plain(x) or not memory.may_move((*parts, node), (x,)):
                continue
            with graph.inserting_after(node):
                new = graph.call_function(function, (x, *arguments), _in_place(node))
            new.meta = dict(node.meta)
            node.replace_all_uses_with(new)
            for old in (node, *reversed(parts)):
                graph.erase_node(old)


def _converts_nothing(node: Node) -> bool:
    """``x.to(x.dtype)`` and the like, where nothing asks for a copy or another memory format."""
    if node.target not in ("to", "float", "type_as") or True in node.args or node.kwargs:
        return False
    return nodes.is_plain(node) and nodes.is_plain(node.args[0])


def _in_place(node: Node) -> dict[str, Any]:
    return {"inplace": True} if written(node) else {}


_Found = tuple[Callable[..., Any], Node, tuple[Node, ...], tuple[Any, ...]]
"""The function, what it is of, the nodes in front of the last one in order, other arguments."""


def _hardsigmoid(node: Node) -> _Found | None:
    x = _sixth_of(node)
    parts = None if x is None else _relu6_of_shifted(x)
    if parts is None or written(node) or not _are_private(parts, node):
        return None
    return F.hardsigmoid, parts[0].all_input_nodes[0], parts, ()


def _product(node: Node) -> _Found | None:
    """silu, or hardswish in either order of its factors."""
    factors = elementwise.product_of(node)
    if factors is None:
        whole = _sixth_of(node)
        factors = None if whole is None else elementwise.product_of(whole)
        if factors is None or whole is None or len(whole.users) != 1 or written(node):
            return None
        return _hardswish(factors, node, whole)
    for x, gate in (factors, factors[::-1]):
        function = _OF_GATES.get(elementwise.gate(gate) or "")
        if function is not None and nodes.argument(gate, "input", 0) is x:
            is_own = not written(gate) and _are_private((gate,), node)
            return (function, x, (gate,), ()) if is_own and written(node) in ((), (x,)) else None
    return None


_OF_GATES = {"sigmoid": F.silu, "hardsigmoid": F.hardswish}


def _hardswish(factors: tuple[Node, Node], node: Node, whole: Node) -> _Found | None:
    for x, gate in (factors, factors[::-1]):
        parts = _relu6_of_shifted(gate)
        if parts is not None and parts[0].all_input_nodes == [x] and not written(whole):
            own = (*parts, whole)
            return (F.hardswish, x, own, ()) if _are_private(parts, whole) else None
    return None


def _relu6_of_shifted(node: Node) -> tuple[Node, Node] | None:
    """(x + 3, relu6 of it), where that is what a node is."""
    found = elementwise.activation(node)
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
    if elementwise.factors(node) is not None:
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


_RESHAPES = ("view", "reshape", torch.reshape)


def _shuffle(node: Node) -> _Found | None:
    copy = _behind(node, _RESHAPES)
    swap = copy if copy is None or copy.target != "contiguous" else _behind(copy, ("contiguous",))
    apart = None if swap is None else _behind(swap, ("transpose", torch.transpose))
    x = None if apart is None else _behind(apart, _RESHAPES)
    if copy is None or swap is None or apart is None or x is None:
        return None
    whole, five = nodes.shape(x) or (), nodes.shape(apart) or ()
    if not all(type(size) is int for size in (*whole, *five)) or len(whole) != 4:
        return None  # a symbol says nothing
    is_split = len(five) == 5 and (five[0], five[1] * five[2], *five[3:]) == whole
    axes = [axis for axis in swap.args[1:] if type(axis) is int]
    if not is_split or sorted(axes) != [1, 2] or nodes.shape(node) != whole:
        return None
    parts = (apart, swap) if copy is swap else (apart, swap, copy)
    return (F.channel_shuffle, x, parts, (five[1],)) if _are_private(parts, node) else None


def _behind(node: Node, targets: tuple[Any, ...]) -> Node | None:
    """What a call of one of these functions is of."""
    source = node.args[0] if node.target in targets and node.args else None
    return source if isinstance(source, Node) else None
