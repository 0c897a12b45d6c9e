"""MobileNetV1: thirteen depthwise separable convolutions in a row.

Source: Howard et al., "MobileNets: Efficient Convolutional Neural Networks for Mobile Vision
Applications" (2017), table 1.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import init

from lamina import nn
from lamina.models.blocks import scaled_channels
from lamina.theory.validation import positive_float, positive_int

# Channels, blocks and first stride of each stage.
_STAGES = ((64, 1, 1), (128, 2, 2), (256, 2, 2), (512, 6, 2), (1024, 2, 2))


class SeparableBlock(nn.Sequential):
    """Depthwise 3×3, then 1×1, each normalised and activated; no shortcut."""

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv_dw = nn.DepthwiseConv2d(in_channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(in_channels)
        self.act1 = nn.ReLU6()
        self.conv_pw = nn.PointwiseConv2d(in_channels, out_channels, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.act2 = nn.ReLU6()


class MobileNetV1(torch.nn.Module):
    """4,231,976 parameters, 568,740,352 MACs at 224×224; timm's ``mobilenetv1_100``.

    Args:
        num_classes: outputs, at least 1.
        in_channels: channels of the image, at least 1.
        width: factor on all channels, above 0; the paper has 1, 0.75, 0.5 and 0.25.

    Shape:
        (N, in_channels, H, W) to (N, num_classes), H and W at least 1.

    Raises:
        ValueError: an argument out of its range.

    Source:
        Howard et al. (2017), table 1; symmetric padding and the initial laws are timm's.

    Example:
        >>> model = MobileNetV1(num_classes=10, width=0.25)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, width: float = 1.0) -> None:
        super().__init__()
        positive_int(num_classes, "num_classes")
        positive_float(width, "width")
        channels = scaled_channels(32, width)
        self.conv_stem = nn.Conv2d(in_channels, channels, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.act1 = nn.ReLU6()
        stages = []
        for stage_channels, blocks, first_stride in _STAGES:
            stage = []
            for index in range(blocks):
                out_channels = scaled_channels(stage_channels, width)
                stride = first_stride if index == 0 else 1
                stage.append(SeparableBlock(channels, out_channels, stride))
                channels = out_channels
            stages.append(nn.Sequential(*stage))
        self.blocks = nn.Sequential(*stages)
        self.global_pool = nn.GlobalAvgPool2d(keepdims=False)
        self.classifier = nn.Linear(channels, num_classes)
        _draw_weights(self)

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_classes) scores, before softmax."""
        x = self.blocks(self.act1(self.bn1(self.conv_stem(x))))
        scores: Tensor = self.classifier(self.global_pool(x))
        return scores


def _draw_weights(model: MobileNetV1) -> None:
    """TensorFlow's laws: a fan counts the channels of a group, which for depthwise is one."""
    for module in model.modules():
        if isinstance(module, torch.nn.Conv2d):
            fan_out = module.weight[0, 0].numel() * module.out_channels // module.groups
            init.normal_(module.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(module, torch.nn.Linear):
            bound = 1 / math.sqrt(module.out_features)
            init.uniform_(module.weight, -bound, bound)
            init.zeros_(module.bias)
