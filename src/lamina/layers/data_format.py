"""Between Keras's tensors, channels_last or channels_first, and those of `ops`: (N, C, H, W).

Both ways are views: a channels_last tensor seen as (N, C, H, W) has exactly the strides of
``torch.channels_last``, so no layer copies its input or its output.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from torch import Tensor

DataFormat = Literal["channels_last", "channels_first"]


def to_nchw(x: Tensor, data_format: DataFormat) -> Tensor:
    """A batch of images as (N, C, H, W).

    Raises:
        ValueError: another rank than 4.

    Example:
        >>> import torch
        >>> image = to_nchw(torch.ones(2, 5, 7, 3), "channels_last")
        >>> tuple(image.shape), image.is_contiguous(memory_format=torch.channels_last)
        ((2, 3, 5, 7), True)
    """
    if x.dim() != 4:
        axes = "(N, H, W, C)" if data_format == "channels_last" else "(N, C, H, W)"
        raise ValueError(f"the input must be {axes}, got shape {tuple(x.shape)}")
    return x.permute(0, 3, 1, 2) if data_format == "channels_last" else x


def from_nchw(y: Tensor, data_format: DataFormat) -> Tensor:
    """The inverse of `to_nchw`."""
    return y.permute(0, 2, 3, 1) if data_format == "channels_last" else y


def nchw_shape(input_shape: Sequence[int], data_format: DataFormat) -> tuple[int, ...]:
    """A shape of Keras's as `theory` takes it, (N, C, H, W).

    Raises:
        ValueError: another rank than 4.

    Example:
        >>> nchw_shape((2, 5, 7, 3), "channels_last")
        (2, 3, 5, 7)
    """
    if len(input_shape) != 4:
        raise ValueError(f"input_shape must have 4 axes, got {tuple(input_shape)}")
    if data_format == "channels_first":
        return tuple(input_shape)
    batch, height, width, channels = input_shape
    return batch, channels, height, width


def check_channels(input_shape: Sequence[int | None], data_format: DataFormat) -> int:
    """The number of channels in a shape that a layer is built for.

    Raises:
        ValueError: it is unknown or 0; PyTorch's convolution would return a wrong shape then.

    Example:
        >>> check_channels((None, None, None, 3), "channels_last")
        3
    """
    channels = input_shape[-1 if data_format == "channels_last" else 1]
    if not channels:
        raise ValueError(f"the input must have at least one channel, got {tuple(input_shape)}")
    return channels
