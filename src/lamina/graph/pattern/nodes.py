"""A node of a captured graph: its value, its arguments, who reads it.

Dynamo writes a model down as it was called: ``F.relu``, ``torch.relu_``, ``x.relu()`` and a module
of lamina.nn are four nodes of four forms. `layers` and `elementwise` make one description of each.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch.fx import Node

from lamina.ops.runtime.registration import OPS
from lamina.theory.shapes import Pair

__all__ = [
    "OURS",
    "argument",
    "behind_views",
    "is_call",
    "is_image",
    "is_method",
    "is_plain",
    "named",
    "op_of",
    "pair",
    "shape",
    "sole_user",
    "value",
]

OURS = "lamina"
"""In the meta of a node that was written here: it takes images of any memory format, and its result
shares memory with nothing."""


def value(node: Node) -> Any:
    """The fake tensor, number or tuple that stood here while the graph was captured."""
    return node.meta.get("example_value")


def shape(node: Any) -> tuple[int, ...] | None:
    """Of a tensor; an extent may be a symbol."""
    found = value(node) if isinstance(node, Node) else None
    return tuple(found.shape) if isinstance(found, torch.Tensor) else None


def is_plain(node: Any) -> bool:
    """Whether it is a tensor that kernels take: float32, on the CPU, strided."""
    found = value(node) if isinstance(node, Node) else None
    return (
        isinstance(found, torch.Tensor)
        and found.dtype is torch.float32
        and found.device.type == "cpu"
        and found.layout is torch.strided
    )


def is_image(node: Any) -> bool:
    """Whether it is a batch of images that kernels take."""
    return is_plain(node) and len(shape(node) or ()) == 4


def sole_user(node: Node) -> Node | None:
    """The one node that reads it, where there is no other."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def op_of(node: Node) -> str | None:
    """The name of lamina's op that a node calls; None for PyTorch's."""
    if node.op != "call_function" or getattr(node.target, "namespace", None) != "lamina":
        return None
    name = str(node.target).split(".")[1]
    return name if name in OPS else None


def argument(node: Node, name: str, position: int, default: Any = None) -> Any:
    """An argument by its name or its position."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def named(node: Node, names: str) -> dict[str, Any]:
    """Those that were given."""
    given = dict(zip(names.split(), node.args, strict=False))
    return {**given, **node.kwargs}


def is_call(node: Node, *targets: Callable[..., Any]) -> bool:
    """Whether it calls one of these functions."""
    return node.op == "call_function" and node.target in targets


def is_method(node: Node, *names: str) -> bool:
    """Whether it calls a method of one of these names."""
    return node.op == "call_method" and node.target in names


def pair(value: Any) -> Pair | None:
    """(height, width), of one number or two; None where one is a symbol."""
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    both = both * 2 if len(both) == 1 else both
    return both if len(both) == 2 and all(type(v) is int for v in both) else None


_VIEWS = frozenset(
    (
        "view",
        "reshape",
        "flatten",
        "squeeze",
        "unsqueeze",
        torch.flatten,
        torch.reshape,
        torch.squeeze,
        torch.unsqueeze,
        operator.getitem,
    )
)


def behind_views(node: Any) -> Any:
    """A node, or what it is another shape of, where nobody else reads that shape."""
    while isinstance(node, Node) and node.target in _VIEWS and len(node.users) == 1:
        source = node.args[0]
        if not isinstance(source, Node) or not (is_plain(source) and is_plain(node)):
            break
        if value(source).numel() != value(node).numel():
            break
        node = source
    return node
