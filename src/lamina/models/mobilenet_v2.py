"""MobileNetV2: thin tensors between blocks, wide depthwise convolutions inside them.

    y = x + project(depthwise(expand(x))),  the addition where size and channels agree

Source: Sandler et al., "MobileNetV2: Inverted Residuals and Linear Bottlenecks" (2018), table 2.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lamina import nn
from lamina.models.blocks import conv_norm, depthwise_norm, draw_weights, scaled_channels
from lamina.theory.validation import positive_float, positive_int

# Expansion, channels, blocks and first stride of each stage.
_STAGES = (
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)


class InvertedResidual(torch.nn.Module):
    """1×1 to ``expansion`` times the channels, depthwise 3×3, and a linear 1×1 back."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = in_channels * expansion
        layers: list[torch.nn.Module] = []
        if expansion != 1:
            layers.append(conv_norm(in_channels, hidden, 1, activation=nn.ReLU6))
        layers += [
            depthwise_norm(hidden, 3, stride, activation=nn.ReLU6),
            nn.PointwiseConv2d(hidden, out_channels, bias=False),
            nn.BatchNorm2d(out_channels),
        ]
        self.conv = nn.Sequential(*layers)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """The block, plus its input where the shapes agree."""
        y: Tensor = self.conv(x)
        return x + y if self.has_shortcut else y


class MobileNetV2(torch.nn.Module):
    """3,504,872 parameters, 300,774,272 MACs at 224×224; torchvision's ``mobilenet_v2``.

    Args:
        num_classes: outputs, at least 1.
        in_channels: channels of the image, at least 1.
        width: factor on the channels, above 0; the last layer's 1,280 only grow.
        dropout: probability that a feature of the classifier is dropped, in [0, 1].

    Shape:
        (N, in_channels, H, W) to (N, num_classes), H and W at least 1.

    Raises:
        ValueError: an argument out of its range.

    Source:
        Sandler et al. (2018), table 2; the rounding of channels and the initial laws are
        torchvision's.

    Example:
        >>> model = MobileNetV2(num_classes=10, width=0.5)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__()
        positive_int(num_classes, "num_classes")
        positive_float(width, "width")
        channels = scaled_channels(32, width)
        layers: list[torch.nn.Module] = [conv_norm(in_channels, channels, 3, 2, nn.ReLU6)]
        for expansion, stage_channels, blocks, first_stride in _STAGES:
            for index in range(blocks):
                out_channels = scaled_channels(stage_channels, width)
                stride = first_stride if index == 0 else 1
                layers.append(InvertedResidual(channels, out_channels, stride, expansion))
                channels = out_channels
        last_channels = scaled_channels(1280, max(1.0, width))
        layers.append(conv_norm(channels, last_channels, 1, activation=nn.ReLU6))
        self.features = nn.Sequential(*layers)
        self.pool = nn.GlobalAvgPool2d(keepdims=False)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(last_channels, num_classes))
        draw_weights(self, partial(torch.nn.init.normal_, std=0.01))

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_classes) scores, before softmax."""
        scores: Tensor = self.classifier(self.pool(self.features(x)))
        return scores
