"""Squeeze and excite, whichever way it is written: mean, two dense layers, a sigmoid, a product.

Source: Hu et al., "Squeeze-and-Excitation Networks" (2018), section 3.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch.fx import Graph, Node

from lamina.graph.pattern import elementwise, layers, nodes
from lamina.graph.pattern.memory import Memory

__all__ = ["Gate", "gates"]


@dataclass(frozen=True)
class Gate:
    """Squeeze and excite: the channels of ``x`` scaled by what their means say.

    Args:
        x: the images.
        layers: weight and bias of both dense layers.
        activation: between them, a kernel's name.
        gate: "sigmoid" or "hardsigmoid".
        members: its nodes, in order; the last one's value is the gate's.
    """

    x: Node
    layers: tuple[tuple[Node, Node | None], tuple[Node, Node | None]]
    activation: str
    gate: str
    members: tuple[Node, ...]

    @property
    def last(self) -> Node:
        """The node whose value is the gate's."""
        return self.members[-1]

    @property
    def reads(self) -> tuple[Node, ...]:
        """What it reads from outside."""
        read = (self.x, *(node for layer in self.layers for node in layer))
        return tuple(node for node in read if node is not None)


def gates(graph: Graph, memory: Memory) -> Iterator[Gate]:
    """Those of a graph, whose nodes nobody else reads."""
    for node in graph.nodes:
        for x, scale in _ordered(elementwise.product_of(node)):
            gate = _gate(node, x, scale)
            if gate is not None and memory.may_move(gate.members, gate.reads):
                yield gate
                break


def _ordered(factors: tuple[Node, Node] | None) -> Iterator[tuple[Node, Node]]:
    """(images, a number for each of their channels), where a product is of both."""
    if factors is None:
        return
    for x, scale in (factors, factors[::-1]):
        of_x, of_scale = nodes.shape(x) or (), nodes.shape(scale) or ()
        if len(of_x) == len(of_scale) == 4 and of_scale == (*of_x[:2], 1, 1):
            yield x, scale


def _gate(product: Node, x: Node, scale: Node) -> Gate | None:
    members = [product]

    def step(node: Node) -> Node | None:
        """Past the shapes in front of a node, if nobody else reads what is there."""
        source = nodes.behind_views(node)
        at = node
        while at is not source:
            members.append(at)
            at = at.args[0]  # type: ignore[assignment]
        return source if isinstance(source, Node) and nodes.sole_user(source) else None

    at = step(scale)
    name = None if at is None else elementwise.gate(at)
    if at is None or name is None:
        return None
    members.append(at)
    expand = _dense(step(nodes.argument(at, "input", 0)), members)
    between = None if expand is None else step(expand[0])
    found = None if between is None else elementwise.activation(between)
    if expand is None or between is None or found is None or found.name == "leaky_relu":
        return None
    members.append(between)
    reduce = _dense(step(found.x), members)
    mean = None if reduce is None else step(reduce[0])
    if reduce is None or mean is None or layers.pixels_mean(mean) is not x:
        return None
    members.append(mean)
    return Gate(x, (reduce[1:], expand[1:]), found.name, name, tuple(reversed(members)))


def _dense(node: Node | None, members: list[Node]) -> tuple[Node, Node, Node | None] | None:
    """Input, weight and bias of a dense layer, or a pointwise convolution, of single pixels."""
    if node is None:
        return None
    members.append(node)
    convolution = layers.convolution(node)
    if convolution is not None:
        c = convolution
        return (c.x, c.weight, c.bias) if c.is_pointwise else None
    return layers.linear(node)
