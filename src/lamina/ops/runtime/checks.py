"""Checks that every op makes of its input before it touches the data: one clear line each.

PyTorch's own errors name "mat1" or a running mean; these name the op, what it takes and what came.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def check_image(x: Tensor, op: str, channels: int | None = None) -> None:
    """Raise unless ``x`` is a batch (N, C, H, W), or one image (C, H, W), with pixels in it.

    Args:
        x: the input; an empty batch is allowed, an empty image is not.
        op: the name to put in front of the message.
        channels: the C that is expected; None takes any.

    Raises:
        ValueError: another rank, an empty image, or another number of channels.
    """
    if x.dim() not in (3, 4):
        raise ValueError(
            f"{op}: the input must be (N, C, H, W), or (C, H, W) for one image, "
            f"got shape {tuple(x.shape)}"
        )
    if x.shape[-1] == 0 or x.shape[-2] == 0:
        raise ValueError(f"{op}: an image must have at least one pixel, got shape {tuple(x.shape)}")
    if channels is not None and x.shape[-3] != channels:
        raise ValueError(
            f"{op}: the input must have {channels} channels, got {x.shape[-3]} "
            f"in shape {tuple(x.shape)}"
        )


def check_floating(x: Tensor, op: str) -> None:
    """Raise unless the values are floating-point.

    Raises:
        TypeError: integers or booleans, as an image read from a file has; they want scaling first.
    """
    if not (x.is_floating_point() or x.is_complex()):
        raise TypeError(
            f"{op}: the input must be floating-point, got {x.dtype}; "
            f"scale an integer image first: x.float() / 255"
        )


def check_ordered(x: Tensor, op: str) -> None:
    """Raise if the values are neither floating-point nor integers: maxima want an order.

    Raises:
        TypeError: booleans or complex numbers.
    """
    if x.dtype == torch.bool or x.is_complex():
        raise TypeError(f"{op}: the input must be floating-point or of integers, got {x.dtype}")


def check_convolution(
    input_shape: Sequence[int], weight_shape: Sequence[int], op: str, groups: int
) -> None:
    """Raise unless the kernels are two-dimensional, fit the channels and divide into the groups.

    Raises:
        ValueError: another rank, number of channels or number of kernels.
    """
    if len(weight_shape) != 4:
        raise ValueError(
            f"{op}: weight must be (out_channels, in_channels / groups, height, width), "
            f"got shape {tuple(weight_shape)}"
        )
    channels = weight_shape[1] * groups
    if input_shape[-3] != channels:
        raise ValueError(
            f"{op}: the input must have {channels} channels, got {input_shape[-3]} "
            f"in shape {tuple(input_shape)}"
        )
    if weight_shape[0] % groups:
        raise ValueError(
            f"{op}: weight must have a multiple of {groups} out_channels for {groups} groups, "
            f"got shape {tuple(weight_shape)}"
        )


def check_vector(vector: Tensor | None, op: str, name: str, length: int) -> None:
    """Raise unless there is one number per channel; None, where there is no vector, passes.

    Raises:
        ValueError: another rank or length.
    """
    if vector is not None and vector.shape != (length,):
        raise ValueError(f"{op}: {name} must have shape ({length},), got {tuple(vector.shape)}")


def check_same_dtype(x: Tensor, weight: Tensor, op: str) -> None:
    """Raise unless input and weight have one floating-point dtype; autocast may still unite them.

    Raises:
        TypeError: an integer input, or two dtypes outside of autocast.
    """
    if x.dtype == weight.dtype:
        return
    check_floating(x, op)
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return
    raise TypeError(f"{op}: the input is {x.dtype} and the weight is {weight.dtype}; cast one")
