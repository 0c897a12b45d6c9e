"""Normalisations."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from lamina.interchange.from_torch.builder import LayerWeight
from lamina.interchange.from_torch.call import Call, Rule, short
from lamina.interchange.from_torch.value import Value

__all__ = ["RULES"]


def _batch_norm(call: Call) -> Value:
    if call["running_mean"] is None or getattr(call.module, "momentum", 0.0) is None:
        call.refuse("batch normalisation without running statistics or momentum", "cumulative")
    if call["training"]:
        call.refuse("batch normalisation by the batch in evaluation, too,", "cumulative")
    build, momentum = call.build, float(call["momentum"])
    x = build.expanded(call.value("input"))
    if 1 not in x.axes:  # a single channel that has no axis yet
        x = build.arranged(x)
    if x.features is not None:
        split, axes, place = x.features.sizes, x.features.axes, x.axes.index(1)
    else:
        split, axes, place = (int(x.shape[1]),), (0,), x.axes.index(1)
    if momentum != 0.01:
        build.note("changed", "momentum", f"momentum {momentum:g} became {_kept(momentum):g}")
    if getattr(call.module, "running_variance", "unbiased") == "unbiased":
        build.note(
            "approximated", "biased-variance", "further training moves the variance by biased ones"
        )
    weights = [
        LayerWeight(variable, call[name], split, axes)
        for variable, name in (
            ("gamma", "weight"),
            ("beta", "bias"),
            ("moving_mean", "running_mean"),
            ("moving_variance", "running_var"),
        )
        if call[name] is not None
    ]
    parameters = [w.weight for w in weights if w.weight.is_parameter]
    if parameters and not any(weight.is_trainable for weight in parameters):
        build.note("approximated", "freezing", "frozen, so its statistics move no more either")
    tensor = build.layer(
        "BatchNormalization",
        axis=-1 if place == len(x.axes) - 1 else place,
        momentum=_kept(momentum),
        epsilon=call["eps"],
        center=call["bias"] is not None,
        scale=call["weight"] is not None,
        on=x.tensor,
        weights=weights,
    )
    return replace(x, tensor=tensor, is_nonnegative=False)


def _kept(momentum: float) -> float:
    """Keras's momentum: 0.9 of 0.1, not 0.9000000000000000222."""
    return round(1 - momentum, 12)


def _layer_norm(call: Call) -> Value:
    x = call.build.expanded(call.build.in_order(call.value("input")))
    normalized = range(x.rank - len(call["normalized_shape"]), x.rank)
    if any(axis not in x.axes for axis in normalized):
        x = call.build.arranged(x)
    places = [place for place, axis in enumerate(x.axes) if axis in normalized]
    first = normalized[0]
    # Keras keeps the weights in the order of its own axes.
    split = tuple(int(x.shape[x.axes[place]]) for place in places)
    axes = tuple(
        [x.axes[place] - first for place in places].index(axis) for axis in range(len(places))
    )
    _note_epsilon(call)
    last = len(places) == 1 and places[0] == len(x.axes) - 1
    tensor = call.build.layer(
        "LayerNormalization",
        axis=-1 if last else short(places) if len(places) == 1 else places,
        epsilon=call["eps"],
        center=call["bias"] is not None,
        scale=call["weight"] is not None,
        on=x.tensor,
        weights=_scale_and_shift(call, split, axes),
    )
    return replace(x, tensor=tensor, is_nonnegative=False)


def _group_norm(call: Call) -> Value:
    return _in_groups(call, int(call["num_groups"]))


def _instance_norm(call: Call) -> Value:
    if not call["use_input_stats"]:
        call.refuse("instance normalisation by running statistics", "cumulative")
    return _in_groups(call, int(call.value("input").shape[1]))


def _in_groups(call: Call, groups: int) -> Value:
    x = call.value("input")
    axes = (0, *range(2, x.rank), 1)
    x = call.build.arranged(x, axes)
    if any(not isinstance(size, int) for size in x.shape[1:]) or math.prod(x.shape[1:]) == 0:
        call.refuse("normalisation of an image of unknown size", "unsupported")
    _note_epsilon(call)
    tensor = call.build.layer(
        "GroupNormalization",
        groups,
        epsilon=call["eps"],
        center=call["bias"] is not None,
        scale=call["weight"] is not None,
        on=x.tensor,
        weights=_scale_and_shift(call, (int(x.shape[1]),), (0,)),
    )
    return replace(x, tensor=tensor, is_nonnegative=False)


def _note_epsilon(call: Call) -> None:
    if call["eps"] != 1e-3:
        call.build.note(
            "changed", "group-epsilon", f"epsilon {call['eps']:g} in the place of 0.001"
        )


def _scale_and_shift(call: Call, split: Sequence[int], axes: Sequence[int]) -> list[LayerWeight]:
    return [
        LayerWeight(variable, call[name], tuple(split), tuple(axes))
        for variable, name in (("gamma", "weight"), ("beta", "bias"))
        if call[name] is not None
    ]


RULES: dict[str, Rule] = {
    "batch_norm": _batch_norm,
    "group_norm": _group_norm,
    "instance_norm": _instance_norm,
    "layer_norm": _layer_norm,
}
