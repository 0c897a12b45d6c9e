"""Several tensors to one, and arithmetic with numbers."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch.nn import functional as F

from lamina.interchange.from_keras.call import Call, layer, operation
from lamina.interchange.from_keras.value import IMAGE, Value

__all__: list[str] = []

Operand = Any
"""A `Value`, a number, or an array."""

_BINARY: dict[str, Callable[..., Any]] = {
    "Add": operator.add,
    "Subtract": operator.sub,
    "Multiply": operator.mul,
    "Divide": operator.truediv,
    "TrueDivide": operator.truediv,
    "Power": operator.pow,
    "Maximum": torch.maximum,
    "Minimum": torch.minimum,
}
_UNARY: dict[str, Callable[..., Any]] = {
    "Abs": torch.abs,
    "Absolute": torch.abs,
    "Exp": torch.exp,
    "Log": torch.log,
    "Log1p": torch.log1p,
    "Negative": operator.neg,
    "Reciprocal": torch.reciprocal,
    "Rsqrt": torch.rsqrt,
    "Sqrt": torch.sqrt,
    "Square": torch.square,
    "Sin": torch.sin,
    "Cos": torch.cos,
}


@layer("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Average")
def _merge(call: Call, inputs: Sequence[Value]) -> Value:
    name = call.kind
    values = _alike(call, inputs)
    function = operator.add if name == "Average" else _BINARY[name]
    node = functools.reduce(function_node(call, function), [value.node for value in values])
    if name == "Average":
        node = call.function(operator.truediv, node, len(values))
    return replace(values[0], node=node, shape=call.shape)


def function_node(call: Call, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, on nodes."""
    return functools.partial(call.function, function)


@layer("Concatenate")
@operation("Concatenate")
def _concatenate(call: Call, inputs: Sequence[Value]) -> Value:
    values = _alike(call, inputs)
    dim = values[0].dim(call.operation.axis)
    node = call.function(torch.cat, [value.node for value in values], dim=dim)
    return replace(values[0], node=node, shape=call.shape)


@operation("Stack")
def _stack(call: Call, inputs: Sequence[Value]) -> Value:
    values = [call.natural(value) for value in inputs]
    dim = call.operation.axis % (values[0].rank + 1)
    node = call.function(torch.stack, [value.node for value in values], dim=dim)
    return Value(node, call.shape, tuple(range(len(call.shape))))


@layer("Dot")
def _dot(call: Call, inputs: Sequence[Value]) -> Value:
    dot = call.operation
    axes = [dot.axes] * 2 if isinstance(dot.axes, int) else list(dot.axes)
    if any(value.rank != 2 for value in inputs) or any(axis % 2 != 1 for axis in axes):
        call.refuse("torch gets the product of vectors alone, each (batch, features)")
    nodes = [value.node for value in inputs]
    if dot.normalize:
        nodes = [call.function(F.normalize, node, dim=1) for node in nodes]
    product = call.function(operator.mul, *nodes)
    node = call.method("sum", replace(inputs[0], node=product), 1, keepdim=True)
    return Value(node, call.shape, (0, 1))


def _binary(call: Call, one: Operand, other: Operand) -> Value:
    function = _BINARY[call.kind]
    values = [operand for operand in (one, other) if isinstance(operand, Value)]
    if len({value.rank for value in values}) > 1:
        values = [call.natural(value) for value in values]
        rank = max(value.rank for value in values)
        like = next(value for value in values if value.rank == rank)
    else:
        values = _alike(call, values)
        like = values[0]
    remaining = iter(values)
    nodes = [
        next(remaining).node if isinstance(operand, Value) else _number(call, operand, like)
        for operand in (one, other)
    ]
    if function in (torch.maximum, torch.minimum) and len(values) == 1:
        bound = {torch.maximum: "min", torch.minimum: "max"}[function]
        (number,) = [node for node in nodes if node is not like.node]
        if isinstance(number, int | float):
            return replace(like, node=call.method("clamp", like, **{bound: number}))
    node = call.function(function, *nodes)
    return replace(like, node=node, shape=call.shape)


for _name in _BINARY:
    operation(_name)(_binary)


def _unary(call: Call, x: Value) -> Value:
    function = _UNARY[call.kind]
    return replace(x, node=call.function(function, x.node))


for _name in _UNARY:
    operation(_name)(_unary)


@operation("Matmul")
def _matmul(call: Call, one: Operand, other: Operand) -> Value:
    if not (isinstance(one, Value) and isinstance(other, Value)):
        call.refuse("it multiplies with an array that is no weight of a layer")
    nodes = [call.natural(value).node for value in (one, other)]
    return Value(call.function(torch.matmul, *nodes), call.shape, tuple(range(len(call.shape))))


@operation("Clip")
def _clip(call: Call, x: Value) -> Value:
    clip = call.operation
    return replace(x, node=call.method("clamp", x, clip.x_min, clip.x_max))


@operation("Cast")
def _cast(call: Call, x: Value) -> Value:
    if str(call.operation.dtype) != "float32":
        call.refuse(f"it casts to {call.operation.dtype}", "mixed-precision")
    return replace(x, node=call.method("float", x))


def _alike(call: Call, inputs: Sequence[Value]) -> list[Value]:
    """Values of one rank with their axes in one order: an image's, if one has it."""
    if not all(isinstance(value, Value) for value in inputs):
        call.refuse("it joins something that is no tensor of the model")
    if len({value.rank for value in inputs}) > 1:
        call.refuse(f"it joins {' and '.join(str(value.rank) for value in inputs)} axes")
    axes = IMAGE if any(value.axes == IMAGE for value in inputs) else inputs[0].axes
    return [call.builder.arranged(value, axes) for value in inputs]


def _number(call: Call, operand: Operand, like: Value) -> Any:  # noqa: ANN401
    """A number as it is; an array as a buffer, its axes in torch's order."""
    if isinstance(operand, bool | int | float):
        return operand
    if type(operand).__name__ == "Variable" or hasattr(operand, "trainable"):
        call.refuse("it computes with a weight that belongs to no layer that is known")
    try:
        array = torch.as_tensor(operand, dtype=torch.float32).detach().cpu()
    except (TypeError, ValueError, RuntimeError):
        call.refuse(f"it computes with a {type(operand).__name__}")
    if array.ndim == 0:
        return float(array)
    if array.ndim > like.rank:
        call.refuse(f"it computes with an array of {array.ndim} axes")
    spread = array.reshape((1,) * (like.rank - array.ndim) + tuple(array.shape))
    order = sorted(range(like.rank), key=like.axes.__getitem__)
    name = call.builder.attribute(call.path, "_constant")
    call.builder.constant(name, spread.permute(order).contiguous())
    return call.builder.graph.get_attr(name)
