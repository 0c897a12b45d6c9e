"""One network written twice, in Keras's layers and in torch.nn's, and the port between them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from lamina.lab.tools.data import Images
from lamina.nn import AvgPool2d, BatchNorm2d, Conv2d, Flatten, LeakyReLU, Linear, ReLU

WIDTH = 16  # channels of the first convolution; the second has twice as many


class KerasNetwork(nn.Module):
    """The network as Keras has it, its initial weights drawn by Keras.

    Shape:
        (N, C, H, W) to (N, classes); inside, the channels are last.
    """

    layers: Any  # Keras has no types

    def __init__(self, images: Images, seed: int) -> None:
        super().__init__()
        from lamina import layers  # of an extra, which only this experiment needs

        def law(place: int) -> dict[str, Any]:
            return {"class_name": "GlorotUniform", "config": {"seed": 3 * seed + place}}

        self.layers = nn.ModuleList(
            [
                layers.Conv2D(WIDTH, 3, strides=2, padding="same", kernel_initializer=law(0)),
                layers.BatchNormalization(momentum=0.9),
                layers.LeakyReLU(),
                layers.Conv2D(2 * WIDTH, 3, padding="same", kernel_initializer=law(1)),
                layers.BatchNormalization(momentum=0.9),
                layers.ReLU(),
                layers.AveragePooling2D(3, strides=1, padding="same"),
                layers.Flatten(),
                layers.Dense(len(images.classes), kernel_initializer=law(2)),
            ]
        )
        with torch.no_grad():
            self.eval()(images.train.x[:1])  # makes the weights

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = x.permute(0, 2, 3, 1)
        for layer in self.layers:
            x = layer(x, training=self.training)
        return x


def torch_network(images: Images, missed: str = "") -> nn.Sequential:
    """The network as torch.nn has it, Keras's conventions said in numbers.

    Args:
        images: say how many channels, pixels and classes; height and width are even.
        missed: the key of a convention that is left as torch.nn has it.
    """
    height, width = images.size

    def norm(channels: int) -> BatchNorm2d:
        return BatchNorm2d(
            channels,
            eps=1e-5 if missed == "epsilon" else 1e-3,
            momentum=0.9 if missed == "momentum" else 1 - 0.9,
            running_variance="unbiased" if missed == "biased-variance" else "biased",
        )

    features = 2 * WIDTH * (height // 2) * (width // 2)
    return nn.Sequential(
        Conv2d(images.channels, WIDTH, 3, 2, padding=1 if missed == "same-stride" else "same"),
        norm(WIDTH),
        LeakyReLU(0.01 if missed == "leaky-slope" else 0.3),
        Conv2d(WIDTH, 2 * WIDTH, 3, padding=1),
        norm(2 * WIDTH),
        ReLU(),
        AvgPool2d(3, 1, padding=1, count_include_pad=missed == "average-border"),
        Flatten(),
        Linear(features, len(images.classes)),
    )


def port(network: KerasNetwork, images: Images, missed: str = "") -> nn.Sequential:
    """The same network in torch.nn's layers, in evaluation mode, with one convention missed."""
    model = torch_network(images, missed)
    rows, columns = (side // 2 for side in images.size)
    with torch.no_grad():
        for source, target in zip(network.layers, model, strict=True):
            weights = [torch.as_tensor(variable.value).detach() for variable in source.weights]
            if isinstance(target, Conv2d):
                # (height, width, in, out) to (out, in, height, width)
                order = (3, 2, 1, 0) if missed == "conv-weight" else (3, 2, 0, 1)
                target.weight.copy_(weights[0].permute(order))
                _filled(target.bias, weights[1])
            elif isinstance(target, Linear):
                dense = weights[0].T
                if missed != "flatten":  # rows, columns, channels to channels, rows, columns
                    dense = (
                        dense.reshape(len(dense), rows, columns, -1).permute(0, 3, 1, 2).flatten(1)
                    )
                target.weight.copy_(dense)
                _filled(target.bias, weights[1])
            elif isinstance(target, BatchNorm2d):
                state = (target.weight, target.bias, target.running_mean, target.running_var)
                for own, value in zip(state, weights, strict=True):
                    _filled(own, value)
    return model.eval()


def _filled(tensor: Tensor | None, value: Tensor) -> None:
    assert tensor is not None
    tensor.copy_(value)
