"""Convolutions and dense layers.

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), for the
sizes and the padding of both directions.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lamina.interchange.from_torch.builder import LayerWeight, Weight
from lamina.interchange.from_torch.call import Call, Rule, pair, short
from lamina.interchange.from_torch.value import Value

__all__ = ["RULES"]


def _convolution(call: Call) -> Value:
    kernel: Weight = call["weight"]
    if not isinstance(kernel, Weight):
        call.refuse("a kernel that is computed", "unsupported")
    rank = kernel.tensor.dim() - 2
    if rank not in (1, 2) or call.value("input").rank != rank + 2:
        call.refuse(f"a convolution over {rank} axes", "unsupported")
    axes = (0, *range(2, rank + 2), 1)
    x = call.build.arranged(call.value("input"), axes)
    outputs, _, *size = kernel.tensor.shape
    stride = pair(call["stride"], rank)
    dilation = tuple(
        d if k > 1 else 1 for d, k in zip(pair(call["dilation"], rank), size, strict=True)
    )
    channels, groups = int(x.shape[1]), int(call["groups"])
    depthwise = groups == channels > 1 and rank == 2
    if depthwise and len(set(stride)) > 1:
        # TensorFlow's depthwise kernel wants equal strides; its grouped one does not.
        depthwise = False
        call.build.note("changed", "unequal-strides", f"strides {stride} as a grouped convolution")
    tensor, padding = _padded(call, x.tensor, tuple(size), stride, dilation)
    jump: tuple[int, ...] = (1,) * rank
    if max(stride) > 1 and max(dilation) > 1 and not depthwise:
        stride, jump = jump, stride
        call.build.note(
            "changed", "stride-dilation", f"stride {short(jump)} as a slice of all of its results"
        )
    common: dict[str, Any] = {
        "strides": short(stride),
        "padding": padding,
        "dilation_rate": short(dilation),
        "use_bias": call["bias"] is not None,
    }
    spatial = tuple(range(rank))
    if depthwise:
        multiplier = outputs // channels
        tensor = call.build.layer(
            "DepthwiseConv2D",
            short(size),
            depth_multiplier=multiplier,
            **common,
            on=tensor,
            weights=[
                LayerWeight("kernel", kernel, (*size, channels, multiplier), (2, 3, 0, 1)),
                *_bias(call),
            ],
        )
    else:
        split = (*size, channels // groups, outputs)
        tensor = call.build.layer(
            f"Conv{rank}D",
            outputs,
            short(size),
            groups=groups,
            **common,
            on=tensor,
            weights=[
                LayerWeight("kernel", kernel, split, (rank + 1, rank, *spatial)),
                *_bias(call),
            ],
        )
    if max(jump) > 1:
        steps = tuple(slice(None, None, step if step > 1 else None) for step in jump)
        tensor = call.build.index(tensor, (slice(None), *steps))
    return Value(tensor, call.shape, axes)


def _padded(
    call: Call,
    tensor: Any,  # noqa: ANN401
    size: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
) -> tuple[Any, str]:
    """The input with the zeros that Keras's own padding would not add, and that padding."""
    rank = len(size)
    spans = [d * (k - 1) for k, d in zip(size, dilation, strict=True)]
    if isinstance(call["padding"], str):
        if call["padding"] == "valid" or not any(spans):
            return tensor, "valid"
        return tensor, "same"  # PyTorch, too, has the odd pixel at the end
    zeros = pair(call["padding"], rank)
    if not any(zeros):
        return tensor, "valid"
    if max(stride) == 1 and all(2 * p == span for p, span in zip(zeros, spans, strict=True)):
        return tensor, "same"
    if max(stride) > 1:
        call.build.note(
            "changed", "same-stride", f"padding {short(zeros)} as a layer of its own in front"
        )
    return call.build.layer(f"ZeroPadding{rank}D", short(zeros), on=tensor, part="pad"), "valid"


def _bias(call: Call) -> list[LayerWeight]:
    bias = call["bias"]
    return [] if bias is None else [LayerWeight("bias", bias, tuple(bias.tensor.shape), (0,))]


def _transposed_convolution(call: Call) -> Value:
    kernel: Weight = call["weight"]
    if not isinstance(kernel, Weight):
        call.refuse("a kernel that is computed", "unsupported")
    rank = kernel.tensor.dim() - 2
    if rank not in (1, 2) or call.value("input").rank != rank + 2:
        call.refuse(f"a transposed convolution over {rank} axes", "unsupported")
    inputs, outputs, *size = kernel.tensor.shape
    dilation = pair(call["dilation"], rank)
    if call["groups"] != 1 or max(dilation) > 1:
        call.refuse(
            f"{call['groups']} groups and dilation {short(dilation)} of a transposed convolution",
            "unsupported",
        )
    axes = (0, *range(2, rank + 2), 1)
    x = call.build.arranged(call.value("input"), axes)
    stride = pair(call["stride"], rank)
    start = pair(call["padding"], rank)
    extra = pair(call["output_padding"], rank)
    end = tuple(p - o for p, o in zip(start, extra, strict=True))  # what is cut off there
    if all(
        k >= s and (a, b) == ((k - s) // 2, k - s - (k - s) // 2)
        for k, s, a, b in zip(size, stride, start, end, strict=True)
    ):
        window: dict[str, Any] = {"padding": "same" if any(start) or any(end) else "valid"}
        cut = [(0, 0)] * rank
    else:
        # Keras's valid result has max(k, s) pixels behind the last window's start.
        more = [max(-b, 0) for b in end]
        told = any(b < 0 or s > k for b, s, k in zip(end, stride, size, strict=True))
        window = {"output_padding": short(more) if told else None}
        cut = [(a, b + m) for a, b, m in zip(start, end, more, strict=True)]
        call.build.note(
            "changed", "transposed-weight", f"padding {short(start)} as what is cut off behind"
        )
    tensor = call.build.layer(
        f"Conv{rank}DTranspose",
        outputs,
        short(size),
        strides=short(stride),
        use_bias=call["bias"] is not None,
        **window,
        on=x.tensor,
        weights=[
            LayerWeight(
                "kernel",
                kernel,
                (*size, outputs, inputs),
                (rank + 1, rank, *range(rank)),
            ),
            *_bias(call),
        ],
    )
    if any(map(any, cut)):
        sides = tuple(cut) if rank == 2 else cut[0]
        tensor = call.build.layer(f"Cropping{rank}D", sides, on=tensor, part="crop")
    return Value(tensor, call.shape, axes)


def _linear(call: Call) -> Value:
    kernel: Weight = call["weight"]
    if not isinstance(kernel, Weight):
        call.refuse("a matrix that is computed", "unsupported")
    x = call.value("input")
    if x.rank < 2:
        call.refuse("a linear layer on a vector without a batch", "unsupported")
    outputs, inputs = kernel.tensor.shape
    flattened = x.features is not None and x.rank == 2 and x.axes == (0, 1)
    in_place = x.axes[-1] == x.rank - 1 and x.features is None and x.expanded is None
    if not flattened and not in_place:
        x = call.build.arranged(x, _with_last(x))
    if flattened:
        assert x.features is not None
        rows, order = x.features.sizes, x.features.axes
        call.build.note(
            "changed", "flatten", f"rows of the kernel from channels first to {rows} of an image"
        )
    else:
        rows, order = (inputs,), (0,)
    tensor = call.build.layer(
        "Dense",
        outputs,
        use_bias=call["bias"] is not None,
        on=x.tensor,
        weights=[
            LayerWeight("kernel", kernel, (*rows, outputs), (len(rows), *order)),
            *_bias(call),
        ],
    )
    return replace(x, tensor=tensor, shape=call.shape, features=None, is_nonnegative=False)


def _with_last(x: Value) -> tuple[int, ...]:
    """Keras's order as it is, but with torch's last axis at the end."""
    if len(x.axes) < x.rank:
        return tuple(range(x.rank))
    return (*(axis for axis in x.axes if axis != x.rank - 1), x.rank - 1)


RULES: dict[str, Rule] = {
    "conv1d": _convolution,
    "conv2d": _convolution,
    "conv3d": _convolution,
    "conv_transpose1d": _transposed_convolution,
    "conv_transpose2d": _transposed_convolution,
    "linear": _linear,
}
