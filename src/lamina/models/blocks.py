"""What several networks are made of: convolution with batch normalisation, widths, initial laws."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import init

from lamina import nn

Norm = Callable[..., nn.BatchNorm2d]


def conv_norm(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    stride: int = 1,
    activation: type[torch.nn.Module] | None = None,
    norm: Norm = nn.BatchNorm2d,
) -> nn.Sequential:
    """A convolution that keeps the image's size at stride 1, normalised and activated."""
    # Without bias: the normalisation would subtract it again with the mean.
    return nn.Sequential(
        nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding=kernel_size // 2, bias=False
        ),
        norm(out_channels),
        *([] if activation is None else [activation()]),
    )


def depthwise_norm(
    channels: int,
    kernel_size: int,
    stride: int = 1,
    activation: type[torch.nn.Module] | None = None,
    norm: Norm = nn.BatchNorm2d,
) -> nn.Sequential:
    """A depthwise convolution, normalised and activated."""
    return nn.Sequential(
        nn.DepthwiseConv2d(channels, kernel_size, stride, padding=kernel_size // 2, bias=False),
        norm(channels),
        *([] if activation is None else [activation()]),
    )


def scaled_channels(channels: float, width: float = 1.0) -> int:
    """``width`` · ``channels`` to the nearest multiple of 8, at most a tenth below it, at least 8.

    Example:
        >>> scaled_channels(32), scaled_channels(24, 0.75), scaled_channels(16, 0.35)
        (32, 24, 8)
    """
    exact = channels * width
    nearest = max(8, int(exact + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * exact else nearest


def draw_weights(model: torch.nn.Module, draw_dense: Callable[[Tensor], object]) -> None:
    """Draw all weights anew: convolutions from N(0, 2 / fan_out), dense ones by ``draw_dense``.

    Biases become zero. The fan of a depthwise weight (C, 1, h, w) is C · h · w here, as PyTorch
    counts it. Source: He et al., "Delving Deep into Rectifiers" (2015), section 2.2.
    """
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            init.kaiming_normal_(module.weight, mode="fan_out")
        elif isinstance(module, torch.nn.Linear):
            draw_dense(module.weight)
        else:
            continue
        if module.bias is not None:
            init.zeros_(module.bias)
