"""EfficientNet-B0: MobileNetV2's blocks with SiLU, squeeze-and-excite and stochastic depth.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks"
(2019), table 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lamina import nn
from lamina.models.blocks import conv_norm, depthwise_norm, draw_weights, scaled_channels
from lamina.theory.validation import positive_float, positive_int, rate

# Expansion, kernel size, first stride, channels and blocks of each stage.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)


class MBConv(torch.nn.Module):
    """Expand, look around, weigh the channels, project; the whole is dropped at random."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int,
        expansion: int,
        drop_path: float,
    ) -> None:
        super().__init__()
        expanded = scaled_channels(in_channels, expansion)
        layers: list[torch.nn.Module] = []
        if expanded != in_channels:
            layers.append(conv_norm(in_channels, expanded, 1, activation=nn.SiLU))
        layers += [
            depthwise_norm(expanded, kernel_size, stride, nn.SiLU),
            nn.SqueezeExcite(expanded, max(1, in_channels // 4), activation="silu"),
            conv_norm(expanded, out_channels, 1),
        ]
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = nn.DropPath(drop_path)
        self.has_shortcut = stride == 1 and in_channels == out_channels

    def forward(self, x: Tensor) -> Tensor:
        """The block, plus its input where the shapes agree."""
        y: Tensor = self.block(x)
        return x + self.stochastic_depth(y) if self.has_shortcut else y


class EfficientNetB0(torch.nn.Module):
    """5,288,548 parameters, 385,814,752 MACs at 224×224; torchvision's ``efficientnet_b0``.

    Args:
        num_classes: outputs, at least 1.
        in_channels: channels of the image, at least 1.
        width: factor on all channels, above 0.
        dropout: probability that a feature of the classifier is dropped, in [0, 1].
        drop_path: probability that the last block is dropped, in [0, 1]; the others' grow up to
            it with their depth.

    Shape:
        (N, in_channels, H, W) to (N, num_classes), H and W at least 1.

    Raises:
        ValueError: an argument out of its range.

    Differs from:
        TensorFlow's and Keras's, whose epsilon is 1e-3 and whose padding is ``"same"``.

    Source:
        Tan and Le (2019), table 1; epsilon 1e-5, symmetric padding and the initial laws are
        torchvision's.

    Example:
        >>> model = EfficientNetB0(num_classes=10)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        width: float = 1.0,
        dropout: float = 0.2,
        drop_path: float = 0.2,
    ) -> None:
        super().__init__()
        positive_int(num_classes, "num_classes")
        positive_float(width, "width")
        rate(drop_path, "drop_path")
        channels = scaled_channels(32, width)
        features: list[torch.nn.Module] = [conv_norm(in_channels, channels, 3, 2, nn.SiLU)]
        total = sum(blocks for *_, blocks in _STAGES)
        depth = 0
        for expansion, kernel_size, first_stride, stage_channels, blocks in _STAGES:
            stage = []
            out_channels = scaled_channels(stage_channels, width)
            for index in range(blocks):
                stride = first_stride if index == 0 else 1
                probability = drop_path * depth / total
                stage.append(
                    MBConv(channels, out_channels, kernel_size, stride, expansion, probability)
                )
                channels = out_channels
                depth += 1
            features.append(nn.Sequential(*stage))
        features.append(conv_norm(channels, 4 * channels, 1, activation=nn.SiLU))
        self.features = nn.Sequential(*features)
        self.avgpool = nn.GlobalAvgPool2d(keepdims=False)
        self.classifier = nn.Sequential(nn.Dropout(dropout), nn.Linear(4 * channels, num_classes))
        bound = 1 / math.sqrt(num_classes)
        draw_weights(self, lambda weight: torch.nn.init.uniform_(weight, -bound, bound))

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_classes) scores, before softmax."""
        scores: Tensor = self.classifier(self.avgpool(self.features(x)))
        return scores
