"""Convolutions and dense layers."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

from lamina.interchange.from_keras.call import Call, layer
from lamina.interchange.from_keras.constructor import constructor
from lamina.interchange.from_keras.rules.activation import activated
from lamina.interchange.from_keras.rules.padding import padded
from lamina.interchange.from_keras.value import Value

__all__: list[str] = []


@layer("Conv2D", "PointwiseConv2D")
def _conv2d(call: Call, x: Value) -> Value:
    conv = call.operation
    height, width, inputs, outputs = _kernel(call, conv.kernel)
    y = _convolved(call, x, inputs * conv.groups, outputs, (height, width), conv.groups)
    call.weight(conv.kernel, "weight", (3, 2, 0, 1))
    _bias(call)
    return activated(call, y)


@layer("DepthwiseConv2D")
def _depthwise_conv2d(call: Call, x: Value) -> Value:
    height, width, channels, multiplier = _kernel(call, call.operation.kernel)
    y = _convolved(call, x, channels, channels * multiplier, (height, width), channels)
    _depthwise_weight(call, call.operation.kernel)
    _bias(call)
    return activated(call, y)


@layer("SeparableConv2D")
def _separable_conv2d(call: Call, x: Value) -> Value:
    conv = call.operation
    height, width, channels, multiplier = _kernel(call, conv.depthwise_kernel)
    between, outputs = channels * multiplier, int(conv.pointwise_kernel.shape[-1])
    y = _convolved(
        call, x, channels, between, (height, width), channels, bias=False, part=".depthwise"
    )
    _depthwise_weight(call, conv.depthwise_kernel, ".depthwise")
    pointwise = constructor("Conv2d", between, outputs, 1, bias=(conv.use_bias, True))
    y = call.module(y, pointwise, ".pointwise")
    call.weight(conv.pointwise_kernel, "weight", (3, 2, 0, 1), part=".pointwise")
    _bias(call, ".pointwise")
    return activated(call, y)


@layer("Conv2DTranspose")
def _conv2d_transpose(call: Call, x: Value) -> Value:
    conv = call.operation
    height, width, outputs, inputs = _kernel(call, conv.kernel)
    padding, beyond, excess = [], [], []
    for axis, size in enumerate((height, width)):
        stride, dilation = conv.strides[axis], conv.dilation_rate[axis]
        extent = dilation * (size - 1) + 1
        given = None if conv.output_padding is None else conv.output_padding[axis]
        # What Keras cuts off the full output, (n - 1) * stride + extent; negative where it adds.
        if conv.padding == "valid":
            cut = min(extent - stride, 0) if given is None else -given
        else:
            cut = extent - stride if given is None else extent - extent % 2 - given
        before = max(cut, 0) // 2
        padding.append(before)
        beyond.append(max(-cut, 0))
        excess.append(max(cut, 0) - 2 * before)
        if beyond[-1] >= max(stride, dilation):
            call.refuse(
                f"torch adds less than a stride to the output, and it asks for {beyond[-1]}",
                "transposed-weight",
            )
    x = call.image(x)
    y = call.module(
        x,
        constructor(
            "ConvTranspose2d",
            inputs,
            outputs,
            (height, width),
            stride=(tuple(conv.strides), 1),
            padding=(tuple(padding), 0),
            output_padding=(tuple(beyond), 0),
            bias=(conv.use_bias, True),
            dilation=(tuple(conv.dilation_rate), 1),
        ),
    )
    call.weight(conv.kernel, "weight", (3, 2, 0, 1))
    _bias(call)
    if any(excess):
        call.note("changed", "transposed-weight", "its last row or column is cut off afterwards")
        cut_off = tuple(slice(None, -one if one else None) for one in excess)
        node = call.function(operator.getitem, y.node, (slice(None), slice(None), *cut_off))
        y = replace(y, node=node)
    return activated(call, y)


@layer("Dense")
def _dense(call: Call, x: Value) -> Value:
    dense = call.operation
    inputs, outputs = _kernel(call, dense.kernel)
    order, x = x.order, replace(call.with_axis(x, -1, -1), order=None)
    linear = constructor("Linear", inputs, outputs, bias=(dense.use_bias, True))
    y = call.module(x, linear)
    if order:
        call.weight(
            dense.kernel, "weight", (3, 2, 0, 1), split=(*order, outputs), shape=(outputs, inputs)
        )
        call.note("changed", "flatten", "its inputs are in the order of (C, H, W)")
    else:
        call.weight(dense.kernel, "weight", (1, 0))
    _bias(call)
    return activated(call, y)


@layer("Embedding")
def _embedding(call: Call, x: Value) -> Value:
    embedding = call.operation
    if embedding.mask_zero:
        call.refuse("it masks what comes after, and torch.nn has no masks")
    count, size = _kernel(call, embedding.embeddings)
    x = call.natural(x)
    y = call.module(x, constructor("Embedding", count, size))
    call.weight(embedding.embeddings, "weight")
    return replace(y, axes=(*y.axes, x.rank))


def _convolved(
    call: Call,
    x: Value,
    inputs: int,
    outputs: int,
    kernel_size: tuple[int, int],
    groups: int,
    *,
    bias: bool | None = None,
    part: str = "",
) -> Value:
    conv = call.operation
    stride, dilation = tuple(conv.strides), tuple(conv.dilation_rate)
    x, padding = padded(call, call.image(x), kernel_size, stride, dilation, conv.padding)
    options: dict[str, tuple[Any, Any]] = {
        "stride": (stride, 1),
        "padding": (padding, 0),
        "dilation": (dilation, 1),
        "bias": (conv.use_bias if bias is None else bias, True),
    }
    if call.kind in ("DepthwiseConv2D", "SeparableConv2D") and call.builder.flavour == "lamina":
        options["depth_multiplier"] = outputs // inputs, 1
        return call.module(x, constructor("DepthwiseConv2d", inputs, kernel_size, **options), part)
    options["groups"] = groups, 1
    return call.module(x, constructor("Conv2d", inputs, outputs, kernel_size, **options), part)


def _kernel(call: Call, kernel: Any) -> tuple[int, ...]:  # noqa: ANN401 - a Keras variable
    """Its sizes; raise where it is no plain weight."""
    held = call.operation
    if getattr(held, "lora_enabled", False) or getattr(held, "quantization_mode", None):
        call.refuse("its kernel is quantised or adapted; cross the model as it was before")
    return tuple(int(size) for size in kernel.shape)


def _depthwise_weight(call: Call, kernel: Any, part: str = "") -> None:  # noqa: ANN401
    height, width, channels, multiplier = kernel.shape
    shape = (channels * multiplier, 1, height, width)
    call.weight(kernel, "weight", (2, 3, 0, 1), shape=shape, part=part)


def _bias(call: Call, part: str = "") -> None:
    if call.operation.use_bias:
        call.weight(call.operation.bias, "bias", part=part)
