"""SqueezeExcite against the same network made of torch's own layers."""

from __future__ import annotations

import pytest
import torch

from lamina import nn

from .parity import assert_agrees


class FromTorch(torch.nn.Module):
    """torchvision's module, by hand: average, 1×1, activation, 1×1, gate, product."""

    def __init__(self, channels: int, squeezed: int, activation, gate) -> None:
        super().__init__()
        self.fc1 = torch.nn.Conv2d(channels, squeezed, 1)
        self.fc2 = torch.nn.Conv2d(squeezed, channels, 1)
        self.activation, self.gate = activation, gate

    def forward(self, image):
        mean = torch.nn.functional.adaptive_avg_pool2d(image, 1)
        return image * self.gate(self.fc2(self.activation(self.fc1(mean))))


@pytest.mark.parametrize(
    "names", [("relu", "sigmoid"), ("relu", "hardsigmoid"), ("silu", "sigmoid")]
)
@pytest.mark.parametrize("shape", [(3, 8, 5, 7), (1, 8, 1, 1), (8, 4, 4)])
def test_agrees_with_torch(names, shape) -> None:
    functions = [getattr(torch.nn.functional, name) for name in names]
    torch.manual_seed(2)
    theirs = FromTorch(8, 2, *functions)
    torch.manual_seed(2)
    ours = nn.SqueezeExcite(8, 2, *names)
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    assert_agrees(ours, theirs, torch.randn(shape))


def test_a_closed_gate_closes_the_channel() -> None:
    layer = nn.SqueezeExcite(2, 1, gate="hardsigmoid")
    torch.nn.init.zeros_(layer.fc2.weight)
    with torch.no_grad():
        layer.fc2.bias.copy_(torch.tensor([-3.0, 3.0]))
    y = layer(torch.ones(1, 2, 2, 2))
    assert y[0, 0].abs().sum() == 0 and bool((y[0, 1] == 1).all())
