"""Operators of ATen whose cost depends on more than a size: transforms, distances, resampling."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, log2, prod
from typing import Any

from lamina.inspector.count.operators import Arithmetic, Formula, Value

__all__ = ["TRANSFORMS"]


def _fourier(args: Sequence[Any], out: Value) -> Arithmetic:
    """5 n log₂ n a transform of n complex values, after Cooley and Tukey; half of that if real."""
    real = [tensor for tensor in (args[0], out) if not tensor.is_complex()]
    whole = real[0] if real else out
    length = prod(whole.shape[dim] for dim in args[1])
    operations = (2.5 if real else 5) * whole.numel() * log2(max(length, 1))
    return 0, round(operations)


def _distances(args: Sequence[Any], out: Value) -> Arithmetic:
    """A difference, its power and a sum per pair of rows and column."""
    return 0, 3 * out.numel() * args[0].shape[-1]


def _distances_backward(args: Sequence[Any], out: Value) -> Arithmetic:
    return 0, 4 * args[0].numel() * args[1].shape[-1]


def _antialiased(support: int, *, backward: bool = False) -> Formula:
    """Two passes, along rows and along columns, over what each pixel of the new image covers.

    Args:
        support: pixels that the filter reaches to each side where the image does not shrink.
        backward: the arguments begin with the gradient of the new image, the result is the old's.
    """

    def cost(args: Sequence[Any], out: Value) -> Arithmetic:
        old, new = (out, args[0]) if backward else (args[0], out)
        down, across = (
            ceil(2 * support * max(old.shape[axis] / new.shape[axis], 1)) for axis in (2, 3)
        )
        between = prod(old.shape[:3]) * new.shape[3]
        return 0, 2 * (between * across + new.numel() * down)

    return cost


def _sums(place: int) -> Formula:
    """An addition for each element of an argument that is added where an index says."""
    return lambda args, out: (0, args[place].numel())


def _outer(args: Sequence[Any], out: Value) -> Arithmetic:
    return out.numel(), out.numel()


TRANSFORMS: dict[str, Formula] = {
    "aten._fft_r2c": _fourier,
    "aten._fft_c2c": _fourier,
    "aten._fft_c2r": _fourier,
    "aten._cdist_forward": _distances,
    "aten._cdist_backward": _distances_backward,
    "aten._upsample_bilinear2d_aa": _antialiased(1),
    "aten._upsample_bilinear2d_aa_backward": _antialiased(1, backward=True),
    "aten._upsample_bicubic2d_aa": _antialiased(2),
    "aten._upsample_bicubic2d_aa_backward": _antialiased(2, backward=True),
    "aten._pdist_forward": _distances,
    "aten._pdist_backward": _distances_backward,
    "aten.addr": _outer,
    **{
        f"aten.{name}": _sums(3)
        for name in (
            "index_add", "index_add_", "index_reduce", "scatter_add", "scatter_add_",
            "scatter_reduce", "_unsafe_masked_index_put_accumulate",
        )
    },
}  # fmt: skip
