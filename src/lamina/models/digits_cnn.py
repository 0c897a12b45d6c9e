"""A small classifier made of all seven kinds of layer, for images of about 8 to 32 pixels."""

from collections import OrderedDict

import torch

from lamina import nn


def digits_cnn(
    num_classes: int = 10, in_channels: int = 1, width: int = 32, dropout: float = 0.2
) -> torch.nn.Sequential:
    """Two convolutions, a pool, two separable convolutions, and a Dense layer over their mean.

    Args:
        num_classes: outputs, at least 1.
        in_channels: channels of the image, at least 1.
        width: channels of the first convolutions, half of those after the pool; at least 1.
        dropout: probability that a feature is dropped in training, in [0, 1).

    Shape:
        (N, in_channels, H, W) to (N, num_classes); H and W at least 2.

    Example:
        >>> model = digits_cnn()
        >>> model(torch.zeros(2, 1, 8, 8)).shape
        torch.Size([2, 10])
        >>> sum(parameter.numel() for parameter in model.parameters())
        17546
    """

    def block(
        name: str, layer: torch.nn.Module, channels: int
    ) -> list[tuple[str, torch.nn.Module]]:
        number = name[-1]
        return [
            (name, layer),
            (f"norm{number}", nn.BatchNorm2d(channels)),
            (f"relu{number}", nn.ReLU()),
        ]

    # A bias before a batch normalisation would be subtracted again with the mean.
    layers = [
        *block("conv1", nn.Conv2d(in_channels, width, 3, padding=1, bias=False), width),
        *block("conv2", nn.Conv2d(width, width, 3, padding=1, bias=False), width),
        ("pool", nn.MaxPool2d(2)),
        *block(
            "separable3", nn.SeparableConv2d(width, 2 * width, 3, padding=1, bias=False), 2 * width
        ),
        *block(
            "separable4",
            nn.SeparableConv2d(2 * width, 2 * width, 3, padding=1, bias=False),
            2 * width,
        ),
        ("mean", nn.GlobalAvgPool2d(keepdims=False)),
        ("dropout", nn.Dropout(dropout)),
        ("dense", nn.Linear(2 * width, num_classes)),
    ]
    return torch.nn.Sequential(OrderedDict(layers))
