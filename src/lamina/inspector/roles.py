"""What a layer does in this model, in one sentence made of this model's numbers."""

from __future__ import annotations

from math import prod

from lamina.inspector.count.facts import Fact, times
from lamina.report.records import Row

__all__ = ["describe_roles"]

_NOTEWORTHY = 0.10  # a tenth of the whole is worth a word


def describe_roles(rows: list[Row], facts: list[list[Fact]], training: bool) -> None:
    """Write the ``role`` of every row; ``facts`` holds what the operators of each row are."""
    parameters = sum(row.parameters + row.frozen for row in rows) or 1
    macs = sum(row.forward.macs for row in rows) or 1
    for position, row in enumerate(rows):
        if row.call is None:
            continue
        parts = _what(row, facts[position] if position < len(facts) else [], training)
        if row.receptive_field and row.kind.rstrip("123d").endswith(("conv", "pool", "transpose")):
            parts.append(f"each output sees {times(row.receptive_field)} pixels of the input")
        held, work = (row.parameters + row.frozen) / parameters, row.forward.macs / macs
        if held >= _NOTEWORTHY:
            parts.append(f"holds {held:.0%} of all parameters")
        if work >= _NOTEWORTHY:
            parts.append(f"does {work:.0%} of all multiply-accumulates")
        row.role = "; ".join(part for part in parts if part)


def _what(row: Row, facts: list[Fact], training: bool) -> list[str]:
    first = facts[0] if facts else None
    if row.kind == "container":
        return [f"calls {_path(row)}"] if not row.input_shapes else [_change(row)]
    if first is not None and row.kind.startswith("batch_norm"):
        values = prod(first.input_shape) // max(1, first.input_shape[1])
        if first.training:
            return [f"normalises {first.input_shape[1]} channels over {values:,} values each"]
        return [f"scales and shifts {first.input_shape[1]} channels by their running statistics"]
    if first is not None and row.kind == first.kind and "conv" in row.kind:
        return [_size_change(first), _channel_change(first)]
    if first is not None and row.kind == first.kind and "pool" in row.kind:
        return [_size_change(first), f"keeps {first.output_shape[1]} channels"]
    return [_by_kind(row, training)]


def _path(row: Row) -> str:
    return row.name or "the whole model"


def _change(row: Row) -> str:
    if not row.output_shapes:
        return ""
    before, after = row.input_shapes[0], row.output_shapes[0]
    if before == after:
        return f"keeps the shape {times(after)}"
    return f"turns {times(before)} into {times(after)}"


def _size_change(fact: Fact) -> str:
    before, after = fact.input_shape[2:], fact.output_shape[2:]
    if before == after:
        return f"keeps {times(after)}" + (" pixels" if len(after) == 2 else "")
    if after and max(after) == 1:
        return f"reduces each map of {times(before)} to one value"
    if len(after) == 2 and all(
        b in (2 * a, 2 * a - 1, 2 * a + 1) for b, a in zip(before, after, strict=True)
    ):
        return "halves height and width"
    return f"turns {times(before)} into {times(after)}"


def _channel_change(fact: Fact) -> str:
    before, after = fact.input_shape[1], fact.output_shape[1]
    if fact.kind.startswith("depthwise") and before == after:
        return f"filters each of {after} channels alone"
    if before == after:
        return f"mixes and keeps {after} channels"
    return f"turns {before} channels into {after}"


def _by_kind(row: Row, training: bool) -> str:
    values = prod(row.output_shapes[0]) if row.output_shapes else 0
    before = row.input_shapes[0] if row.input_shapes else ()
    after = row.output_shapes[0] if row.output_shapes else ()
    match row.kind:
        case "dense":
            return f"maps {before[-1] if before else 0} features to {after[-1] if after else 0}"
        case "activation":
            return f"applies {row.settings or 'an activation'} to {values:,} values"
        case "add" | "iadd" | "add_":
            return f"adds two branches of {times(after)}" if len(row.input_shapes) > 1 else "adds"
        case "mul" | "imul":
            return f"scales {times(before)} by another branch" if len(row.input_shapes) > 1 else ""
        case "cat" | "concat" | "concatenate":
            return f"joins {len(row.input_shapes)} branches into {times(after)}"
        case "dropout" | "dropout2d" | "alpha_dropout" | "spatial_dropout2_d":
            if training:
                return f"drops part of {values:,} values at random"
            return "passes everything on (it drops in training only)"
        case "flatten" | "view" | "reshape":
            return f"lays {times(before)} out as {times(after)}"
        case "attention":
            return f"lets each of {before[-2] if len(before) > 1 else 1} positions attend to all"
    return _change(row) if before and after else ""
