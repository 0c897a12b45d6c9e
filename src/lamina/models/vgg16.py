"""VGG16: thirteen 3×3 convolutions, five pools, and three dense layers with most of the weights.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition" (2014), table 1, column D.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from lamina import nn
from lamina.models.blocks import draw_weights
from lamina.theory.validation import positive_int

_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGG16(torch.nn.Module):
    """138,357,544 parameters, 15,470,264,320 MACs at 224×224; torchvision's ``vgg16``.

    Args:
        num_classes: outputs, at least 1.
        in_channels: channels of the image, at least 1.
        dropout: probability that a feature of the dense layers is dropped, in [0, 1].

    Shape:
        (N, in_channels, H, W) to (N, num_classes), H and W at least 32; 7×7 means of what the
        last pool leaves feed the dense layers at any size.

    Raises:
        ValueError: an argument out of its range.

    Source:
        Simonyan and Zisserman (2014), table 1, column D; 7×7 pooling and initial laws are
        torchvision's.

    Example:
        >>> with torch.device("meta"):  # shapes alone: the weights would take 550 MB
        ...     model = VGG16(num_classes=10)
        >>> model(torch.zeros(1, 3, 32, 32, device="meta")).shape
        torch.Size([1, 10])
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, dropout: float = 0.5) -> None:
        super().__init__()
        positive_int(num_classes, "num_classes")
        layers: list[torch.nn.Module] = []
        channels = in_channels
        for stage in _STAGES:
            for out_channels in stage:
                layers += [nn.Conv2d(channels, out_channels, 3, padding=1), nn.ReLU()]
                channels = out_channels
            layers.append(nn.MaxPool2d(2))
        self.features = torch.nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d((7, 7))
        self.classifier = torch.nn.Sequential(
            nn.Linear(channels * 7 * 7, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(4096, num_classes),
        )
        draw_weights(self, partial(torch.nn.init.normal_, std=0.01))

    def forward(self, x: Tensor) -> Tensor:
        """(N, num_classes) scores, before softmax."""
        x = self.avgpool(self.features(x))
        scores: Tensor = self.classifier(x.flatten(1))
        return scores
