"""Feature maps as pictures: which channels, on which scale; and histograms."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamina.report.explanation.records import Array, Histogram, Maps

__all__ = ["floats", "histogram", "integers", "maps_of", "most_active", "raw"]

_BINS = 32
_VECTOR = 4096  # features of which all values are kept


def raw(values: NDArray[Any], dtype: Literal["float32", "uint8", "int32"]) -> Array:
    r"""Numbers as little-endian bytes.

    Example:
        >>> raw(np.array([1, 2]), "int32").data
        b'\x01\x00\x00\x00\x02\x00\x00\x00'
    """
    little = np.ascontiguousarray(values, dtype=np.dtype(dtype).newbyteorder("<"))
    return Array(little.tobytes(), tuple(values.shape), dtype)


def floats(tensor: Tensor) -> Array:
    """A tensor as float32."""
    return raw(tensor.detach().float().cpu().numpy(), "float32")


def integers(tensor: Tensor) -> Array:
    """Whole numbers as int32."""
    return raw(tensor.cpu().numpy(), "int32")


def most_active(image: Tensor) -> tuple[list[int], list[float]]:
    """The channels of (channels, rows, columns), most active first; and how active each is.

    A channel's activity is the mean of its absolute values.
    """
    activity = image.abs().flatten(1).mean(1).nan_to_num(0.0, 0.0, 0.0)
    return activity.argsort(descending=True, stable=True).tolist(), activity.tolist()


def maps_of(
    image: Tensor, channels: Sequence[int], activity: Sequence[float], step: int = 1
) -> Maps:
    """The maps of chosen channels of (channels, rows, columns), on one scale of 256 levels.

    A value that is no number is drawn as the least.
    """
    total, rows, columns = image.shape
    shown = image[list(channels)]
    finite = shown[shown.isfinite()]
    low, high = (float(finite.min()), float(finite.max())) if finite.numel() else (0.0, 0.0)
    drawn = shown[:, ::step, ::step].double()
    width = high - low
    levels = (drawn - low) / width * 255 if width > 0 else torch.zeros_like(drawn)
    levels = levels.nan_to_num(0.0, 255.0, 0.0).clamp(0, 255).round()
    is_vector = rows == columns == 1 and total <= _VECTOR
    return Maps(
        tuple(channels),
        tuple(activity),
        total,
        rows,
        columns,
        low,
        high,
        raw(levels.numpy(), "uint8"),
        step,
        floats(image[:, 0, 0]) if is_vector else None,
    )


def histogram(values: Tensor) -> Histogram:
    """How the finite ones among some values are spread."""
    finite = values[values.isfinite()]
    if finite.numel() == 0:
        return Histogram(0.0, 0.0, (0,) * _BINS)
    low, high = float(finite.min()), float(finite.max())
    counts = finite.histc(_BINS, low, high if high > low else low + 1)
    return Histogram(low, high, tuple(int(count) for count in counts.tolist()))
