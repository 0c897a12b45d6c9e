"""Axes: flatten, reshape, permute, and the operations of ``keras.ops`` on them."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lamina.interchange.from_keras.call import Call, layer, operation
from lamina.interchange.from_keras.constructor import constructor
from lamina.interchange.from_keras.value import IMAGE, Value, inverse

__all__: list[str] = []


@layer("Flatten")
def _flatten(call: Call, x: Value) -> Value:
    if x.rank == 2:
        return x
    axes = list(range(x.rank))
    if call.operation.data_format == "channels_first":
        axes = [0, *axes[2:], 1]  # Keras moves the channels to the end first
    wanted = _relabelled(x, axes)
    if wanted.axes == IMAGE and not wanted.flattens_alike and call.takes_any_order:
        order = tuple(size for size in wanted.shape[1:] if size is not None)
        if len(order) == 3:
            call.note("changed", "flatten", "it flattens (C, H, W), and what reads it knows")
            y = call.module(wanted, constructor("Flatten"))
            return replace(y, shape=call.shape, axes=(0, 1), order=order)
    if not wanted.flattens_alike:
        call.note("changed", "flatten", "the axes are put into Keras's order before it")
        wanted = call.natural(wanted)
    y = call.module(wanted, constructor("Flatten"))
    return replace(y, shape=call.shape, axes=(0, 1))


@layer("Reshape")
def _reshape(call: Call, x: Value) -> Value:
    return _reshaped(call, x, call.shape[1:])


@operation("Reshape")
def _reshape_operation(call: Call, x: Value) -> Value:
    first, *rest = call.operation.newshape
    known = [size for size in x.shape[1:] if size is not None]
    unknown = None in x.shape[1:] or any(size in (None, -1) for size in rest)
    if first not in (None, -1, x.shape[0]) or (
        first == -1 and (unknown or math.prod(known) != math.prod(rest))
    ):
        call.refuse(f"it reshapes the batch's axis too, to {call.operation.newshape}")
    return _reshaped(call, x, call.shape[1:])


def _reshaped(call: Call, x: Value, sizes: Sequence[int | None]) -> Value:
    if sum(size is None for size in sizes) > 1:
        call.refuse(f"two sizes of {tuple(sizes)} are not fixed")
    if tuple(sizes) == x.shape[1:]:
        return x
    if not x.flattens_alike:
        call.note("changed", "data-format", "the axes are put into Keras's order before it")
        x = call.natural(x)
    target = [-1 if size is None else int(size) for size in sizes]
    axes = tuple(range(len(target) + 1))
    if len(target) == 3 and target[:2] == [1, 1]:  # an image of one pixel
        target, axes = [target[2], 1, 1], IMAGE
    if x.rank > 2 or len(target) == 1:
        x = replace(x, node=call.method("flatten", x, 1))
    if len(target) > 1:
        x = replace(x, node=call.method("unflatten", x, 1, tuple(target)))
    return Value(x.node, call.shape, axes)


@layer("Permute")
def _permute(call: Call, x: Value) -> Value:
    return _relabelled(x, [0, *call.operation.dims])


@operation("Transpose")
def _transpose(call: Call, x: Value) -> Value:
    return _relabelled(x, call.operation.axes or range(x.rank)[::-1])


@operation("Swapaxes")
def _swapaxes(call: Call, x: Value) -> Value:
    one, other = call.operation.axis1 % x.rank, call.operation.axis2 % x.rank
    axes = list(range(x.rank))
    axes[one], axes[other] = other, one
    return _relabelled(x, axes)


def _relabelled(x: Value, axes: Sequence[int]) -> Value:
    """Transposed on Keras's side; torch's tensor stays as it is."""
    axes = [axis % x.rank for axis in axes]
    return replace(
        x, shape=tuple(x.shape[axis] for axis in axes), axes=tuple(x.axes[axis] for axis in axes)
    )


@operation("ExpandDims")
def _expand_dims(call: Call, x: Value) -> Value:
    (axis,) = _listed(call.operation.axis)
    x, axis = call.natural(x), axis % (x.rank + 1)
    node = call.method("unsqueeze", x, axis)
    return Value(node, call.shape, tuple(range(x.rank + 1)))


@operation("Squeeze")
def _squeeze(call: Call, x: Value) -> Value:
    if call.operation.axis is None:
        axes = [axis for axis, size in enumerate(x.shape) if size == 1]
    else:
        axes = [axis % x.rank for axis in _listed(call.operation.axis)]
    node = call.method("squeeze", x, tuple(sorted(x.dim(axis) for axis in axes)))
    return _without(x, axes, node, call.shape)


_REDUCTIONS = {"Mean": "mean", "Sum": "sum", "Max": "amax", "Min": "amin"}


@operation("Mean", "Sum", "Max", "Min", "Amax", "Amin")
def _reduction(call: Call, x: Value) -> Value:
    reduce = call.operation
    if getattr(reduce, "initial", None) is not None:
        call.refuse("its initial value has no equal")
    name = call.kind
    axes = range(x.rank) if reduce.axis is None else _listed(reduce.axis)
    axes = [axis % x.rank for axis in axes]
    dims = tuple(sorted(x.dim(axis) for axis in axes))
    method = _REDUCTIONS.get(name, name.lower())
    if reduce.keepdims:
        return replace(x, node=call.method(method, x, dims, keepdim=True), shape=call.shape)
    return _without(x, axes, call.method(method, x, dims), call.shape)


def _without(x: Value, axes: Sequence[int], node: Any, shape: tuple[int | None, ...]) -> Value:  # noqa: ANN401
    """A value that lost some axes."""
    left = [x.axes[axis] for axis in range(x.rank) if axis not in axes]
    return Value(node, shape, inverse(inverse(left)))


@operation("GetItem")
def _get_item(call: Call, x: Value, key: Any) -> Value:  # noqa: ANN401 - what indexes a tensor
    keys = list(key) if isinstance(key, tuple | list) else [key]
    if Ellipsis in keys:
        at = keys.index(Ellipsis)
        keys[at : at + 1] = [slice(None)] * (x.rank - len(keys) + 1)
    if not all(isinstance(one, slice | int) for one in keys):
        call.refuse(f"it takes {key!r}, and slices and numbers are what can cross")
    torch_keys: list[Any] = [slice(None)] * x.rank
    for axis, one in enumerate(keys):
        if isinstance(one, slice) and (one.step or 1) < 0:
            call.refuse("torch takes no slice with a negative step")
        torch_keys[x.dim(axis)] = one
    while torch_keys and torch_keys[-1] == slice(None):
        torch_keys.pop()
    node = call.function(operator.getitem, x.node, tuple(torch_keys))
    taken = [axis for axis, one in enumerate(keys) if isinstance(one, int)]
    return _without(x, taken, node, call.shape)


@operation("Split")
def _split(call: Call, x: Value) -> list[Value]:
    axis = call.operation.axis % x.rank
    size, parts = x.shape[axis], call.operation.indices_or_sections
    if size is None:
        call.refuse("it splits an axis whose size is not fixed")
    ends = [size * i // parts for i in range(1, parts)] if isinstance(parts, int) else [*parts]
    values = []
    for start, end in zip([0, *ends], [*ends, size], strict=True):
        keys = [slice(None)] * x.dim(axis) + [slice(start, end)]
        node = call.function(operator.getitem, x.node, tuple(keys))
        shape = (*x.shape[:axis], end - start, *x.shape[axis + 1 :])
        values.append(replace(x, node=node, shape=shape))
    return values


def _listed(axis: int | Sequence[int]) -> list[int]:
    return [axis] if isinstance(axis, int) else list(axis)
