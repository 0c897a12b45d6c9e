"""Pooling over windows, over the whole image, and to a given size."""

from __future__ import annotations

from dataclasses import replace

from lamina.interchange.from_keras.call import Call, layer
from lamina.interchange.from_keras.constructor import constructor
from lamina.interchange.from_keras.rules.padding import padded
from lamina.interchange.from_keras.value import Value

__all__: list[str] = []


@layer("MaxPooling2D")
def _max_pooling2d(call: Call, x: Value) -> Value:
    pool = call.operation
    window, stride = tuple(pool.pool_size), tuple(pool.strides)
    x, padding = padded(
        call, call.image(x), window, stride, (1, 1), pool.padding, value=float("-inf")
    )
    if not isinstance(padding, str) and any(
        2 * side > taps for side, taps in zip(padding, window, strict=True)
    ):
        call.refuse(f"torch.nn pads at most half of the window, not {padding}", "max-padding")
    made_by = constructor("MaxPool2d", window, stride=(stride, window), padding=(padding, 0))
    return call.module(x, made_by)


@layer("AveragePooling2D")
def _average_pooling2d(call: Call, x: Value) -> Value:
    pool = call.operation
    window, stride = tuple(pool.pool_size), tuple(pool.strides)
    x = call.image(x)
    if pool.padding == "valid":
        return call.module(x, constructor("AvgPool2d", window, stride=(stride, window)))
    if call.builder.flavour == "lamina":
        options = {"padding": ("same", 0), "count_include_pad": (False, True)}
        return call.module(x, constructor("AvgPool2d", window, stride=(stride, window), **options))
    if stride == (1, 1) and all(taps % 2 for taps in window):
        call.note("changed", "average-border", "its border is not counted")
        options = {
            "padding": (tuple(taps // 2 for taps in window), 0),
            "count_include_pad": (False, True),
        }
        return call.module(x, constructor("AvgPool2d", window, stride=(stride, window), **options))
    call.note("changed", "average-same", "a module pads by the size, and does not count that")
    return call.module(x, constructor("SameAvgPool2d", window, stride))


@layer("GlobalAveragePooling2D")
def _global_average_pooling2d(call: Call, x: Value) -> Value:
    return _global(call, x, "mean", "Avg")


@layer("GlobalMaxPooling2D")
def _global_max_pooling2d(call: Call, x: Value) -> Value:
    return _global(call, x, "amax", "Max")


def _global(call: Call, x: Value, method: str, kind: str) -> Value:
    x, keepdims = call.image(x), call.operation.keepdims
    if call.builder.flavour == "lamina":
        y = call.module(x, constructor(f"Global{kind}Pool2d", keepdims=(keepdims, True)))
    elif keepdims:
        y = call.module(x, constructor(f"Adaptive{kind}Pool2d", 1))
    else:
        y = replace(x, node=call.method(method, x, (2, 3)))
    return y if keepdims else replace(y, shape=call.shape, axes=(0, 1))


@layer("AdaptiveAveragePooling2D")
def _adaptive_average_pooling2d(call: Call, x: Value) -> Value:
    size = tuple(call.operation.output_size)
    return call.module(call.image(x), constructor("AdaptiveAvgPool2d", size))


@layer("AdaptiveMaxPooling2D")
def _adaptive_max_pooling2d(call: Call, x: Value) -> Value:
    size = tuple(call.operation.output_size)
    return call.module(call.image(x), constructor("AdaptiveMaxPool2d", size))
