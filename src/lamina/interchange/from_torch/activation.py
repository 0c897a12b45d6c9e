"""Functions of single elements, softmax and dropout."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from lamina.interchange.from_torch.builder import LayerWeight, Weight
from lamina.interchange.from_torch.call import Call, Rule
from lamina.interchange.from_torch.trace import PATHS
from lamina.interchange.from_torch.value import Value

__all__ = ["RULES"]


def _elementwise(
    call: Call,
    apply: Callable[[Any], Any],
    *,
    is_nonnegative: bool = False,
) -> Value:
    x = call.value()
    # An axis of size 1 that stands for more may go on standing for it.
    return replace(x, tensor=apply(x.tensor), is_nonnegative=is_nonnegative)


def _layer(
    call: Call, kind: str, *arguments: Any, is_nonnegative: bool = False, **keywords: Any
) -> Value:
    def apply(tensor: Any) -> Any:  # noqa: ANN401
        return call.build.layer(kind, *arguments, **keywords, on=tensor)

    return _elementwise(call, apply, is_nonnegative=is_nonnegative)


def _activation(name: str, is_nonnegative: bool = False) -> Rule:
    return lambda call: _layer(call, "Activation", name, is_nonnegative=is_nonnegative)


def _operation(name: str, is_nonnegative: bool = False) -> Rule:
    def rule(call: Call) -> Value:
        return _elementwise(call, partial(call.build.op, name), is_nonnegative=is_nonnegative)

    return rule


def _relu(call: Call) -> Value:
    return _layer(call, "ReLU", is_nonnegative=True)


def _relu6(call: Call) -> Value:
    return _layer(call, "ReLU", 6.0, is_nonnegative=True)


def _clamp(call: Call) -> Value:
    low = call.get("min_val", call.get("min"))
    high = call.get("max_val", call.get("max"))
    if any(isinstance(bound, Value | Weight) for bound in (low, high)):
        call.refuse("a bound that is a tensor", "unsupported")
    low = -math.inf if low is None else float(low)
    high = math.inf if high is None else float(high)
    if low == 0:
        return _layer(call, "ReLU", None if high == math.inf else high, is_nonnegative=True)

    def apply(tensor: Any) -> Any:  # noqa: ANN401
        return call.build.op("clip", tensor, low, high)

    return _elementwise(call, apply, is_nonnegative=low >= 0)


def _leaky_relu(call: Call) -> Value:
    slope = call.number("negative_slope")
    call.build.note("changed", "leaky-slope", f"slope {slope:g} in the place of 0.3")
    return _layer(call, "LeakyReLU", slope)


def _elu(call: Call) -> Value:
    if call["scale"] != 1 or call["input_scale"] != 1:
        call.refuse("elu with scales", "unsupported")
    return _layer(call, "ELU", alpha=call.number("alpha"))


def _celu(call: Call) -> Value:
    return _elementwise(
        call, lambda tensor: call.build.op("celu", tensor, alpha=call.number("alpha"))
    )


def _gelu(call: Call) -> Value:
    if call["approximate"] == "none":
        return _layer(call, "Activation", "gelu")
    return _elementwise(call, lambda tensor: call.build.op("gelu", tensor, approximate=True))


def _softplus(call: Call) -> Value:
    beta = call.number("beta")
    if beta == 1:
        return _layer(call, "Activation", "softplus", is_nonnegative=True)
    x = call.value()
    tensor = call.build.layer("Rescaling", beta, on=x.tensor, part="scale")
    tensor = call.build.layer("Activation", "softplus", on=tensor)
    tensor = call.build.layer("Rescaling", 1 / beta, on=tensor, part="rescale")
    return replace(x, tensor=tensor, is_nonnegative=True)


def _prelu(call: Call) -> Value:
    slope = call["weight"]
    if not isinstance(slope, Weight):
        call.refuse("a slope that is computed", "unsupported")
    x = call.build.arranged(call.value())
    count = int(slope.tensor.numel())
    place = x.axes.index(1)
    ones = [1] * (x.rank - 1)
    ones[place - 1] = count
    shared = [axis for axis in range(1, x.rank) if count == 1 or axis != place]
    call.build.note("changed", "prelu", f"{count} slopes, shared over axes {shared}")
    tensor = call.build.layer(
        "PReLU",
        shared_axes=shared or None,
        on=x.tensor,
        weights=[LayerWeight("alpha", slope, tuple(ones), tuple(range(len(ones))))],
    )
    return replace(x, tensor=tensor, is_nonnegative=False)


def _softmax(call: Call) -> Value:
    x = call.value()
    axis = call.axis()
    if x.features is not None or x.expanded is not None or axis not in x.axes:
        x = call.build.arranged(x)
    place = x.axes.index(axis)
    place = -1 if place == len(x.axes) - 1 else place
    if call.what.startswith("log"):
        tensor = call.build.op("log_softmax", x.tensor, axis=place)
    else:
        tensor = call.build.layer("Softmax", axis=place, on=x.tensor)
    return replace(x, tensor=tensor, is_nonnegative=call.what == "softmax")


def _glu(call: Call) -> Value:
    x = call.build.arranged(call.value())
    tensor = call.build.op("glu", x.tensor, axis=x.axes.index(call.axis()))
    return replace(x, tensor=tensor, shape=call.shape, is_nonnegative=False)


# ---- dropout ------------------------------------------------------------------------------------


def _rate(call: Call) -> float:
    if call["train"]:
        call.refuse("dropout in evaluation, too,", "mode")
    return call.number("p")


def _dropout(call: Call) -> Value:
    """Of single elements, or of a whole branch."""
    x, rate = call.value(), _rate(call)
    if rate == 0:
        return x
    call.build.note("changed", "dropout", "masks are drawn by Keras")
    if type(call.module).__name__ not in PATHS:
        return _layer(call, "Dropout", rate, is_nonnegative=x.is_nonnegative)
    if call.build.flavour == "lamina":
        return _layer(call, "DropPath", rate, is_nonnegative=x.is_nonnegative)
    shared = (None, *(1,) * (len(x.tensor.shape) - 1))
    return _layer(call, "Dropout", rate, noise_shape=shared, is_nonnegative=x.is_nonnegative)


def _feature_dropout(call: Call) -> Value:
    """Of whole channels."""
    x, rate = call.value(), _rate(call)
    if rate == 0:
        return x
    if x.rank not in (3, 4):
        call.refuse(f"dropout of channels of {x.rank} axes", "unsupported")
    call.build.note("changed", "dropout", "masks are drawn by Keras")
    x = call.build.arranged(x, (0, *range(2, x.rank), 1))
    tensor = call.build.layer(f"SpatialDropout{x.rank - 2}D", rate, on=x.tensor)
    return replace(x, tensor=tensor)


RULES: dict[str, Rule] = {
    "relu": _relu,
    "relu6": _relu6,
    "hardtanh": _clamp,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "clamp_max": _clamp,
    "clip": _clamp,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "celu": _celu,
    "selu": _activation("selu"),
    "gelu": _gelu,
    "silu": _activation("silu"),
    "mish": _activation("mish"),
    "hardswish": _activation("hard_silu"),
    "hardsigmoid": _activation("hard_sigmoid", is_nonnegative=True),
    "sigmoid": _activation("sigmoid", is_nonnegative=True),
    "tanh": _activation("tanh"),
    "log_sigmoid": _activation("log_sigmoid"),
    "softsign": _activation("softsign"),
    "softplus": _softplus,
    "prelu": _prelu,
    "softmax": _softmax,
    "log_softmax": _softmax,
    "glu": _glu,
    "abs": _operation("abs", is_nonnegative=True),
    "exp": _operation("exp", is_nonnegative=True),
    "expm1": _operation("expm1"),
    "log": _operation("log"),
    "log1p": _operation("log1p"),
    "neg": _operation("negative"),
    "reciprocal": _operation("reciprocal"),
    "rsqrt": _operation("rsqrt", is_nonnegative=True),
    "sqrt": _operation("sqrt", is_nonnegative=True),
    "square": _operation("square", is_nonnegative=True),
    "sin": _operation("sin"),
    "cos": _operation("cos"),
    "dropout": _dropout,
    "feature_dropout": _feature_dropout,
}
