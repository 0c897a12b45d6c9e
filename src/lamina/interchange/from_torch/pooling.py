"""Pools, with the padding that Keras's own would not add."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from lamina.interchange.from_torch.call import Call, Rule, operation, pair, short
from lamina.interchange.from_torch.value import Shape, Size, Value, shape_of

__all__ = ["RULES"]


@dataclass(frozen=True)
class _Axis:
    """One axis of a pool's window, in pixels; its size and results may be open."""

    size: Size
    window: int
    stride: int
    padding: int
    results: Size

    @property
    def is_open(self) -> bool:
        """Whether the image's size is not known."""
        return not isinstance(self.size, int)

    @property
    def end(self) -> Size:
        """Pixels behind the image: PyTorch's padding, or more where ``ceil_mode`` reads more."""
        if self.is_open:
            return self.padding
        reach = (self.results - 1) * self.stride - self.padding + self.window
        return max(self.padding, reach - self.size)

    @property
    def is_same(self) -> bool:
        """Whether Keras's "same" has these windows."""
        if self.is_open:
            return self.stride == 1 and 2 * self.padding == self.window - 1
        total = max((self.results - 1) * self.stride + self.window - self.size, 0)
        results = -(-self.size // self.stride)
        return bool(results == self.results and total // 2 == self.padding)

    def shares(self, with_padding: bool) -> list[float]:
        """Each window's size over how much of it counts: never what ``ceil_mode`` adds behind."""
        if self.is_open:
            if with_padding:
                return [1.0]
            raise ValueError("its shares of the border depend on the image's size")
        starts = [i * self.stride - self.padding for i in range(self.results)]
        border = self.padding if with_padding else 0
        ends = [min(start + self.window, self.size + border) for start in starts]
        return [
            self.window / (end - max(start, -border))
            for start, end in zip(starts, ends, strict=True)
        ]


def _axes_of(call: Call, x: Value) -> tuple[_Axis, ...]:
    rank = x.rank - 2
    if call["ceil_mode"] and not all(isinstance(size, int) for size in x.shape[2:]):
        raise ValueError("what ceil_mode adds depends on the image's size")
    window = pair(call["kernel_size"], rank)
    stride = pair(call["stride"], rank) if call["stride"] else window
    sizes = zip(x.shape[2:], window, stride, pair(call["padding"], rank), strict=True)
    return tuple(_Axis(*size, results) for size, results in zip(sizes, _results(call), strict=True))


def _results(call: Call) -> Shape:
    """The sizes of the image that comes out."""
    val = call.node.meta["val"]
    return shape_of(val[0] if isinstance(val, tuple | list) else val)[2:]


def _image(call: Call) -> Value:
    x = call.value()
    if x.rank not in (3, 4):
        call.refuse(f"a pool over {x.rank - 2} axes", "unsupported")
    return call.build.arranged(x, (0, *range(2, x.rank), 1))


def _window_layer(
    call: Call,
    kind: str,
    tensor: Any,  # noqa: ANN401
    axes: tuple[_Axis, ...],
    padding: str = "valid",
) -> Any:  # noqa: ANN401
    window, stride = [a.window for a in axes], [a.stride for a in axes]
    return call.build.layer(
        f"{kind}{len(axes)}D",
        short(window),
        strides=short(stride) if stride != window else None,
        padding=padding,
        on=tensor,
    )


def _max_pool(call: Call) -> Value | tuple[Value, ...]:
    if max(pair(call["dilation"])) > 1:
        call.refuse(f"dilation {call['dilation']} of a pool", "pool-arguments")
    with_indices = _gives_indices(call)
    x = _image(call)
    axes, tensor, padding = _axes_of(call, x), x.tensor, "valid"
    if any(axis.padding or axis.end for axis in axes):
        if all(axis.is_same for axis in axes):
            padding = "same"
        else:
            tensor = _with_border(call, x, axes)
    pooled = _window_layer(call, "MaxPooling", tensor, axes, padding)
    result = replace(x, tensor=pooled, shape=(*x.shape[:2], *_results(call)))
    return (result,) if with_indices else result


def _with_border(call: Call, x: Value, axes: tuple[_Axis, ...]) -> Any:  # noqa: ANN401
    """The image with a border that no maximum is found in."""
    sides = tuple((axis.padding, axis.end) for axis in axes)
    if x.is_nonnegative:
        call.build.note("changed", "max-padding", "a border of zeros, as nothing is below them")
        return _zeros(call, x.tensor, sides)
    call.build.note("changed", "max-padding", "a border of −∞ by an operation in front")
    return call.build.op("pad", x.tensor, ((0, 0), *sides, (0, 0)), constant_values=-math.inf)


def _zeros(call: Call, tensor: Any, sides: tuple[tuple[int, int], ...]) -> Any:  # noqa: ANN401
    rank = len(sides)
    if all(a == b for a, b in sides):
        amount: Any = short([a for a, _ in sides])
    else:
        amount = sides if rank == 2 else sides[0]
    return call.build.layer(f"ZeroPadding{rank}D", amount, on=tensor, part="pad")


def _average_pool(call: Call) -> Value:
    x = _image(call)
    axes, tensor, padding = _axes_of(call, x), x.tensor, "valid"
    window = math.prod(axis.window for axis in axes)
    divisor, counted = call.get("divisor_override"), call["count_include_pad"]
    border = any(axis.padding or axis.end for axis in axes)
    shares: list[list[float]] = []
    if divisor:
        shares = [[window / divisor]]
        call.build.note("changed", "pool-arguments", f"divisor {divisor} as a factor behind it")
    elif border and all(2 * a.padding == a.window - 1 and a.is_same for a in axes) and not counted:
        border, padding = False, "same"
    elif border:
        shares = [axis.shares(with_padding=counted) for axis in axes]
        call.build.note("changed", "average-border", "a border of zeros by a layer in front")
    if border:
        tensor = _zeros(call, tensor, tuple((axis.padding, axis.end) for axis in axes))
    tensor = _window_layer(call, "AveragePooling", tensor, axes, padding)
    for place, factors in enumerate(shares):
        scale: Any = factors[0]
        if len(set(factors)) > 1:  # for each row or column, alike in all channels
            scale = np.reshape(factors, (-1, *(1,) * (len(axes) - place))).tolist()
        if scale != 1:
            tensor = call.build.layer("Rescaling", scale, on=tensor, part="rescale")
    return replace(x, tensor=tensor, shape=call.shape)


def _adaptive_pool(call: Call) -> Value | tuple[Value, ...]:
    kind = "Max" if "max" in call.what else "Average"
    results = _results(call)
    with_indices = _gives_indices(call)
    if set(results) == {1}:
        pooled = global_pool(call, kind, keepdims=True)
    else:
        x = _image(call)
        sizes = [int(size) for size in x.shape[2:]]
        if all(size % result == 0 for size, result in zip(sizes, results, strict=True)):
            window = [size // result for size, result in zip(sizes, results, strict=True)]
            tensor = x.tensor
            if max(window) > 1:
                axes = tuple(
                    _Axis(s, w, w, 0, r) for s, w, r in zip(sizes, window, results, strict=True)
                )
                tensor = _window_layer(call, f"{kind}Pooling", tensor, axes)
        else:
            tensor = call.build.layer(
                f"Adaptive{kind}Pooling{len(results)}D", short(results), on=x.tensor
            )
        pooled = replace(x, tensor=tensor, shape=(*x.shape[:2], *results))
    return (pooled,) if with_indices else pooled


def global_pool(call: Call, kind: str, keepdims: bool) -> Value:
    """One number for each channel; without axes of size 1 where nobody asks for them."""
    x = _image(call)
    rank = x.rank - 2
    stays = keepdims and not all(operation(user) in _WITHOUT_AXES for user in call.node.users)
    call.build.note("changed", "global-pool", "the axes of size 1 come and go with it")
    tensor = call.build.layer(f"Global{kind}Pooling{rank}D", keepdims=stays, on=x.tensor)
    shape = (*x.shape[:2], *(1,) * rank) if keepdims else x.shape[:2]
    axes = (0, *range(2, x.rank), 1) if stays else (0, 1)
    return replace(x, tensor=tensor, shape=shape, axes=axes)


_WITHOUT_AXES = frozenset({"flatten", "view", "reshape", "squeeze"})
"""What follows a global pool that may as well drop the axes of size 1."""


def _gives_indices(call: Call) -> bool:
    """Whether its result is a pair; raises if somebody reads the second."""
    is_pair = isinstance(call.node.meta["val"], tuple | list)
    if is_pair and any(user.users and user.args[1] == 1 for user in call.node.users):
        call.refuse("the indices of a pool", "pool-arguments")
    return is_pair


RULES: dict[str, Rule] = {
    "adaptive_avg_pool1d": _adaptive_pool,
    "adaptive_avg_pool2d": _adaptive_pool,
    "adaptive_max_pool1d": _adaptive_pool,
    "adaptive_max_pool2d": _adaptive_pool,
    "avg_pool1d": _average_pool,
    "avg_pool2d": _average_pool,
    "max_pool1d": _max_pool,
    "max_pool2d": _max_pool,
    "max_pool2d_with_indices": _max_pool,
}
