"""MobileNetV3, small and large: MobileNetV2's blocks with squeeze-and-excite and hard-swish.

Source: Howard et al., "Searching for MobileNetV3" (2019), tables 1 and 2.
"""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from lamina import nn
from lamina.models.blocks import conv_norm, depthwise_norm, draw_weights, scaled_channels
from lamina.theory.validation import positive_float, positive_int

_norm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)


class Row(NamedTuple):
    """A row of the paper's table: one block."""

    kernel_size: int
    expanded: int
    out_channels: int
    squeeze_excite: bool
    activation: type[torch.nn.Module]
    stride: int


_LARGE = (
    Row(3, 16, 16, False, nn.ReLU, 1),
    Row(3, 64, 24, False, nn.ReLU, 2),
    Row(3, 72, 24, False, nn.ReLU, 1),
    Row(5, 72, 40, True, nn.ReLU, 2),
    Row(5, 120, 40, True, nn.ReLU, 1),
    Row(5, 120, 40, True, nn.ReLU, 1),
    Row(3, 240, 80, False, nn.Hardswish, 2),
    Row(3, 200, 80, False, nn.Hardswish, 1),
    Row(3, 184, 80, False, nn.Hardswish, 1),
    Row(3, 184, 80, False, nn.Hardswish, 1),
    Row(3, 480, 112, True, nn.Hardswish, 1),
    Row(3, 672, 112, True, nn.Hardswish, 1),
    Row(5, 672, 160, True, nn.Hardswish, 2),
    Row(5, 960, 160, True, nn.Hardswish, 1),
    Row(5, 960, 160, True, nn.Hardswish, 1),
)

_SMALL = (
    Row(3, 16, 16, True, nn.ReLU, 2),
    Row(3, 72, 24, False, nn.ReLU, 2),
    Row(3, 88, 24, False, nn.ReLU, 1),
    Row(5, 96, 40, True, nn.Hardswish, 2),
    Row(5, 240, 40, True, nn.Hardswish, 1),
    Row(5, 240, 40, True, nn.Hardswish, 1),
    Row(5, 120, 48, True, nn.Hardswish, 1),
    Row(5, 144, 48, True, nn.Hardswish, 1),
    Row(5, 288, 96, True, nn.Hardswish, 2),
    Row(5, 576, 96, True, nn.Hardswish, 1),
    Row(5, 576, 96, True, nn.Hardswish, 1),
)


class InvertedResidual(torch.nn.Module):
    """Expand, look around, weigh the channels, project; plus the input where shapes agree."""

    def __init__(self, in_channels: int, row: Row) -> None:
        super().__init__()
        layers: list[torch.nn.Module] = []
        if row.expanded != in_channels:
            layers.append(conv_norm(in_channels, row.expanded, 1, 1, row.activation, _norm))
        layers.append(
            depthwise_norm(row.expanded, row.kernel_size, row.stride, row.activation, _norm)
        )
        if row.squeeze_excite:
            squeezed = scaled_channels(row.expanded // 4)
            layers.append(nn.SqueezeExcite(row.expanded, squeezed, gate="hardsigmoid"))
        layers.append(conv_norm(row.expanded, row.out_channels, 1, norm=_norm))
        self.block = nn.Sequential(*layers)
        self.has_shortcut = row.stride == 1 and in_channels == row.out_channels

    def forward(self, x: Tensor) -> Tensor:
        """The block, plus its input where the shapes agree."""
        y: Tensor = self.block(x)
        return x + y if self.has_shortcut else y


class MobileNetV3(torch.nn.Module):
    """``mobilenet_v3_small`` and ``mobilenet_v3_large`` build it.

    Args:
        rows: the blocks, with their channels at width 1.
        last_channels: of the classifier's first layer, at width 1.
        num_classes: outputs, at least 1.
        in_channels: channels of the image, at least 1.
        width: factor on all channels, above 0.
        dropout: probability that a feature of the classifier is dropped, in [0, 1].

    Shape:
        (N, in_channels, H, W) to (N, num_classes), H and W at least 1.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        rows: tuple[Row, ...],
        last_channels: int,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        positive_int(num_classes, "num_classes")
        positive_float(width, "width")
        channels = scaled_channels(16, width)
        stem = conv_norm(in_channels, channels, 3, 2, nn.Hardswish, _norm)
        layers: list[torch.nn.Module] = [stem]
        for row in rows:
            scaled = row._replace(
                expanded=scaled_channels(row.expanded, width),
                out_channels=scaled_channels(row.out_channels, width),
            )
            layers.append(InvertedResidual(channels, scaled))
            channels = scaled.out_channels
        layers.append(conv_norm(channels, 6 * channels, 1, 1, nn.Hardswish, _norm))
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.GlobalAvgPool2d(keepdims=False)
        self.classifier = nn.Sequential(
            nn.Linear(6 * channels, scaled_channels(last_channels, width)),
            nn.Hardswish(),
            nn.Dropout(dropout),
            nn.Linear(scaled_channels(last_channels, width), num_classes),
        )
        draw_weights(self, partial(torch.nn.init.normal_, std=0.01))

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_classes) scores, before softmax."""
        scores: Tensor = self.classifier(self.avgpool(self.features(x)))
        return scores


def mobilenet_v3_small(
    num_classes: int = 1000, in_channels: int = 3, width: float = 1.0, dropout: float = 0.2
) -> MobileNetV3:
    """2,542,856 parameters, 56,510,400 MACs at 224×224; torchvision's ``mobilenet_v3_small``.

    Args:
        num_classes: outputs, at least 1.
        in_channels: channels of the image, at least 1.
        width: factor on all channels, above 0; the paper has 1 and 0.75.
        dropout: probability that a feature of the classifier is dropped, in [0, 1].

    Source:
        Howard et al. (2019), table 2; the initial laws are torchvision's.

    Example:
        >>> mobilenet_v3_small(num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return MobileNetV3(_SMALL, 1024, num_classes, in_channels, width, dropout)


def mobilenet_v3_large(
    num_classes: int = 1000, in_channels: int = 3, width: float = 1.0, dropout: float = 0.2
) -> MobileNetV3:
    """5,483,032 parameters, 216,589,760 MACs at 224×224; torchvision's ``mobilenet_v3_large``.

    Args:
        num_classes: outputs, at least 1.
        in_channels: channels of the image, at least 1.
        width: factor on all channels, above 0; the paper has 1 and 0.75.
        dropout: probability that a feature of the classifier is dropped, in [0, 1].

    Source:
        Howard et al. (2019), table 1; the initial laws are torchvision's.

    Example:
        >>> mobilenet_v3_large(num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return MobileNetV3(_LARGE, 1280, num_classes, in_channels, width, dropout)
