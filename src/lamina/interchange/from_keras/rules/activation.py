"""Activations: layers, names of functions, and the operations that they are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from lamina.interchange.from_keras.call import Call, Rule, find_rule, layer, operation
from lamina.interchange.from_keras.constructor import Constructor, constructor
from lamina.interchange.from_keras.value import Value, inverse

__all__ = ["activated", "by_name", "is_elementwise"]

_SQUASHING = ("softmax", "log_softmax", "glu")
"""Functions that look along an axis."""

_MODULES: dict[str, Callable[[], Constructor]] = {
    "relu": lambda: constructor("ReLU"),
    "relu6": lambda: constructor("ReLU6"),
    "leaky_relu": lambda: constructor("LeakyReLU", 0.2),
    "elu": lambda: constructor("ELU"),
    "selu": lambda: constructor("SELU"),
    "celu": lambda: constructor("CELU"),
    "gelu": lambda: constructor("GELU"),
    "silu": lambda: constructor("SiLU"),
    "hard_silu": lambda: constructor("Hardswish"),
    "mish": lambda: constructor("Mish"),
    "sigmoid": lambda: constructor("Sigmoid"),
    "hard_sigmoid": lambda: constructor("Hardsigmoid"),
    "log_sigmoid": lambda: constructor("LogSigmoid"),
    "tanh": lambda: constructor("Tanh"),
    "hard_tanh": lambda: constructor("Hardtanh"),
    "tanh_shrink": lambda: constructor("Tanhshrink"),
    "softplus": lambda: constructor("Softplus"),
    "softsign": lambda: constructor("Softsign"),
    "soft_shrink": lambda: constructor("Softshrink"),
    "hard_shrink": lambda: constructor("Hardshrink"),
}
_ALIASES = {"swish": "silu", "hard_swish": "hard_silu"}


def activated(call: Call, x: Value) -> Value:
    """A layer's output by the layer's own ``activation=``."""
    function = call.operation.activation
    name = function_name(function)
    if name == "linear":
        return x
    if name is None and (found := find_rule(function)):
        return _own(call, function, found, x)
    return by_name(call, name, x, "_activation")


def _own(call: Call, function: Any, found: tuple[str, Rule], x: Value) -> Value:  # noqa: ANN401
    """By a layer that was given for a function, such as ``activation=LeakyReLU()``."""
    if list(function.variables):
        call.refuse(f"its activation, a {type(function).__name__}, has weights of its own")
    path = f"{call.path}_activation"
    kind, rule = found
    inner = Call(call.builder, function, kind, path, x.shape, call.training, call.once)
    y: Value = rule(inner, x)
    return y


def function_name(function: Any) -> str | None:  # noqa: ANN401 - what Keras calls an activation
    """The name of one of Keras's own functions; None for another one."""
    import keras

    if function is None:
        return "linear"
    name = getattr(function, "__name__", None)
    known = name is not None and getattr(keras.activations, name, None) is function
    return _ALIASES.get(str(name), name) if known else None


def is_elementwise(layer: Any) -> bool:  # noqa: ANN401 - a Keras layer
    """Whether an Activation layer acts on every element by itself."""
    name = function_name(layer.activation)
    return name in ("linear", "exponential") or name in _MODULES


def by_name(call: Call, name: str | None, x: Value, part: str = "") -> Value:
    """By one of Keras's functions, by its name; ``part`` tells the modules of a layer apart."""
    if name == "linear":
        return x
    if name in _MODULES:
        return call.module(x, _MODULES[name](), part)
    if name == "exponential":
        return _exponential(call, x)
    if name in _SQUASHING:
        return _along(call, str(name), x, -1, part)
    shown = name or getattr(call.operation.activation, "__name__", call.operation.activation)
    return call.refuse(f"torch.nn has no activation {shown!r}")


def _along(call: Call, name: str, x: Value, axis: int, part: str = "") -> Value:
    kind = {"softmax": "Softmax", "log_softmax": "LogSoftmax", "glu": "GLU"}[name]
    return call.module(x, constructor(kind, x.dim(axis)), part)


def _exponential(call: Call, x: Value) -> Value:
    import torch

    return Value(call.function(torch.exp, x.node), x.shape, x.axes, x.order)


@layer("Activation")
def _activation(call: Call, x: Value) -> Value:
    function = call.operation.activation
    name = function_name(function)
    if name is None and (found := find_rule(function)):
        return _own(call, function, found, x)
    return by_name(call, name, x)


@layer("ReLU")
@operation("ReLU")
def _relu(call: Call, x: Value) -> Value:
    relu = call.operation
    bound, slope, threshold = relu.max_value, relu.negative_slope, relu.threshold
    if threshold == 0 and bound is None:
        made_by = constructor("LeakyReLU", float(slope)) if slope else constructor("ReLU")
    elif threshold == 0 and not slope:
        made_by = constructor("ReLU6") if bound == 6 else constructor("Hardtanh", 0.0, float(bound))
    else:
        bound = None if bound is None else float(bound)
        made_by = constructor("BoundedReLU", bound, float(slope), float(threshold))
    return call.module(x, made_by)


@layer("LeakyReLU")
@operation("LeakyRelu")
def _leaky_relu(call: Call, x: Value) -> Value:
    return call.module(x, constructor("LeakyReLU", float(call.operation.negative_slope)))


@layer("ELU")
@operation("Elu", "Celu")
def _elu(call: Call, x: Value) -> Value:
    kind = call.kind.upper()
    return call.module(x, constructor(kind, alpha=(float(call.operation.alpha), 1.0)))


@layer("PReLU")
def _prelu(call: Call, x: Value) -> Value:
    prelu = call.operation
    shape = tuple(int(size) for size in prelu.alpha.shape)
    if all(size == 1 or x.dim(axis + 1) == 1 for axis, size in enumerate(shape)):
        count = max(shape)
        y = call.module(x, constructor("PReLU", num_parameters=(count, 1)))
        call.weight(prelu.alpha, "weight", shape=(count,))
        return y
    call.note("changed", "prelu", "a module of its own has a slope per element")
    order = [axis - 1 for axis in inverse(x.axes)[1:]]
    y = call.module(x, constructor("ElementPReLU", tuple(shape[axis] for axis in order)))
    call.weight(prelu.alpha, "weight", order)
    return y


@layer("Softmax")
@operation("Softmax", "LogSoftmax", "Glu")
def _softmax(call: Call, x: Value) -> Value:
    axis = call.operation.axis
    if isinstance(axis, list | tuple):
        if len(axis) != 1:
            call.refuse(f"it is over the axes {axis} together")
        axis = axis[0]
    name = {"Softmax": "softmax", "LogSoftmax": "log_softmax", "Glu": "glu"}
    return _along(call, name[call.kind], x, axis)


@operation("Gelu")
def _gelu(call: Call, x: Value) -> Value:
    approximate = "tanh" if call.operation.approximate else "none"
    return call.module(x, constructor("GELU", approximate=(approximate, "none")))


@operation("SoftShrink", "HardShrink")
def _shrink(call: Call, x: Value) -> Value:
    kind = {"SoftShrink": "Softshrink", "HardShrink": "Hardshrink"}[call.kind]
    return call.module(x, constructor(kind, float(call.operation.threshold)))


def _plain(name: str) -> Callable[[Call, Value], Value]:
    def rule(call: Call, x: Value) -> Value:
        return by_name(call, name, x)

    return rule


for _class, _function in {
    "Relu": "relu",
    "Relu6": "relu6",
    "Selu": "selu",
    "Silu": "silu",
    "HardSilu": "hard_silu",
    "Mish": "mish",
    "Sigmoid": "sigmoid",
    "HardSigmoid": "hard_sigmoid",
    "LogSigmoid": "log_sigmoid",
    "Tanh": "tanh",
    "HardTanh": "hard_tanh",
    "TanhShrink": "tanh_shrink",
    "Softplus": "softplus",
    "Softsign": "softsign",
}.items():
    operation(_class)(_plain(_function))
