"""ResNet-18 and ResNet-50: stages of blocks that add what they compute to what they were given.

    y = relu(x + block(x)),  block = 3×3, 3×3 (18) or 1×1, 3×3, 1×1 (50)

Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition" (2015), table 1.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import init

from lamina import nn
from lamina.theory.validation import positive_int


class BasicBlock(torch.nn.Module):
    """Two 3×3 convolutions; the stride is on the first."""

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: torch.nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """relu(shortcut + block)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        out: Tensor = self.relu(y + shortcut)
        return out


class Bottleneck(torch.nn.Module):
    """1×1 to fewer channels, 3×3, 1×1 to four times as many; the stride is on the 3×3."""

    expansion = 4

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stride: int = 1,
        downsample: torch.nn.Module | None = None,
    ) -> None:
        super().__init__()
        out_channels = channels * self.expansion
        self.conv1 = nn.Conv2d(in_channels, channels, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.conv3 = nn.Conv2d(channels, out_channels, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU()
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        """relu(shortcut + block)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y))
        out: Tensor = self.relu(y + shortcut)
        return out


class ResNet(torch.nn.Module):
    """Four stages of residual blocks after a 7×7 stem; ``resnet18`` and ``resnet50`` build it.

    Args:
        block: ``BasicBlock`` or ``Bottleneck``.
        blocks: how many in each of the four stages.
        num_classes: outputs, at least 1.
        in_channels: channels of the image, at least 1.

    Shape:
        (N, in_channels, H, W) to (N, num_classes), H and W at least 1.

    Raises:
        ValueError: an argument out of its range.
    """

    def __init__(
        self,
        block: type[BasicBlock] | type[Bottleneck],
        blocks: tuple[int, int, int, int],
        num_classes: int = 1000,
        in_channels: int = 3,
    ) -> None:
        super().__init__()
        positive_int(num_classes, "num_classes")
        self.conv1 = nn.Conv2d(in_channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, 64, 64, blocks[0], stride=1)
        self.layer2 = _stage(block, 64 * block.expansion, 128, blocks[1], stride=2)
        self.layer3 = _stage(block, 128 * block.expansion, 256, blocks[2], stride=2)
        self.layer4 = _stage(block, 256 * block.expansion, 512, blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(512 * block.expansion, num_classes)
        for module in self.modules():  # the dense layer keeps torch.nn's own law
            if isinstance(module, nn.Conv2d):
                init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_classes) scores, before softmax."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        scores: Tensor = self.fc(self.avgpool(x).flatten(1))
        return scores


def _stage(
    block: type[BasicBlock] | type[Bottleneck],
    in_channels: int,
    channels: int,
    blocks: int,
    stride: int,
) -> torch.nn.Sequential:
    """The first block changes size and channels, and so must its shortcut."""
    out_channels = channels * block.expansion
    downsample = None
    if stride != 1 or in_channels != out_channels:
        downsample = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 1, stride, bias=False),
            nn.BatchNorm2d(out_channels),
        )
    first = block(in_channels, channels, stride, downsample)
    return nn.Sequential(first, *(block(out_channels, channels) for _ in range(blocks - 1)))


def resnet18(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """11,689,512 parameters, 1,814,073,344 MACs at 224×224; torchvision's ``resnet18``.

    Args:
        num_classes: outputs, at least 1.
        in_channels: channels of the image, at least 1.

    Source:
        He et al. (2015), table 1, column 18-layer; shortcuts by projection where sizes differ (B).

    Example:
        >>> resnet18(num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return ResNet(BasicBlock, (2, 2, 2, 2), num_classes, in_channels)


def resnet50(num_classes: int = 1000, in_channels: int = 3) -> ResNet:
    """25,557,032 parameters, 4,089,184,256 MACs at 224×224; torchvision's ``resnet50``.

    Args:
        num_classes: outputs, at least 1.
        in_channels: channels of the image, at least 1.

    Source:
        He et al. (2015), table 1, column 50-layer, with the stride on the 3×3 as torchvision and
        "ResNet v1.5" have it; the paper's is on the first 1×1.

    Example:
        >>> resnet50(num_classes=10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    return ResNet(Bottleneck, (3, 4, 6, 3), num_classes, in_channels)
