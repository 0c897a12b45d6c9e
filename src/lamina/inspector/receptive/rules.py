"""How each operator of ATen changes receptive fields: shapes, sums and products.

The sliding windows are in ``receptive_windows``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lamina.inspector.count.native import native_kind, native_window
from lamina.inspector.count.operators import Operator
from lamina.inspector.receptive.field import Call, Field, Fields, Rule, Source, Span, merge
from lamina.inspector.receptive.windows import WINDOW_RULES, per_dim, slide

__all__ = ["record"]

_RULES: dict[str, Rule] = dict(WINDOW_RULES)


def _rule(*names: str) -> Callable[[Rule], Rule]:
    def register(rule: Rule) -> Rule:
        _RULES.update(dict.fromkeys(names, rule))
        return rule

    return register


def record(
    fields: Fields,
    func: Operator,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    results: Sequence[Tensor],
) -> None:
    """Give the results of an operator their fields.

    An operator without a rule is pointwise if its operands broadcast to the result; else every
    element of the result is taken to see all that any operand saw.
    """
    operands = [tensor for tensor in _flat(args) if fields.get(tensor) is not None]
    if not operands:
        return
    namespace, _, name = str(func.overloadpacket).partition(".")
    if torch.Tag.inplace_view in func.tags:
        name = name.removesuffix("_")
    rule = _native_rule(func, args) if namespace == "lamina" else _RULES.get(name)
    for index, result in enumerate(results):
        if rule is not None:
            field = rule(Call(fields, args, kwargs, index, result))
        else:
            field = _pointwise(fields, operands, result)
        if field is not None:
            fields.set(result, field)


def _native_rule(func: Operator, args: Sequence[Any]) -> Rule:
    """The rule of an operator of ours, whose first argument is what flows through."""
    window = native_window(func, args)
    if window is not None:
        before = (first for first, _ in window.padding)
        axes = list(zip(window.kernel_size, window.stride, before, window.dilation, strict=True))
        return lambda call: slide(call, axes, window.mixes_channels) if call.index == 0 else None
    kind = native_kind(func, args)
    return {
        "global_avg_pool2d": _over_image,
        "global_max_pool2d": _over_image,
        "dense": _product,
    }.get(kind or "", _same)


def _over_image(call: Call) -> Field | None:
    field = call.field()
    if field is None:
        return None
    kept = field.axes[:2] + (None,) * (call.out.dim() - 2)
    return Field(kept, field.without(range(2, len(field.axes)), call.shape()))


def _flat(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _flat(item)]
    return []


def _pointwise(fields: Fields, operands: Sequence[Tensor], out: Tensor) -> Field:
    axes: list[Source | None] = [None] * out.dim()
    known = [(fields.get(t), fields.shape(t)) for t in operands]
    pairs = [(field, shape) for field, shape in known if field is not None]
    for field, shape in pairs:
        offset = out.dim() - len(shape)
        for dim, source in enumerate(field.axes):
            place = dim + offset
            aligned = place >= 0 and shape[dim] == out.shape[place]
            if aligned and source is not None and axes[place] is None:
                axes[place] = source
    return merge(pairs, tuple(axes))


@_rule("mean", "sum", "amax", "amin", "var", "std", "var_mean", "max", "min", "logsumexp", "prod",
       "linalg_vector_norm", "norm", "argmax", "any", "all")  # fmt: skip
def _reduce(call: Call) -> Field | None:
    field = call.field()
    if field is None:
        return None
    rank = len(field.axes)
    dims = next((a for a in call.args[1:] if isinstance(a, int | list | tuple)), None)
    gone = range(rank) if dims is None or dims == [] else [d % rank for d in per_dim(dims, 1)]
    spans = field.without(gone, call.shape())
    kept = call.out.dim() == rank
    axes = [None if dim in gone else axis for dim, axis in enumerate(field.axes)]
    return Field(tuple(a for d, a in enumerate(axes) if kept or d not in gone), spans)


@_rule(
    "native_layer_norm", "native_group_norm", "_softmax", "_log_softmax", "cumsum", "flip", "roll"
)
def _mix(call: Call) -> Field | None:
    """Positions stay, but each now depends on all others."""
    field = call.field()
    if field is None:
        return None
    gone = [dim for dim in range(1, len(field.axes)) if call.shape()[dim] > 1]
    return Field(field.axes, field.without(gone, call.shape()))


@_rule(
    "native_batch_norm",
    "_native_batch_norm_legit",
    "_native_batch_norm_legit_no_training",
    "native_dropout",
    "_to_copy",
    "clone",
)
def _same(call: Call) -> Field | None:
    return call.field() if call.index == 0 else None


@_rule("permute")
def _permute(call: Call) -> Field | None:
    field = call.field()
    return field and replace(field, axes=tuple(field.axes[dim] for dim in call.args[1]))


@_rule("transpose", "t")
def _transpose(call: Call) -> Field | None:
    field = call.field()
    if field is None or len(field.axes) < 2:
        return field
    axes = list(field.axes)
    first, second = call.arg(1, "dim0", 0), call.arg(2, "dim1", 1)
    axes[first], axes[second] = axes[second], axes[first]
    return replace(field, axes=tuple(axes))


@_rule("view", "_unsafe_view", "reshape", "squeeze", "unsqueeze", "_reshape_copy", "expand")
def _reshape(call: Call) -> Field | None:
    """Dimensions that keep their size keep their axis; split and merged ones lose it."""
    field = call.field()
    if field is None:
        return None
    old, new = call.shape(), tuple(call.out.shape)
    axes: list[Source | None] = [None] * len(new)
    i = j = 0
    while i < len(old) and j < len(new):
        if old[i] == new[j]:
            axes[j] = field.axes[i]
            i, j = i + 1, j + 1
            continue
        # Grow the smaller side until both groups hold the same number of elements.
        left, right = old[i], new[j]
        i, j = i + 1, j + 1
        while left != right and (i < len(old) or j < len(new)):
            if (left < right and i < len(old)) or j >= len(new):
                left, i = left * old[i], i + 1
            else:
                right, j = right * new[j], j + 1
    return merge([(field, old)], tuple(axes))


@_rule("slice")
def _slice(call: Call) -> Field | None:
    field = call.field()
    if field is None:
        return None
    dim = call.arg(1, "dim", 0) % len(field.axes)
    size = call.shape()[dim]
    start = call.arg(2, "start") or 0
    start = max(0, start + size) if start < 0 else min(start, size)
    return _shift(field, dim, start, call.arg(4, "step", 1))


def _shift(field: Field, dim: int, start: float, stride: int = 1) -> Field:
    source = field.axes[dim]
    if source is None:
        return field
    span = field.spans[source]
    moved = Span(
        span.step * stride,
        span.low + start * span.step,
        span.high + start * span.step,
        span.windowed,
    )
    return replace(field, spans={**field.spans, source: moved})


@_rule("constant_pad_nd", "reflection_pad1d", "reflection_pad2d", "replication_pad2d")
def _pad(call: Call) -> Field | None:
    field = call.field()
    if field is not None:
        for place, before in enumerate(call.args[1][::2]):
            field = _shift(field, len(field.axes) - 1 - place, -before)
    return field


@_rule("cat")
def _cat(call: Call) -> Field | None:
    tensors = [t for t in call.args[0] if call.fields.get(t) is not None]
    pairs = [(call.fields.get(t), tuple(t.shape)) for t in tensors]
    known = [(field, shape) for field, shape in pairs if field is not None]
    dim = call.arg(1, "dim", 0) % call.out.dim()
    axes = list(known[0][0].axes)
    axes[dim] = None
    return merge(known, tuple(axes))


@_rule("split", "unsafe_split", "split_with_sizes")
def _split(call: Call) -> Field | None:
    field = call.field()
    if field is None:
        return None
    sizes = call.args[1]
    start = call.index * sizes if isinstance(sizes, int) else sum(sizes[: call.index])
    return _shift(field, call.arg(2, "dim", 0) % len(field.axes), start)


@_rule("mm", "bmm")
def _product(call: Call) -> Field | None:
    return _multiply(call, 0, 1)


@_rule("addmm", "baddbmm")
def _product_and_sum(call: Call) -> Field | None:
    return _multiply(call, 1, 2)


def _multiply(call: Call, left: int, right: int) -> Field | None:
    rank = call.out.dim()
    axes: list[Source | None] = [None] * rank
    known = []
    for position, kept in ((left, -2), (right, -1)):
        field = call.field(position)
        if field is not None:
            known.append((field, call.shape(position)))
            axes[kept] = field.axes[kept]
            if rank == 3:
                axes[0] = axes[0] or field.axes[0]
    return merge(known, tuple(axes)) if known else None


@_rule("_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention",
       "_scaled_dot_product_efficient_attention")  # fmt: skip
def _attention(call: Call) -> Field | None:
    if call.index:
        return None
    known = []
    axes: tuple[Source | None, ...] = (None,) * call.out.dim()
    for position in range(3):
        field = call.field(position)
        if field is None:
            continue
        if position == 0:
            axes = (*field.axes[:-1], None)
        else:  # a query meets every key
            rows = len(field.axes) - 2
            spans = field.without([rows], call.shape(position))
            field = Field((*field.axes[:rows], None, field.axes[-1]), spans)
        known.append((field, call.shape(position)))
    return merge(known, axes) if known else None
