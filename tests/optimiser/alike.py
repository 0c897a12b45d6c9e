"""What the tests of `lamina.optimize` share: a small network, and two models that give the same."""

import torch
from torch import nn

from tests.models.torchvision_definitions import BasicBlock


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        BasicBlock(8, 8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.Linear(8, 4),
    )


def assert_same(ours, plain, x):
    """In the mode in which they are, with and without gradients."""
    assert ours.training == plain.training
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for _ in range(3):  # by Python, while it is recorded, from what was recorded
            torch.testing.assert_close(ours(x), plain(x), rtol=1e-4, atol=1e-5)
