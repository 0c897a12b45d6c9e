"""Batch, layer and group normalisation."""

from __future__ import annotations

import math
from typing import Any

from lamina.interchange.from_keras.call import Call, layer
from lamina.interchange.from_keras.constructor import constructor
from lamina.interchange.from_keras.value import Value

__all__: list[str] = []


@layer("BatchNormalization")
def _batch_normalization(call: Call, x: Value) -> Value:
    norm = call.operation
    if norm.renorm:
        call.refuse("renorm keeps statistics that torch.nn lacks", "renorm")
    if x.rank not in (2, 3, 4):
        call.refuse(f"torch.nn normalises inputs with 2, 3 or 4 axes, not {x.rank}")
    if call.training and not call.is_frozen:
        call.refuse("it is called with training=True, and would not know evaluation", "mode")
    axis = norm.axis % x.rank
    channels = x.shape[axis]
    if x.rank == 4 and axis != 1 and x.is_natural:
        call.note("changed", "norm-axis", f"it normalises axis {axis} of (N, C, H, W)")
    order, x = x.order, x if x.order else call.with_axis(x, axis, 1)
    kind = f"BatchNorm{2 if x.rank == 4 else 1}d"
    affine = norm.center or norm.scale
    if call.is_frozen:
        made_by = constructor(f"Frozen{kind}", channels, float(norm.epsilon), affine=(affine, True))
        call.note("changed", "freezing", "it stays in inference mode")
    else:
        momentum = _one_minus(norm.momentum)
        options: dict[str, tuple[Any, Any]] = {
            "eps": (float(norm.epsilon), 1e-5),
            "momentum": (momentum, 0.1),
            "affine": (affine, True),
            "bias": (norm.center or not affine, True),
        }
        call.note("changed", "momentum", f"momentum {norm.momentum:g} became {momentum:g}")
        if call.builder.flavour == "lamina":
            options["running_variance"] = ("biased", "unbiased")
        else:
            call.note("approximated", "biased-variance", "its variance moves by the unbiased one")
        made_by = constructor(kind, channels, **options)
    if getattr(norm, "synchronized", False):
        call.note("dropped", "synchronized", "its statistics are those of one process")
    y = call.module(x, made_by)
    for variable, entry in (
        (norm.gamma, "weight"),
        (norm.beta, "bias"),
        (norm.moving_mean, "running_mean"),
        (norm.moving_variance, "running_var"),
    ):
        if variable is not None:
            _features(call, variable, entry, order)
    _fill_what_keras_lacks(call)
    return y


def _one_minus(momentum: float) -> float:
    """Torch's momentum, as a person would write it: 0.01 and not 0.010000000000000009."""
    return round(1 - momentum, 12)


def _features(
    call: Call,
    variable: Any,  # noqa: ANN401 - a Keras variable
    entry: str,
    order: tuple[int, int, int] | None,
) -> None:
    """A number per channel; where the channels are a flattened image, in torch's order."""
    if order:
        call.weight(variable, entry, (2, 0, 1), split=order, shape=(math.prod(order),))
    else:
        call.weight(variable, entry)


def _fill_what_keras_lacks(call: Call) -> None:
    """A scale or a shift that Keras has not, and the torch module cannot go without."""
    norm = call.operation
    module = call.builder.root.get_submodule(call.builder.attribute(call.path))
    for variable, entry, value in ((norm.gamma, "weight", 1.0), (norm.beta, "bias", 0.0)):
        if variable is None and getattr(module, entry, None) is not None:
            call.constant(entry, value)
            call.note("changed", "center-scale", f"its missing {entry} is {value:g}, not trained")


@layer("LayerNormalization")
def _layer_normalization(call: Call, x: Value) -> Value:
    norm = call.operation
    if norm.rms_scaling:
        call.refuse("rms_scaling divides by the variance's root and keeps the mean")
    axes = sorted(axis % x.rank for axis in norm.axis)
    order = x.order
    if axes == list(range(x.rank - len(axes), x.rank)):
        x = x if order else call.with_axis(x, -1, -1) if len(axes) == 1 else call.natural(x)
    elif len(axes) == 1:
        x = call.with_axis(x, axes[0], -1)
    else:
        call.refuse(f"it normalises the axes {axes}, and torch.nn the last ones alone")
    sizes = tuple(x.shape[axis] for axis in axes)
    affine = norm.center or norm.scale
    y = call.module(
        x,
        constructor(
            "LayerNorm",
            sizes[0] if len(sizes) == 1 else sizes,
            eps=(float(norm.epsilon), 1e-5),
            elementwise_affine=(affine, True),
            bias=(norm.center or not affine, True),
        ),
    )
    for variable, entry in ((norm.gamma, "weight"), (norm.beta, "bias")):
        if variable is not None:
            _features(call, variable, entry, order)
    _fill_what_keras_lacks(call)
    return y


@layer("GroupNormalization")
def _group_normalization(call: Call, x: Value) -> Value:
    norm = call.operation
    x = call.with_axis(x, norm.axis, 1)
    affine = norm.center or norm.scale
    channels = x.shape[norm.axis]
    y = call.module(
        x,
        constructor(
            "GroupNorm",
            int(norm.groups),
            channels,
            eps=(float(norm.epsilon), 1e-5),
            affine=(affine, True),
        ),
    )
    for variable, entry in ((norm.gamma, "weight"), (norm.beta, "bias")):
        if variable is not None:
            call.weight(variable, entry)
    _fill_what_keras_lacks(call)
    return y


@layer("RMSNormalization")
def _rms_normalization(call: Call, x: Value) -> Value:
    norm = call.operation
    axes = norm.axis if isinstance(norm.axis, list | tuple) else [norm.axis]
    if len(axes) != 1:
        call.refuse(f"it normalises the axes {[*axes]} together")
    x = call.with_axis(x, axes[0], -1)
    y = call.module(x, constructor("RMSNorm", x.shape[axes[0]], eps=(float(norm.epsilon), None)))
    call.weight(norm.scale, "weight")
    return y


@layer("LayerScale")
def _layer_scale(call: Call, x: Value) -> Value:
    x = call.with_axis(x, -1, -1)
    y = call.module(x, constructor("Scale", (int(call.operation.gamma.shape[0]),)))
    call.weight(call.operation.gamma, "weight")
    return y
