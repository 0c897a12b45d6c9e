"""Neighbouring nodes of a graph as one native call, made of what they did in an earlier one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from lamina.ops.runtime import memory
from lamina.ops.runtime.recording import Calls, Memories, Memory, compiled

__all__ = ["Member", "Stretch", "stretch_of"]


@dataclass(frozen=True)
class Member:
    """A node that kernels and views computed alone.

    Args:
        node: of the graph.
        value: that it had.
        calls: of its kernels; none where it is a view.
        allocated: memory that it asked for.
    """

    node: Node
    value: Tensor
    calls: Calls
    allocated: tuple[Tensor, ...]


@dataclass(frozen=True)
class _View:
    """A tensor as strides over one of the stretch's tensors, by its place among them."""

    base: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int  # elements

    def of(self, tensors: Sequence[Tensor]) -> Tensor:
        base = tensors[self.base]
        if self.offset == 0 and base.shape == self.shape and base.stride() == self.strides:
            return base
        return base.as_strided(self.shape, self.strides, base.storage_offset() + self.offset)


@dataclass(frozen=True)
class Stretch:
    """Calls of kernels on the tensors of a call; gives the tensors that others read.

    Args:
        inputs: the nodes whose tensors it takes, in its order.
        outputs: the nodes whose tensors it gives.
        checked: sizes and strides of those inputs that nothing else holds to what they were.
        made: examples of the tensors that it makes.
        views: the outputs, over inputs and what is made.
        run: the kernels, of both.
        plainly: the same nodes one after the other.
    """

    inputs: tuple[Node, ...]
    outputs: tuple[Node, ...]
    checked: tuple[tuple[int, tuple[int, ...], tuple[int, ...]], ...]
    made: tuple[tuple[tuple[int, ...], tuple[int, ...], torch.dtype], ...]
    views: tuple[_View, ...]
    run: Callable[[Sequence[Tensor]], None]
    plainly: GraphModule

    def __call__(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        """The outputs."""
        for at, shape, strides in self.checked:
            if tensors[at].shape != shape or tensors[at].stride() != strides:
                outputs: tuple[Tensor, ...] = self.plainly(*tensors)
                return outputs
        made = [memory.empty_strided(*description) for description in self.made]
        own = (*tensors, *made)
        self.run(own)
        return tuple([view.of(own) for view in self.views])


def stretch_of(
    module: GraphModule, members: Sequence[Member], values: dict[Node, Any], guarded: set[Node]
) -> Stretch | None:
    """The stretch of some neighbouring nodes; None where it is not known whose memory they read.

    Args:
        module: whose nodes they are.
        members: in the graph's order.
        values: of every node.
        guarded: nodes whose sizes and strides cannot be others in a later call.
    """
    inside = {member.node for member in members}
    inputs = tuple(dict.fromkeys(n for m in members for n in _tensors_read(m, values, inside)))
    outputs = [m for m in members if any(user not in inside for user in m.node.users)]
    memories = _memories(members, inputs, values)
    calls = [call for member in members for call in member.calls]
    if memories is None:
        return None
    found = [memories.find(member.value.data_ptr()) for member in outputs]
    if any(f is None for f in found):
        return None
    bases = list(inputs)
    made = []
    for memory_ in found:
        assert memory_ is not None
        if memory_.base not in bases:
            bases.append(memory_.base)
            made.append(memory_.base)
    try:
        run = compiled(calls, memories, bases)
    except ValueError:
        return None
    checked = [
        (at, tuple(values[node].shape), values[node].stride())
        for at, node in enumerate(inputs)
        if node not in guarded
    ]
    return Stretch(
        inputs,
        tuple(member.node for member in outputs),
        tuple(checked),
        tuple((tuple(t.shape), t.stride(), t.dtype) for t in (one.tensor for one in made)),
        tuple(
            _View(
                bases.index(f.base),
                tuple(m.value.shape),
                m.value.stride(),
                (m.value.data_ptr() - f.start) // m.value.element_size(),
            )
            for m, f in zip(outputs, found, strict=True)
            if f is not None
        ),
        run,
        _as_module(module, inputs, members, outputs),
    )


@dataclass(frozen=True, eq=False)
class _Made:
    """Memory that a member asked for."""

    tensor: Tensor


def _tensors_read(member: Member, values: dict[Node, Any], inside: set[Node]) -> Iterator[Node]:
    for node in member.node.all_input_nodes:
        if node not in inside and isinstance(values[node], Tensor):
            yield node


def _memories(
    members: Sequence[Member], inputs: Sequence[Node], values: dict[Node, Any]
) -> Memories | None:
    """Whose addresses are whose; None where that depends on more than the graph."""
    of_inputs: list[Memory] = []
    for memory_ in sorted(
        (Memory.of(values[node], node) for node in inputs), key=lambda m: (m.start, -m.end)
    ):
        if not of_inputs or memory_.end > of_inputs[-1].end:  # else it is a part of the one before
            of_inputs.append(memory_)
    made = (Memory.of(t, _Made(t)) for member in members for t in member.allocated)
    try:
        return Memories((*of_inputs, *made))
    except ValueError:
        return None


def _as_module(
    module: GraphModule,
    inputs: Sequence[Node],
    members: Sequence[Member],
    outputs: Sequence[Member],
) -> GraphModule:
    graph = Graph()
    copies = {node: graph.placeholder(node.name) for node in inputs}
    for member in members:
        for node in member.node.all_input_nodes:
            if node not in copies:  # a number
                copies[node] = graph.node_copy(node, copies.__getitem__)
        copies[member.node] = graph.node_copy(member.node, copies.__getitem__)
    graph.output(tuple(copies[member.node] for member in outputs))
    return GraphModule(module, graph)
