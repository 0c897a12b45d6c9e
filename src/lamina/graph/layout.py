"""Images lie channels-last inside of a graph, and as before wherever somebody could tell.

The calls of lamina give channels-last images. PyTorch's ops that look at values alone pass that
on; whatever looks at strides, and the graph's outputs, gets what was captured.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Graph, Node

from lamina.graph.pattern import nodes
from lamina.graph.pattern.memory import Memory
from lamina.graph.pattern.nodes import OURS
from lamina.ops.runtime.torch_private import pad_op

__all__ = ["restore_strides"]

_FUNCTIONS = frozenset(
    (
        operator.add,
        operator.sub,
        operator.mul,
        operator.truediv,
        operator.neg,
        operator.iadd,
        operator.isub,
        operator.imul,
        operator.itruediv,
        operator.getitem,
        operator.pow,
        getattr,
        torch.add,
        torch.sub,
        torch.mul,
        torch.div,
        torch.cat,
        torch.concat,
        torch.chunk,
        torch.split,
        torch.mean,
        torch.sum,
        torch.amax,
        torch.sigmoid,
        torch.tanh,
        torch.exp,
        torch.clamp,
        torch.pow,
        torch.sqrt,
        torch.relu,
        torch.relu_,
        torch.sigmoid_,
        torch.softmax,
        torch.conv2d,
        torch.conv_transpose2d,
        F.batch_norm,
        F.group_norm,
        F.instance_norm,
        F.interpolate,
        F.pad,
        pad_op,
        F.dropout,
        F.dropout2d,
        F.relu,
        F.relu6,
        F.hardtanh,
        F.silu,
        F.gelu,
        F.mish,
        F.elu,
        F.leaky_relu,
        F.hardswish,
        F.hardsigmoid,
        F.softmax,
        F.prelu,
        F.softplus,
        F.avg_pool2d,
        F.max_pool2d,
        F.adaptive_avg_pool2d,
        F.adaptive_max_pool2d,
        F.channel_shuffle,
    )
)
_METHODS = frozenset(
    [
        "add",
        "add_",
        "sub",
        "sub_",
        "mul",
        "mul_",
        "div",
        "div_",
        "mean",
        "sum",
        "amax",
        "sigmoid",
        "sigmoid_",
        "tanh",
        "relu",
        "relu_",
        "clamp",
        "exp",
        "pow",
        "sqrt",
        "softmax",
        "chunk",
        "split",
        "size",
        "dim",
        "numel",
        "float",
        "detach",
        "clone",
    ]
)


def restore_strides(graph: Graph) -> int:
    """Have who looks at strides read what was captured; return how many tensors are brought back.

    Args:
        graph: after it was rewritten.
    """
    moved = _moved(graph)
    lookers = {
        node: sources
        for node in graph.nodes
        if node not in moved and (sources := [n for n in node.all_input_nodes if n in moved])
    }
    memory = Memory(graph)
    if any(memory.is_written_after(node) for node in lookers):
        # Through a view of a copy nothing would be written: the images stay as they were captured.
        return sum(_bring_back(node, list(node.users)) for node in moved if _is_made_here(node))
    users: dict[Node, list[Node]] = {}
    for node, sources in lookers.items():
        for source in sources:
            users.setdefault(source, []).append(node)
    return sum(_bring_back(source, of) for source, of in users.items())


def _moved(graph: Graph) -> set[Node]:
    """Whose images may lie otherwise than they were captured."""
    moved: set[Node] = set()
    for node in graph.nodes:
        passes_on = _looks_at_values(node) and any(n in moved for n in node.all_input_nodes)
        if (OURS in node.meta or passes_on) and any(map(_is_image, _tensors(nodes.value(node)))):
            moved.add(node)
    return moved


def _is_made_here(node: Node) -> bool:
    """Whether a node gives a new image of lamina's: an op's result, or one of its results."""
    if node.target is operator.getitem:
        node = node.args[0]  # type: ignore[assignment]
        return OURS in node.meta and not isinstance(nodes.value(node), Tensor)
    return OURS in node.meta


def _bring_back(source: Node, users: list[Node]) -> bool:
    """Have some of a node's users read it in the memory in which it was captured."""
    strides = _strides(source)
    if strides is None:
        return False
    with source.graph.inserting_after(source):
        back = source.graph.call_function(_in_strides, (source, strides))
    back.meta = {key: found for key, found in source.meta.items() if key != OURS}
    for user in users:
        user.replace_input_with(source, back)
    return True


def _looks_at_values(node: Node) -> bool:
    return (node.op == "call_function" and node.target in _FUNCTIONS) or (
        node.op == "call_method" and node.target in _METHODS
    )


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _tensors(item)


def _is_image(value: Tensor) -> bool:
    return value.dim() == 4


def _strides(node: Node) -> tuple[int, ...] | str | None:
    """As numbers, or as a memory format where sizes are symbols; None for a tuple of tensors."""
    value = nodes.value(node)
    if not isinstance(value, Tensor):
        return None
    strides = value.stride()
    if all(type(step) is int for step in strides) and all(type(s) is int for s in value.shape):
        return strides
    return "channels_last" if strides[1] == 1 else "contiguous_format"


def _in_strides(x: Tensor, strides: tuple[int, ...] | str) -> Tensor:
    if isinstance(strides, str):
        return x.contiguous(memory_format=getattr(torch, strides))
    if all(a == b for a, b, size in zip(x.stride(), strides, x.shape, strict=True) if size > 1):
        return x
    return x.new_empty_strided(x.shape, strides).copy_(x)
