"""Padding and resizing of images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from lamina.interchange.from_torch.call import Call, Rule
from lamina.interchange.from_torch.value import Size, Value

__all__ = ["RULES"]

Sides = list[tuple[int, int]]
"""Elements in front and behind, for each of torch's axes; below 0 they are cut off."""


def _pad(call: Call) -> Value:
    amounts = list(call["pad"])
    if any(not isinstance(amount, int) for amount in amounts):
        call.refuse("padding that depends on the image's size", "same-stride")
    x = call.build.arranged(call.value())
    pairs = list(zip(amounts[::2], amounts[1::2], strict=True))
    sides: Sides = [(0, 0)] * (x.rank - len(pairs)) + pairs[::-1]
    if sides[0] != (0, 0):
        call.refuse("padding of the batch", "padding-order")
    if not any(amounts):
        return x
    mode = call.get("mode", "constant")
    value = call.get("value")
    if mode == "constant":
        return _with_constant(call, x, sides, 0.0 if value is None else float(value))
    if min(amounts) < 0 or mode == "circular":
        call.refuse(f"padding with mode {mode!r}", "padding-mode")
    call.build.note("changed", "padding-mode", f"{mode} padding by an operation")
    if mode == "reflect":
        return _by_operation(call, x, sides, "reflect")
    # Keras's "symmetric" repeats the last pixel, then the one before it: one pixel at a time is
    # what torch's "replicate" is.
    while any(map(any, sides)):
        x = _by_operation(call, x, [(min(a, 1), min(b, 1)) for a, b in sides], "symmetric")
        sides = [(max(a - 1, 0), max(b - 1, 0)) for a, b in sides]
    return x


def _with_constant(call: Call, x: Value, sides: Sides, value: float) -> Value:
    cut: Sides = [(max(-a, 0), max(-b, 0)) for a, b in sides]
    if any(map(any, cut)):
        index = tuple(
            slice(a or None, -b if b else None)
            for axis, (a, b) in ((axis, cut[axis]) for axis in x.axes)
        )
        x = _padded(x, call.build.index(x.tensor, index), [(-a, -b) for a, b in cut])
    more: Sides = [(max(a, 0), max(b, 0)) for a, b in sides]
    if not any(map(any, more)):
        return x
    rank = x.rank - 2
    if value != 0 or any(more[1]) or rank not in (1, 2) or x.axes[-1] != 1:
        return _by_operation(call, x, more, "constant", constant_values=value)
    ends = more[2:]
    amount: Any = ends[0] if rank == 1 else tuple(ends)
    if rank == 2 and len({end for both in ends for end in both}) == 1:
        amount = ends[0][0]
    call.build.note("changed", "padding-order", "(left, right, top, bottom) as pairs of rows first")
    tensor = call.build.layer(f"ZeroPadding{rank}D", amount, on=x.tensor)
    return _padded(x, tensor, more)


def _by_operation(call: Call, x: Value, sides: Sides, mode: str, **keywords: Any) -> Value:
    widths = tuple(sides[axis] for axis in x.axes)
    positive = keywords.get("constant_values", 0) >= 0
    if mode != "constant":
        keywords["mode"] = mode
    return _padded(x, call.build.op("pad", x.tensor, widths, **keywords), sides, positive)


def _padded(x: Value, tensor: Any, sides: Sides, is_nonnegative: bool = True) -> Value:  # noqa: ANN401
    shape = tuple(
        size if both == (0, 0) else size + sum(both)
        for size, both in zip(x.shape, sides, strict=True)
    )
    return replace(
        x, tensor=tensor, shape=shape, is_nonnegative=is_nonnegative and x.is_nonnegative
    )


# ---- resizing -----------------------------------------------------------------------------------


def _resize(call: Call) -> Value:
    method = "nearest" if "nearest" in call.what else "bilinear"
    x = call.build.arranged(call.value())
    sizes, results = list(x.shape[2:]), list(call.shape[2:])
    if x.rank != 4:
        call.refuse("resizing along one axis", "interpolation")
    if sizes == results:
        return x
    if method == "bilinear" and call["align_corners"] and sizes != [1, 1]:
        call.refuse("align_corners=True", "interpolation")
    factors = call.get("scale_factors")
    times = _whole(sizes, results, factors)
    if times:
        tensor = call.build.layer("UpSampling2D", times, interpolation=method, on=x.tensor)
        return replace(x, tensor=tensor, shape=call.shape)
    sizes, results = [int(size) for size in sizes], [int(size) for size in results]
    if factors and any(
        size * factor != result
        for size, factor, result in zip(sizes, factors, results, strict=True)
    ):
        call.refuse(f"a scale of {factors} that {sizes} pixels do not fit", "interpolation")
    if method == "bilinear":
        tensor = call.build.layer("Resizing", *results, on=x.tensor)
    else:
        tensor = _nearest(call, x.tensor, sizes, results)
    return replace(x, tensor=tensor, shape=call.shape)


def _whole(
    sizes: Sequence[Size], results: Sequence[Size], factors: Sequence[float] | None
) -> tuple[int, ...] | None:
    """Whole numbers of pixels that each pixel becomes, if it does."""
    if factors and all(float(factor).is_integer() for factor in factors):
        return tuple(int(factor) for factor in factors)
    if any(not isinstance(size, int) for size in (*sizes, *results)):
        return None
    if any(result % size for size, result in zip(sizes, results, strict=True)):
        return None
    return tuple(result // size for size, result in zip(sizes, results, strict=True))


def _nearest(call: Call, tensor: Any, sizes: list[int], results: list[int]) -> Any:  # noqa: ANN401
    """Torch takes pixel floor(i · size / result); Keras's own takes the nearest centre's."""
    call.build.note("changed", "interpolation", "the rows and columns that torch takes, by number")
    for axis, (size, result) in enumerate(zip(sizes, results, strict=True), 1):
        if size % result == 0:
            step = slice(None, None, size // result)
            tensor = call.build.index(tensor, (*[slice(None)] * axis, step))
        else:
            rows = [i * size // result for i in range(result)]
            tensor = call.build.op("take", tensor, rows, axis=axis)
    return tensor


RULES: dict[str, Rule] = {
    "pad": _pad,
    "constant_pad_nd": _pad,
    "upsample_nearest2d": _resize,
    "upsample_bilinear2d": _resize,
}
