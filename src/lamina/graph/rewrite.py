"""A graph with its groups as single calls, and the other ops as lamina's where it has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx import GraphModule, Node

from lamina import ops
from lamina.graph import nodes, patterns
from lamina.graph.patterns import Block, Chain, Group, Pair
from lamina.graph.report import Row, layer_of
from lamina.graph.steps import BlockStep, ConvolutionStep, Layer, images
from lamina.ops.runtime.registration import OPS
from lamina.ops.runtime.torch_private import pad_op
from lamina.theory.shapes import Pair as TwoNumbers
from lamina.theory.shapes import ResolvedPadding

__all__ = ["rewrite"]


def rewrite(module: GraphModule, found: patterns.Found) -> list[Row]:
    """Change a graph in place; return a row for each of its layers' calls.

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
        now[group.last] = _replace(group.members, _function(group, row), arguments)
        rows[now[group.last]] = row
    for node in list(graph.nodes):
        if node.op == "call_function" and node.target in (F.dropout, F.dropout2d):
            if not nodes.argument(node, "training", 2, True):
                node.replace_all_uses_with(nodes.argument(node, "input", 0))
                graph.erase_node(node)
        elif node.target in (F.pad, pad_op) and not node.users:
            graph.erase_node(node)
    for node in list(graph.nodes):
        call = None if node in rows else _exchanged(node)
        if call is not None:
            what, runs, function, arguments = call
            row = Row(layer_of(node), what, runs, found.apart.get(node, ""))
            rows[_replace((node,), function, arguments)] = row
    return [rows[node] for node in graph.nodes if node in rows]


def _replace(
    members: tuple[Node, ...], function: Callable[..., Any], arguments: tuple[Any, ...]
) -> Node:
    """One call in the place of the last of some nodes."""
    last = members[-1]
    with last.graph.inserting_after(last):
        new = last.graph.call_function(function, arguments)
    new.meta = {**last.meta, nodes.OURS: True}
    last.replace_all_uses_with(new)
    for node in reversed(members):
        last.graph.erase_node(node)
    return new


# ---- groups -------------------------------------------------------------------------------------


def _row(group: Group, apart: dict[Node, str]) -> Row:
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
    layers = list(dict.fromkeys(filter(None, map(layer_of, group.members))))
    runs = {Block: "separable_block", Chain: "conv2d", Pair: "batch_norm"}[type(group)]
    notes = [apart[node] for node in group.members if node in apart]
    return Row(", ".join(layers), " + ".join(parts), runs, "; ".join(notes), len(group.members))


def _function(group: Group, row: Row) -> Callable[..., Tensor]:
    if isinstance(group, Block):
        layers = tuple(_layer(chain) for chain in group.chains)
        return _by_name("separable_block", BlockStep(row, layers, group.has_shortcut))
    if isinstance(group, Chain):
        return _by_name("convolution", ConvolutionStep(row, _layer(group)))
    return _normalize


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
    n = group.norm
    tensors = (n.x, n.mean, n.variance, n.weight, n.bias)
    return (*tensors, n.training, n.momentum, n.eps, group.activation, group.negative_slope)


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


def _normalize(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    activation: str,
    negative_slope: float,
) -> Tensor:
    return ops.batch_norm(
        x,
        mean,
        variance,
        weight,
        bias,
        training,
        momentum,
        eps,
        activation=activation,
        negative_slope=negative_slope,
    )


# ---- single ops ---------------------------------------------------------------------------------

_Call = tuple[str, str, Callable[..., Any], tuple[Any, ...]]
"""What a node computes, what runs it, and that function with its arguments."""


def _exchanged(node: Node) -> _Call | None:
    """A node as a call of lamina's; None where that would be no other, or no gain."""
    name = nodes.op_of(node)
    if name is not None:
        # Past the dispatcher, which costs more than a small layer.
        return name, name, OPS[name].function, node.args
    if node.op not in ("call_function", "call_method") or nodes.written(node):
        return None
    convolution = nodes.convolution(node)
    if convolution is not None:
        c = convolution
        arguments = (c.x, c.weight, c.bias, c.stride, c.padding, c.dilation, c.groups)
        return "conv2d", "conv2d", _convolve, arguments
    return _exchange_by_target(node)


def _exchange_by_target(node: Node) -> _Call | None:
    exchange = _EXCHANGES.get(node.target)
    if exchange is not None:
        first = nodes.argument(node, "input", 0)
        given = {**dict(zip(exchange.names, node.args, strict=False)), **node.kwargs}
        given = {exchange.renamed.get(name, name): value for name, value in given.items()}
        if nodes.is_plain(first) and not (exchange.images and not nodes.is_image(first)):
            order = exchange.names
            if all(name in order for name in given):
                function = _with_names(exchange.function, tuple(given))
                return exchange.kind, exchange.kind, function, tuple(given.values())
    if _is_mean_of_pixels(node):
        x = node.args[0]
        keepdims = bool(nodes.argument(node, "keepdim", 2, False))
        return "global_avg_pool2d", "global_avg_pool2d", ops.global_avg_pool2d, (x, keepdims)
    return None


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

    kind: str
    function: Callable[..., Any]
    names: tuple[str, ...]
    images: bool = False

    @property
    def renamed(self) -> dict[str, str]:
        """Arguments that we call otherwise."""
        return {"input": self.names[0]}


def _with_names(function: Callable[..., Any], names: tuple[str, ...]) -> Callable[..., Any]:
    def call(*values: Any) -> Any:
        return function(**dict(zip(names, values, strict=True)))

    call.__name__ = call.__qualname__ = function.__name__
    return call


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
    F.max_pool2d: _Exchange("max_pool2d", ops.max_pool2d, _POOL, images=True),
    F.avg_pool2d: _Exchange("avg_pool2d", ops.avg_pool2d, _MEAN, images=True),
    F.adaptive_avg_pool2d: _Exchange(
        "adaptive_avg_pool2d", ops.adaptive_avg_pool2d, ("x", "output_size"), images=True
    ),
    F.adaptive_max_pool2d: _Exchange(
        "adaptive_max_pool2d",
        ops.adaptive_max_pool2d,
        ("x", "output_size", "return_indices"),
        images=True,
    ),
    F.dropout: _Exchange("dropout", ops.dropout, ("x", "p", "training", "inplace")),
    F.linear: _Exchange("linear", ops.linear, ("x", "weight", "bias")),
    **{
        getattr(F, name): _Exchange(name, getattr(ops, name), ("x", *rest))
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


def _is_mean_of_pixels(node: Node) -> bool:
    if node.target not in ("mean", torch.mean) or not node.args or not nodes.is_image(node.args[0]):
        return False
    axes = nodes.argument(node, "dim", 1)
    if not isinstance(axes, list | tuple) or set(node.kwargs) - {"dim", "keepdim"}:
        return False
    return sorted(axis % 4 for axis in axes if type(axis) is int) == [2, 3] and len(axes) == 2
