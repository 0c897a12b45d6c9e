"""Sums, products and quotients of tensors and numbers, products of matrices, and reductions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import fx

from lamina.interchange.from_torch.builder import LayerWeight, Weight
from lamina.interchange.from_torch.call import Call, Rule, is_in_place, operation
from lamina.interchange.from_torch.pooling import global_pool
from lamina.interchange.from_torch.value import Shape, Value, canonical

__all__ = ["RULES"]

_MERGING = {"add": "Add", "sub": "Subtract", "mul": "Multiply"}
_MERGING |= {"maximum": "Maximum", "minimum": "Minimum"}


def _arithmetic(call: Call) -> Value:
    a, b = call["self"], call["other"]
    if call.get("rounding_mode"):
        call.refuse("a rounded quotient", "unsupported")
    if isinstance(gated := _hard_sigmoid_of(call), Value):
        tensor = call.build.layer("Activation", "hard_sigmoid", on=gated.tensor)
        return replace(gated, tensor=tensor, is_nonnegative=True)
    if call.get("alpha", 1) != 1:
        if not isinstance(b, Value):
            call.refuse("a scaled sum of a constant", "unsupported")
        scaled = call.build.layer("Rescaling", float(call["alpha"]), on=b.tensor, part="scale")
        b = replace(b, tensor=scaled, is_nonnegative=b.is_nonnegative and call["alpha"] > 0)
    if isinstance(a, Value) and isinstance(b, Value):
        return _of_two(call, a, b)
    if isinstance(b, Value):  # a number or a weight first
        return _reversed(call, a, b)
    if not isinstance(a, Value):
        call.refuse(f"{call.what} of two weights", "unsupported")
    return _with_constant(call, a, b)


def _hard_sigmoid_of(call: Call) -> Any:  # noqa: ANN401 - a Value, or None
    """What is cut off to [−3, 3], moved and divided by 6: by other words, a hard sigmoid."""
    if call.what != "div" or call.node.args[1:] != (6,):
        return None
    for words in _HARD_SIGMOIDS:
        node: Any = call.node.args[0]
        for name, numbers in words:
            matches = isinstance(node, fx.Node) and operation(node) == name
            if not matches or node.args[1:] != numbers:
                break
            last, node = node, node.args[0]
        else:
            # Where the first of them was in place, its input is no more what it was.
            return None if is_in_place(last) else call.values[node]
    return None


_HARD_SIGMOIDS = (
    (("relu6", ()), ("add", (3,))),
    (("hardtanh", (0, 6)), ("add", (3,))),
    (("clamp", (0, 6)), ("add", (3,))),
    (("add", (3,)), ("clamp", (-3, 3))),
)
"""Operations with their numbers, the last one first."""


def _of_two(call: Call, a: Value, b: Value) -> Value:
    x, y = _alike(call, a, b)
    if call.what == "div":
        tensor = call.build.op("divide", x.tensor, y.tensor)
    else:
        tensor = call.build.layer(_MERGING[call.what], on=[x.tensor, y.tensor])
    positive = x.is_nonnegative and y.is_nonnegative and call.what != "sub"
    shape = _broadcast(x.shape, y.shape)
    expanded = call.shape if shape != call.shape else None
    return replace(x, tensor=tensor, shape=shape, expanded=expanded, is_nonnegative=positive)


def _broadcast(x: Shape, y: Shape) -> Shape:
    return tuple(b if a == 1 else a for a, b in zip(x, y, strict=True))


def _alike(call: Call, a: Value, b: Value) -> tuple[Value, Value]:
    """Both with the same axes in the same order, so that Keras broadcasts as torch does."""
    if a.features == b.features and a.axes == b.axes and a.shape == b.shape:
        return a, b
    a, b = call.build.in_order(a), call.build.in_order(b)
    rank = max(a.rank, b.rank)
    a, b = _of_rank(call, a, rank), _of_rank(call, b, rank)
    if a.axes == b.axes:
        return a, b
    larger = max(a, b, key=lambda value: sum(size != 1 for size in value.shape))
    axes = larger.axes if len(larger.axes) == rank else canonical(rank)
    return _unexpanded(call, a, axes), _unexpanded(call, b, axes)


def _of_rank(call: Call, value: Value, rank: int) -> Value:
    """Axes of size 1 in front, as broadcasting adds them."""
    more = rank - value.rank
    if more == 0:
        return value
    if not isinstance(value.shape[0], int):
        call.refuse("tensors whose batches are different axes", "data-format")
    return replace(
        value,
        shape=(*(1,) * more, *value.shape),
        axes=tuple(axis + more for axis in value.axes),
        expanded=value.expanded and (*(1,) * more, *value.expanded),
    )


def _unexpanded(call: Call, value: Value, axes: Sequence[int]) -> Value:
    return call.build.arranged(replace(value, expanded=None), axes)


def _with_constant(call: Call, x: Value, constant: Any) -> Value:  # noqa: ANN401
    if isinstance(constant, Weight):
        if constant.tensor.numel() == 1 and not constant.is_parameter:
            constant = float(constant.tensor)
        elif constant.is_parameter:
            return _with_parameter(call, x, constant)
        else:
            return _by_channel(call, x, constant)
    if not isinstance(constant, int | float):
        call.refuse(f"{call.what} with a number that follows from the batch", "unsupported")
    number = float(constant)
    if call.what in ("maximum", "minimum"):
        call.refuse(f"{call.what} with a number", "unsupported")
    if call.what == "div" and not _is_power_of_two(number):
        tensor = call.build.op("divide", x.tensor, number)
    else:
        scale, offset = {
            "add": (1.0, number),
            "sub": (1.0, -number),
            "mul": (number, 0.0),
            "div": (1 / number, 0.0),
        }[call.what]
        tensor = call.build.layer("Rescaling", scale, offset=offset, on=x.tensor)
    positive = x.is_nonnegative and (number >= 0 if call.what != "sub" else number <= 0)
    return replace(x, tensor=tensor, is_nonnegative=positive)


def _is_power_of_two(number: float) -> bool:
    return number != 0 and abs(np.frexp(number)[0]) == 0.5


def _reversed(call: Call, constant: Any, x: Value) -> Value:  # noqa: ANN401
    if call.what in ("add", "mul"):
        return _with_constant(call, x, constant)
    if not isinstance(constant, int | float):
        call.refuse(f"{call.what} of a weight and a tensor", "unsupported")
    number = float(constant)
    if call.what == "div":
        tensor = call.build.op("reciprocal", x.tensor)
        tensor = call.build.layer("Rescaling", number, on=tensor) if number != 1 else tensor
    else:
        tensor = call.build.layer("Rescaling", -1.0, offset=number, on=x.tensor)
    return replace(x, tensor=tensor, is_nonnegative=False)


def _rsub(call: Call) -> Value:
    if call.get("alpha", 1) != 1 or not isinstance(call["other"], int | float):
        call.refuse("a reversed difference", "unsupported")
    x = call.value()
    tensor = call.build.layer("Rescaling", -1.0, offset=float(call["other"]), on=x.tensor)
    return replace(x, tensor=tensor, is_nonnegative=False)


def _channel_axis(call: Call, x: Value, weight: Weight) -> tuple[Value, int]:
    """The value laid out for a weight along one axis, which is last then, and that axis."""
    shape = weight.shape
    if len(shape) > x.rank:
        call.refuse(f"a weight of shape {shape}", "unsupported")
    shape = (*(1,) * (x.rank - len(shape)), *shape)
    long = [axis for axis, size in enumerate(shape) if size != 1]
    if len(long) > 1 or (long and long[0] == 0):
        call.refuse(f"{weight.name} of shape {shape}, no weight per channel,", "unsupported")
    axis = long[0] if long else x.rank - 1
    value = call.build.in_order(call.build.expanded(x))
    if value.axes[-1] != axis:
        order = [a for a in range(x.rank) if a != axis] + [axis]
        value = call.build.arranged(value, order)
    return value, axis


def _with_parameter(call: Call, x: Value, weight: Weight) -> Value:
    """A weight for each channel: a product is a layer of Keras's, a sum is not."""
    if call.what != "mul":
        call.refuse(
            f"{call.what} with the parameter {weight.name}, which no Keras layer holds,",
            "unsupported",
        )
    x, axis = _channel_axis(call, x, weight)
    count = int(weight.tensor.numel())
    if count != x.shape[axis]:
        call.refuse(f"one factor {weight.name} for all channels", "unsupported")
    letters = "abcdefg"[: len(x.axes)]
    sizes = [None if not isinstance(x.shape[a], int) else x.shape[a] for a in x.axes[1:]]
    tensor = call.build.layer(
        "EinsumDense",
        f"{letters},{letters[-1]}->{letters}",
        tuple(sizes),
        on=x.tensor,
        weights=[LayerWeight("kernel", weight, (count,), (0,))],
    )
    call.build.note("changed", "unsupported", f"{weight.name} as the kernel of an EinsumDense")
    return replace(x, tensor=tensor, is_nonnegative=False)


def _by_channel(call: Call, x: Value, constant: Weight) -> Value:
    """A constant for each channel, such as a mean that is taken off."""
    x, _ = _channel_axis(call, x, constant)
    values = constant.tensor.detach().double().flatten().numpy()
    scale, offset = {
        "add": (1.0, values),
        "sub": (1.0, -values),
        "mul": (values, 0.0),
        "div": (1 / values, 0.0),
    }.get(call.what, (None, None))
    if scale is None:
        call.refuse(f"{call.what} with {constant.name}", "unsupported")
    listed = [v.tolist() if isinstance(v, np.ndarray) else v for v in (scale, offset)]
    tensor = call.build.layer("Rescaling", listed[0], offset=listed[1], on=x.tensor)
    call.build.note("changed", "preprocessing", f"{constant.name} as numbers of the layer")
    return replace(x, tensor=tensor, is_nonnegative=False)


def _power(call: Call) -> Value:
    exponent = call["exponent"]
    if not isinstance(exponent, int | float):
        call.refuse("a power that is a tensor", "unsupported")
    x = call.value()
    if exponent == 2:
        tensor = call.build.op("square", x.tensor)
    else:
        tensor = call.build.op("power", x.tensor, float(exponent))
    return replace(x, tensor=tensor, is_nonnegative=exponent == 2 or x.is_nonnegative)


# ---- matrices -----------------------------------------------------------------------------------


def _matmul(call: Call) -> Value:
    names = list(call.arguments)[:2]
    values = [call.value(name) for name in names]
    if min(value.rank for value in values) < 2:
        call.refuse("a product with a vector", "unsupported")
    a, b = (call.build.arranged(value, range(value.rank)) for value in values)
    tensor = call.build.op("matmul", a.tensor, b.tensor)
    return Value(tensor, call.shape, tuple(range(max(a.rank, b.rank))))


def _einsum(call: Call) -> Value:
    operands = call["tensors"]
    if any(not isinstance(one, Value) for one in operands):
        call.refuse("einsum with a weight", "unsupported")
    tensors = [call.build.arranged(one, range(one.rank)).tensor for one in operands]
    tensor = call.build.op("einsum", call["equation"].replace(" ", ""), *tensors)
    return Value(tensor, call.shape, tuple(range(len(call.shape))))


def _attention(call: Call) -> Value:
    """softmax(q · kᵀ / √d) · v."""
    if call["attn_mask"] is not None or call["is_causal"] or call["dropout_p"]:
        call.refuse("attention with a mask, or with dropout", "unsupported")
    q, k, v = (
        call.build.arranged(call.value(name), range(4)) for name in ("query", "key", "value")
    )
    scale = call["scale"] or float(q.shape[-1]) ** -0.5
    scaled = call.build.layer("Rescaling", scale, on=q.tensor, part="scale")
    turned = call.build.op("transpose", k.tensor, [0, 1, 3, 2])
    products = call.build.op("matmul", scaled, turned)
    weights = call.build.layer("Softmax", on=products, part="softmax")
    tensor = call.build.op("matmul", weights, v.tensor)
    return Value(tensor, call.shape, (0, 1, 2, 3))


# ---- reductions ---------------------------------------------------------------------------------


def _reduction(function: str, kind: str = "") -> Rule:
    def rule(call: Call) -> Value:
        x = call.value()
        dims = call.get("dim")
        dims = [dims] if isinstance(dims, int) else dims or []
        axes = sorted({dim % x.rank for dim in dims})
        if not axes or 0 in axes:
            call.refuse(f"{call.what} over the batch", "unsupported")
        keepdim = bool(call.get("keepdim", False))
        if kind and axes == list(range(2, x.rank)) and x.rank in (3, 4):
            return global_pool(call, kind, keepdim)
        x = call.build.in_order(call.build.expanded(x))
        if any(axis not in x.axes for axis in axes):
            x = call.build.arranged(x)
        places = [place for place, axis in enumerate(x.axes) if axis in axes]
        tensor = call.build.op(
            function, x.tensor, axis=places[0] if len(places) == 1 else places, keepdims=keepdim
        )
        positive = x.is_nonnegative
        if keepdim:
            shape = tuple(1 if a in axes else size for a, size in enumerate(x.shape))
            return replace(x, tensor=tensor, shape=shape, is_nonnegative=positive)
        left = [axis for axis in range(x.rank) if axis not in axes]
        shape = tuple(x.shape[axis] for axis in left)
        order = tuple(left.index(axis) for axis in x.axes if axis in left)
        return Value(tensor, shape, order, is_nonnegative=positive)

    return rule


def _extreme(function: str) -> Rule:
    """``max`` and ``min``: of two tensors, or along an axis, if nobody asks where it was."""
    reduction = _reduction(function)

    def rule(call: Call) -> Value | tuple[Value, ...]:
        if call.get("other") is not None:
            x, y = _alike(call, call.value("self"), call.value("other"))
            kind = {"max": "Maximum", "min": "Minimum"}[function]
            tensor = call.build.layer(kind, on=[x.tensor, y.tensor])
            return replace(x, tensor=tensor, shape=_broadcast(x.shape, y.shape))
        if any(user.users and user.args[1] == 1 for user in call.node.users):
            call.refuse(f"where the {function} was", "unsupported")
        extreme = reduction(call)
        assert isinstance(extreme, Value)
        return (extreme,)

    return rule


RULES: dict[str, Rule] = {
    **dict.fromkeys(["add", "sub", "mul", "div", "maximum", "minimum"], _arithmetic),
    "rsub": _rsub,
    "pow": _power,
    "matmul": _matmul,
    "bmm": _matmul,
    "mm": _matmul,
    "einsum": _einsum,
    "scaled_dot_product_attention": _attention,
    "mean": _reduction("mean", "Average"),
    "sum": _reduction("sum"),
    "amax": _reduction("max", "Max"),
    "amin": _reduction("min"),
    "max": _extreme("max"),
    "min": _extreme("min"),
}
