"""A graph with its groups as single calls, and the other ops as lamina's where it has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import Graph, GraphModule, Node

from lamina import ops
from lamina.graph.pattern import groups, layers, nodes
from lamina.graph.pattern.gates import Gate
from lamina.graph.pattern.groups import Block, Chain, Gated, Group, Pair
from lamina.graph.pattern.memory import written
from lamina.graph.report import Row, layer_of
from lamina.graph.running.steps import BlockStep, ConvolutionStep, GatedStep, Layer, images
from lamina.ops.runtime.registration import OPS
from lamina.ops.runtime.torch_private import pad_op
from lamina.theory.shapes import Pair as TwoNumbers
from lamina.theory.shapes import ResolvedPadding

__all__ = ["rewrite", "without_dropout"]


def rewrite(module: GraphModule, found: groups.Found) -> list[Row]:
    """Change a graph in place; return a row for each call that computes.

    Args:
        module: whose graph was looked through.
        found: its groups.
    """
    graph = module.graph
    rows: dict[Node, Row] = {}
    now: dict[Node, Node] = {}
    for group in found.groups:
        row = _row(group, found.apart)
        arguments = tuple(
            now.get(value, value) if isinstance(value, Node) else value
            for value in _arguments(group)
        )
        function = _function(group, row)
        now[group.last] = _replace(group.members, function, arguments, _named(group))
        rows[now[group.last]] = row
    for node in list(graph.nodes):
        if node.target in (F.pad, pad_op) and not node.users:
            graph.erase_node(node)
    for node in list(graph.nodes):
        call = None if node in rows else _exchanged(node)
        if call is not None:
            kind, function, arguments, named = call
            row = Row(layer_of(node), kind, kind, found.apart.get(node, ""))
            rows[_replace((node,), function, arguments, named)] = row
        elif node not in rows and _computes(node):
            name = str(getattr(node.target, "__name__", node.target))
            rows[node] = Row(layer_of(node), name, f"torch.{name}", _why_left(node, name))
    return [rows[node] for node in graph.nodes if node in rows]


def without_dropout(graph: Graph) -> None:
    """Have who reads a dropout in evaluation read its input: they are one tensor."""
    for node in list(graph.nodes):
        if _is_dropout(node) and nodes.argument(node, "training", 2, True) is False:
            node.replace_all_uses_with(nodes.argument(node, "input", 0))
            graph.erase_node(node)


def _is_dropout(node: Node) -> bool:
    return node.op == "call_function" and node.target in (F.dropout, F.dropout2d)


def _replace(
    members: tuple[Node, ...],
    function: Callable[..., Any],
    arguments: tuple[Any, ...],
    named: dict[str, Any],
) -> Node:
    """One call in the place of the last of some nodes."""
    last = members[-1]
    with last.graph.inserting_after(last):
        new = last.graph.call_function(function, arguments, named)
    new.meta = {**last.meta, nodes.OURS: True}
    last.replace_all_uses_with(new)
    for node in reversed(members):
        last.graph.erase_node(node)
    return new


# ---- groups -------------------------------------------------------------------------------------


def _row(group: Group, apart: dict[Node, str]) -> Row:
    layers = list(dict.fromkeys(filter(None, map(layer_of, group.members))))
    runs = _RUNS[type(group)]
    notes = [apart[node] for node in group.members if node in apart]
    what = " + ".join(_parts(group))
    return Row(", ".join(layers), what, runs, "; ".join(notes), len(group.members))


_RUNS = {
    Block: "separable_block",
    Chain: "conv2d",
    Pair: "batch_norm",
    Gate: "squeeze_excite",
    Gated: "squeeze_excite, conv2d",
}


def _parts(group: Group) -> list[str]:
    """What a group computes, in order."""
    if isinstance(group, Gate):
        return ["squeeze_excite"]
    if isinstance(group, Gated):
        return [*_parts(group.gate), *_parts(group.project)]
    chains = group.chains if isinstance(group, Block) else (group,)
    parts = []
    for chain in chains:
        if isinstance(chain, Chain):
            c = chain.convolution
            parts.append(
                "depthwise_conv2d"
                if c.is_depthwise
                else "pointwise_conv2d"
                if c.is_pointwise
                else "conv2d"
            )
            parts += [] if chain.norm is None else ["batch_norm"]
            parts += [] if chain.addend is None else ["add"]
        else:
            parts.append("batch_norm")
        parts += [] if chain.activation == "none" else [chain.activation]
    return parts


def _function(group: Group, row: Row) -> Callable[..., Tensor]:
    if isinstance(group, Block):
        layers = tuple(_layer(chain) for chain in group.chains)
        return _by_name("separable_block", BlockStep(row, layers, group.has_shortcut))
    if isinstance(group, Chain):
        return _by_name("convolution", ConvolutionStep(row, _layer(group)))
    if isinstance(group, Gated):
        named = _named(group.gate)
        return _by_name("gated", GatedStep(row, _layer(group.project), **named))
    return ops.squeeze_excite if isinstance(group, Gate) else ops.batch_norm


def _layer(chain: Chain) -> Layer:
    c = chain.convolution
    eps = 0.0 if chain.norm is None else chain.norm.eps
    return Layer(
        c.stride, c.padding, c.dilation, c.groups, eps, chain.activation, chain.negative_slope
    )


def _arguments(group: Group) -> tuple[Any, ...]:
    if isinstance(group, Block):
        return (group.x, *(tensor for chain in group.chains for tensor in _tensors(chain)))
    if isinstance(group, Chain):
        return (group.convolution.x, *_tensors(group), group.addend)
    if isinstance(group, Gated):
        return (*_arguments(group.gate), *_arguments(group.project)[1:])
    if isinstance(group, Gate):
        return (group.x, *(tensor for layer in group.layers for tensor in layer))
    n = group.norm
    tensors = (n.x, n.mean, n.variance, n.weight, n.bias)
    return (*tensors, n.training, n.momentum, n.eps)


def _named(group: Group) -> dict[str, Any]:
    if isinstance(group, Gate):
        return {"activation": group.activation, "gate": group.gate}
    if isinstance(group, Pair):
        return {"activation": group.activation, "negative_slope": group.negative_slope}
    return {}


def _tensors(chain: Chain) -> tuple[Node | None, ...]:
    norm = chain.norm
    four = (None,) * 4 if norm is None else (norm.weight, norm.bias, norm.mean, norm.variance)
    return (chain.convolution.weight, chain.convolution.bias, *four)


def _by_name(name: str, step: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """A function, which is what a graph's code calls."""

    def call(*tensors: Any) -> Tensor:
        return step(*tensors)

    call.__name__ = call.__qualname__ = name
    return call


# ---- single ops ---------------------------------------------------------------------------------

_Call = tuple[str, Callable[..., Any], tuple[Any, ...], dict[str, Any]]
"""What a node computes, the function that does, its arguments by position and by name."""


def _exchanged(node: Node) -> _Call | None:
    """A node as a call of lamina's; None where that would be no other, or no gain."""
    name = nodes.op_of(node)
    if name is not None:
        # Past the dispatcher, which costs more than a small layer.
        return name, OPS[name].function, node.args, {}
    if node.op not in ("call_function", "call_method") or written(node):
        return None
    c = layers.convolution(node)
    if c is not None:
        arguments = (c.x, c.weight, c.bias, c.stride, c.padding, c.dilation, c.groups)
        return "conv2d", _convolve, arguments, {}
    images_ = layers.pixels_mean(node)
    if images_ is not None and node.target is not F.adaptive_avg_pool2d:
        keepdims = bool(nodes.argument(node, "keepdim", 2, False))
        return "global_avg_pool2d", ops.global_avg_pool2d, (images_, keepdims), {}
    return _exchanged_by_name(node)


def _exchanged_by_name(node: Node) -> _Call | None:
    exchange = _EXCHANGES.get(node.target)
    x = nodes.argument(node, "input", 0)
    if exchange is None or not (nodes.is_image if exchange.images else nodes.is_plain)(x):
        return None
    given = {**dict(zip(exchange.names, node.args, strict=False)), **node.kwargs}
    if "input" in given:
        given["x"] = given.pop("input")
    if not set(given) <= set(exchange.names):
        return None
    return exchange.function.__name__, exchange.function, (), given


def _convolve(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: TwoNumbers,
    padding: ResolvedPadding,
    dilation: TwoNumbers,
    groups: int,
) -> Tensor:
    return ops.conv2d(images(x), weight, bias, stride, padding, dilation, groups)


@dataclass(frozen=True)
class _Exchange:
    """Of a function of PyTorch's for one of ours that takes the same arguments by name."""

    function: Callable[..., Any]
    names: tuple[str, ...]
    images: bool = False


_POOL = ("x", "kernel_size", "stride", "padding", "dilation", "ceil_mode", "return_indices")
_MEAN = (
    "x",
    "kernel_size",
    "stride",
    "padding",
    "ceil_mode",
    "count_include_pad",
    "divisor_override",
)
_EXCHANGES: dict[Any, _Exchange] = {
    F.max_pool2d: _Exchange(ops.max_pool2d, _POOL, images=True),
    F.avg_pool2d: _Exchange(ops.avg_pool2d, _MEAN, images=True),
    F.adaptive_avg_pool2d: _Exchange(ops.adaptive_avg_pool2d, ("x", "output_size"), images=True),
    F.adaptive_max_pool2d: _Exchange(
        ops.adaptive_max_pool2d,
        ("x", "output_size", "return_indices"),
        images=True,
    ),
    F.dropout: _Exchange(ops.dropout, ("x", "p", "training", "inplace")),
    F.linear: _Exchange(ops.linear, ("x", "weight", "bias")),
    **{
        getattr(F, name): _Exchange(getattr(ops, name), ("x", *rest))
        for name, rest in {
            "relu": (),
            "relu6": (),
            "silu": (),
            "hardswish": (),
            "hardsigmoid": (),
            "leaky_relu": ("negative_slope",),
            "elu": ("alpha",),
            "gelu": ("approximate",),
        }.items()
    },
}


# ---- what is left -------------------------------------------------------------------------------

_VIEWS = frozenset(
    ["getitem", "getattr", "view", "reshape", "flatten", "permute", "transpose", "contiguous", "to"]
)


def _computes(node: Node) -> bool:
    """Whether a node that is left makes numbers, and no view of others."""
    found = nodes.value(node)
    if node.op not in ("call_function", "call_method") or not isinstance(found, Tensor):
        return False
    return found.is_floating_point() and getattr(node.target, "__name__", node.target) not in _VIEWS


def _why_left(node: Node, name: str) -> str:
    found = nodes.value(node)
    if found.dtype is not torch.float32 or found.device.type != "cpu":
        kind = f"{found.dtype} on {found.device.type}".removeprefix("torch.")
        return f"the kernels compute in float32 on the CPU, this is {kind}"
    if written(node):
        return "it writes in place"
    known = node.target in _EXCHANGES or node.target in (torch.conv2d, F.batch_norm)
    return f"lamina has no {name} with these arguments" if known else f"lamina has no {name}"
