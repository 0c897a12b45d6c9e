"""What lies around an image: Keras's rule for 'same', and zero padding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch.nn import functional as F

from lamina.interchange.from_keras.call import Call, layer, operation
from lamina.interchange.from_keras.constructor import constructor
from lamina.interchange.from_keras.value import Value, inverse

__all__ = ["padded"]

Pair = tuple[int, int]


def padded(
    call: Call,
    x: Value,
    kernel_size: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    padding: str,
    value: float = 0.0,
) -> tuple[Value, Pair | str]:
    """An image for a window of a layer, and the padding that the window itself has to add.

    Args:
        call: the layer's.
        x: the image, its axes those of torch.
        kernel_size: of the window, (height, width).
        stride: of the window.
        dilation: of the window.
        padding: Keras's, "valid" or "same".
        value: what the border holds.
    """
    if padding == "valid":
        return replace(x, border=(0, 0)), x.border
    if call.builder.flavour == "lamina":
        return x, "same"
    sizes = [*x.torch_shape[2:]] if call.once else [None, None]
    totals = [_total(*one) for one in zip(sizes, kernel_size, stride, dilation, strict=True)]
    if None in totals:
        call.note("changed", "same-stride", "a module pads by the size of each image")
        window = tuple(kernel_size), tuple(stride)
        options = {"dilation": (tuple(dilation), (1, 1)), "value": (value, 0.0)}
        return call.module(x, constructor("SamePad2d", *window, **options), "_pad"), (0, 0)
    (top, bottom), (left, right) = (
        (total // 2, total - total // 2) for total in totals if total is not None
    )
    if max(stride) > 1 and (top or bottom or left or right):
        sides = f"top {top}, bottom {bottom}, left {left}, right {right}"
        call.note("changed", "same-stride", f"for this size of the image it pads {sides}")
    if (top, left) == (bottom, right):
        return x, (top, left)
    border = (left, right, top, bottom)
    if value == 0:
        return call.module(x, constructor("ZeroPad2d", border), "_pad"), (0, 0)
    return call.module(x, constructor("ConstantPad2d", border, value), "_pad"), (0, 0)


def _total(size: int | None, taps: int, stride: int, dilation: int) -> int | None:
    """Pixels of border along an axis; None where they depend on a size that is not fixed."""
    extent = dilation * (taps - 1) + 1
    if stride == 1:
        return extent - 1
    if extent == 1:
        return 0
    return None if size is None else max((-(-size // stride) - 1) * stride + extent - size, 0)


@layer("ZeroPadding2D")
def _zero_padding2d(call: Call, x: Value) -> Value:
    (top, bottom), (left, right) = call.operation.padding
    x = call.image(x)
    if call.takes_border and (top, left) == (bottom, right):
        call.note("changed", "padding-order", "the convolution after it pads by itself")
        return replace(x, border=(top, left))
    return call.module(x, constructor("ZeroPad2d", (left, right, top, bottom)))


@operation("Pad")
def _pad(call: Call, x: Value, constant_values: float | None = None) -> Value:
    if call.operation.mode != "constant":
        call.refuse(f"it pads by mode {call.operation.mode!r}", "padding-mode")
    widths = [*call.operation.pad_width] * (x.rank if len(call.operation.pad_width) == 1 else 1)
    sides: list[int] = []
    for axis in inverse(x.axes)[::-1]:  # torch counts from the last axis
        sides += widths[axis]
    node = call.function(F.pad, x.node, sides, value=float(constant_values or 0.0))
    return replace(x, node=node, shape=call.shape)


@layer("Cropping2D")
def _cropping2d(call: Call, x: Value) -> Value:
    (top, bottom), (left, right) = call.operation.cropping
    # A negative border takes away, and takes no slices that depend on the size.
    return call.module(call.image(x), constructor("ZeroPad2d", (-left, -right, -top, -bottom)))
