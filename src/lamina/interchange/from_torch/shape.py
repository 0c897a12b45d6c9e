"""What moves elements and computes nothing: reshapes, permutations, joins, slices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lamina.interchange.from_torch.builder import Weight
from lamina.interchange.from_torch.call import Call, Rule
from lamina.interchange.from_torch.value import Shape, Value, shape_of

__all__ = ["RULES"]


def _same(call: Call) -> Any:  # noqa: ANN401 - a Value or a Weight
    return next(iter(call.arguments.values()))


def _cast(call: Call) -> Value:
    if call.node.meta["val"].dtype != call.node.all_input_nodes[0].meta["val"].dtype:
        call.refuse(f"a cast to {call.node.meta['val'].dtype}", "mixed-precision")
    return call.value()


def _view(call: Call) -> Any:  # noqa: ANN401
    given = next(iter(call.arguments.values()))
    if isinstance(given, Weight) and sum(size != 1 for size in given.tensor.shape) <= 1:
        return replace(given, shape=call.shape)  # one number per channel stays that
    return call.build.viewed(call.value(), call.shape)


def _permute(call: Call) -> Value:
    x = call.build.in_order(call.value())
    return x.permuted([dim % x.rank for dim in call["dims"]])


def _transpose(call: Call) -> Value:
    x = call.build.in_order(call.value())
    dims = list(range(x.rank))
    a, b = call.get("dim0", 0), call.get("dim1", 1)
    dims[a], dims[b] = dims[b], dims[a]
    return x.permuted(dims)


def _moved(call: Call) -> Value:
    x = call.build.in_order(call.value())
    sources, targets = ([d % x.rank for d in _listed(call[k])] for k in ("source", "destination"))
    dims = [axis for axis in range(x.rank) if axis not in sources]
    for target, source in sorted(zip(targets, sources, strict=True)):
        dims.insert(target, source)
    return x.permuted(dims)


def _listed(value: int | Sequence[int]) -> list[int]:
    return [value] if isinstance(value, int) else list(value)


def _expand(call: Call) -> Value:
    x = call.value()
    if x.expanded is not None or len(call.shape) != x.rank:
        x = call.build.arranged(x)
        more = len(call.shape) - x.rank
        if more:
            call.refuse("an expansion by new axes", "data-format")
    return x if call.shape == x.shape else replace(x, expanded=call.shape)


def _repeat(call: Call) -> Value:
    x = call.value()
    times = list(call["repeats"])
    if len(times) != x.rank or times[0] != 1:
        call.refuse(f"a repetition {times}", "unsupported")
    x = call.build.arranged(x)
    tensor = call.build.op("tile", x.tensor, [times[axis] for axis in x.axes])
    return replace(x, tensor=tensor, shape=call.shape)


# ---- joins --------------------------------------------------------------------------------------


def _concatenation(call: Call) -> Value:
    values = [value for value in call["tensors"] if not _is_empty(value)]
    if any(not isinstance(value, Value) for value in values):
        call.refuse("a join with a parameter", "unsupported")
    if len(values) == 1:
        return _value(values[0])
    return _joined(call, values, call["dim"] % values[0].rank, call.shape)


def _stack(call: Call) -> Value:
    dim = call["dim"] % len(call.shape)
    shape = (*call.shape[:dim], 1, *call.shape[dim + 1 :])
    values = [call.build.viewed(value, shape) for value in call["tensors"]]
    return _joined(call, values, dim, call.shape)


def _joined(call: Call, values: list[Value], dim: int, shape: Shape) -> Value:
    if dim == 0:
        call.refuse("a join along the batch", "unsupported")
    whole = [value.axes for value in values if value.is_complete]
    axes = whole[0] if whole else None
    arranged = [call.build.arranged(value, axes) for value in values]
    place = arranged[0].axes.index(dim)
    tensor = call.build.layer(
        "Concatenate",
        axis=-1 if place == len(shape) - 1 else place,
        on=[value.tensor for value in arranged],
    )
    positive = all(value.is_nonnegative for value in values)
    return replace(arranged[0], tensor=tensor, shape=shape, is_nonnegative=positive)


def _is_empty(value: Any) -> bool:  # noqa: ANN401
    """PyTorch leaves out what was an empty list once."""
    return isinstance(value, Value) and value.shape == (0,)


def _value(value: Any) -> Value:  # noqa: ANN401
    assert isinstance(value, Value)
    return value


# ---- parts --------------------------------------------------------------------------------------


def _slice(call: Call) -> Value:
    axis, size = call.axis(), call.value().shape[call.axis()]
    start, end, step = call["start"], call["end"], call["step"]
    if axis == 0 or not isinstance(size, int):
        if start in (0, None) and step == 1 and call.shape == call.value().shape:
            return call.value()
        call.refuse("a slice of the batch", "unsupported")
    first, last, step = slice(start, end, step).indices(size)
    return _part(call, call.value(), axis, first, last, step)


def _select(call: Call) -> Value:
    axis, size = call.axis(), call.value().shape[call.axis()]
    if axis == 0 or not isinstance(size, int):
        call.refuse("one sample of the batch", "unsupported")
    index = int(call["index"]) % size
    part = _part(call, call.value(), axis, index, index + 1, 1)
    return call.build.viewed(part, call.shape)


def _chunks(call: Call) -> list[Value]:
    axis, x = call.axis(), call.value()
    if axis == 0:
        call.refuse("a part of the batch", "unsupported")
    parts: list[Value] = []
    start = 0
    for one in call.node.meta["val"]:
        shape = shape_of(one)
        length = int(shape[axis]) if len(shape) == x.rank else 1
        wanted = any(user.args[1] == len(parts) for user in call.node.users)
        part = _part(call, x, axis, start, start + length, 1) if wanted else x
        parts.append(call.build.viewed(part, shape) if wanted else x)
        start += length
    return parts


def _part(call: Call, x: Value, axis: int, first: int, last: int, step: int) -> Value:
    size = x.shape[axis]
    if (first, step) == (0, 1) and last >= size:
        return x
    x = call.build.in_order(call.build.expanded(x))
    if axis not in x.axes:
        x = call.build.arranged(x)
    place = x.axes.index(axis)
    piece = slice(first or None, last if last < size else None, step if step > 1 else None)
    index = (*[slice(None)] * place, piece)
    tensor = call.build.index(x.tensor, index)
    shape = (*x.shape[:axis], len(range(first, last, step)), *x.shape[axis + 1 :])
    return replace(x, tensor=tensor, shape=shape)


def _flip(call: Call) -> Value:
    x = call.build.arranged(call.value())
    places = [x.axes.index(dim % x.rank) for dim in call["dims"]]
    if 0 in places:
        call.refuse("a reversed batch", "unsupported")
    return replace(x, tensor=call.build.op("flip", x.tensor, axis=places))


def _roll(call: Call) -> Value:
    x = call.build.arranged(call.value())
    tensor = x.tensor
    if not call["dims"]:
        call.refuse("a roll of all elements in a row", "unsupported")
    for shift, dim in zip(_listed(call["shifts"]), _listed(call["dims"]), strict=True):
        tensor = call.build.op("roll", tensor, shift, axis=x.axes.index(dim % x.rank))
    return replace(x, tensor=tensor)


# ---- channels -----------------------------------------------------------------------------------


def _pixel_shuffle(call: Call) -> Value:
    x = call.value()
    batch, channels, height, width = x.shape
    r = int(call["upscale_factor"])
    split = call.build.viewed(x, (batch, channels // (r * r), r, r, height, width))
    return call.build.viewed(split.permuted((0, 1, 4, 2, 5, 3)), call.shape)


def _pixel_unshuffle(call: Call) -> Value:
    x = call.value()
    batch, channels, height, width = x.shape
    r = int(call["downscale_factor"])
    split = call.build.viewed(x, (batch, channels, height // r, r, width // r, r))
    return call.build.viewed(split.permuted((0, 1, 3, 5, 2, 4)), call.shape)


def _channel_shuffle(call: Call) -> Value:
    x = call.value()
    groups = int(call["groups"])
    shape = (x.shape[0], groups, x.shape[1] // groups, *x.shape[2:])
    dims = (0, 2, 1, *range(3, len(shape)))
    return call.build.viewed(call.build.viewed(x, shape).permuted(dims), call.shape)


RULES: dict[str, Rule] = {
    **dict.fromkeys(
        ["alias", "clone", "contiguous", "detach", "detach_", "lift_fresh_copy"], _same
    ),
    **dict.fromkeys(["to", "_to_copy", "type_as"], _cast),
    **dict.fromkeys(
        ["view", "reshape", "_unsafe_view", "flatten", "unflatten", "squeeze", "unsqueeze"], _view
    ),
    "permute": _permute,
    "transpose": _transpose,
    "t": _transpose,
    "movedim": _moved,
    "expand": _expand,
    "expand_as": _expand,
    "repeat": _repeat,
    "cat": _concatenation,
    "concat": _concatenation,
    "stack": _stack,
    "slice": _slice,
    "select": _select,
    **dict.fromkeys(["chunk", "split", "split_with_sizes", "unbind", "tensor_split"], _chunks),
    "flip": _flip,
    "roll": _roll,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "channel_shuffle": _channel_shuffle,
}
