"""What a node may do element by element: activations, sigmoids, sums, products."""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch.fx import Node

from lamina.graph.pattern.nodes import argument, is_call, is_image, is_method, is_plain, shape

__all__ = ["Activation", "Sum", "activation", "factors", "gate", "product_of", "sum_of"]


@dataclass(frozen=True)
class Activation:
    """An activation that the kernels know, under their name."""

    node: Node
    x: Node
    name: str
    negative_slope: float = 0.01


@dataclass(frozen=True)
class Sum:
    """Of two images of one shape."""

    node: Node
    left: Node
    right: Node
    is_inplace: bool

    def other(self, node: Node) -> Node:
        """What is added to ``node``."""
        return self.right if node is self.left else self.left


_FUNCTIONS: dict[Callable[..., Any], str] = {
    F.relu: "relu",
    F.relu_: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    F.relu6: "relu6",
    F.silu: "silu",
    F.hardswish: "hardswish",
    F.leaky_relu: "leaky_relu",
    F.leaky_relu_: "leaky_relu",
}
_METHODS = {"relu": "relu", "relu_": "relu"}


def activation(node: Node) -> Activation | None:
    """The activation that a node is; None for one that no kernel applies."""
    if node.op == "call_method" and node.target in _METHODS:
        return Activation(node, node.args[0], _METHODS[node.target])  # type: ignore[arg-type]
    if node.op != "call_function" or (not node.args and "input" not in node.kwargs):
        return None
    x = argument(node, "input", 0)
    if node.target in (F.hardtanh, F.hardtanh_):
        low, high = argument(node, "min_val", 1, -1.0), argument(node, "max_val", 2, 1.0)
        return Activation(node, x, "relu6") if (low, high) == (0.0, 6.0) else None
    name = _FUNCTIONS.get(node.target)  # type: ignore[arg-type]
    if name == "leaky_relu":
        return Activation(node, x, name, float(argument(node, "negative_slope", 1, 0.01)))
    return None if name is None else Activation(node, x, name)


_GATES: dict[Any, str] = {
    torch.sigmoid: "sigmoid",
    F.sigmoid: "sigmoid",
    torch.sigmoid_: "sigmoid",
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    F.hardsigmoid: "hardsigmoid",
}


def gate(node: Node) -> str | None:
    """The name of the sigmoid, hard or not, that a node is."""
    return _GATES.get(node.target) if node.op in ("call_function", "call_method") else None


_PRODUCTS = frozenset((operator.mul, operator.imul, torch.mul, "mul", "mul_"))


def factors(node: Node) -> tuple[Any, Any] | None:
    """The two factors of the product that a node is; one may be a number."""
    is_product = node.op in ("call_function", "call_method") and node.target in _PRODUCTS
    return (node.args[0], node.args[1]) if is_product and len(node.args) == 2 else None


def product_of(node: Node) -> tuple[Node, Node] | None:
    """The two tensors whose product a node is."""
    found = factors(node)
    if found is None or node.kwargs or not all(map(is_plain, found)):
        return None
    return found


def sum_of(node: Node) -> Sum | None:
    """The sum of two images of one shape that a node is."""
    inplace = is_call(node, operator.iadd) or is_method(node, "add_")
    if not inplace and not is_call(node, operator.add, torch.add) and not is_method(node, "add"):
        return None
    if len(node.args) != 2 or node.kwargs.get("alpha", 1) != 1 or "out" in node.kwargs:
        return None
    left, right = node.args
    if not (is_image(left) and is_image(right)) or left is right:
        return None
    if shape(left) != shape(right):
        return None
    return Sum(node, left, right, inplace)  # type: ignore[arg-type]
