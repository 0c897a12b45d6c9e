"""Modules in which a normalisation and an activation look like a pair and are none, or just are."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn


class SharedNorm(nn.Module):
    """One normalisation under two names."""

    def __init__(self):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3)
        self.bn1 = nn.BatchNorm2d(4)
        self.bn2 = self.bn1
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))


class NormTwice(nn.Module):
    """One normalisation, called before an activation and elsewhere."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x):
        x = self.relu(self.bn(self.conv(x)))
        return self.bn(x)


class FunctionalReLU(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

    def forward(self, x):
        return F.relu(self.bn(self.conv(x)))


class FrozenNorm(nn.Module):
    """Inference mode for good and no gradient, as in fine-tuning."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)
        self.bn.requires_grad_(False)
        self.bn.running_mean.uniform_(-1, 1)
        self.train()

    def train(self, mode=True):
        super().train(mode)
        self.bn.eval()
        return self

    def forward(self, x):
        return self.relu(self.bn(self.conv(x)))


class ReusedInput(nn.Module):
    """The activation overwrites what is added afterwards."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(inplace=True)

    def forward(self, x):
        y = self.bn(self.conv(x))
        return self.relu(y) + 2 * y


class TrainingBranch(nn.Module):
    """The normalisation's output is seen in evaluation alone."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x):
        y = self.bn(self.conv(x))
        return self.relu(y) if self.training else self.relu(y) - y


class Switch(nn.Module):
    """The normalisation's output is seen where an optional argument asks for it."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()

    def forward(self, x, scale=None, tap=False):
        y = self.bn(self.conv(x))
        z = self.relu(y)
        if scale is not None:
            z = z * scale
        return z + y if tap else z


class ResidualTwice(nn.Module):
    """One ReLU behind a normalisation, behind a sum in place, and behind a convolution."""

    def __init__(self, activation):
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 3, 3, padding=1)
        self.bn1, self.bn2 = nn.BatchNorm2d(4), nn.BatchNorm2d(3)
        self.relu = activation

    def forward(self, x):
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += x
        return self.relu(out) + self.relu(self.conv2(self.conv1(x)))


class Remembers(nn.Module):
    """Its forward keeps what it saw and counts its calls."""

    def __init__(self):
        super().__init__()
        self.bn, self.relu = nn.BatchNorm2d(3), nn.ReLU()
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.seen = None

    def forward(self, x):
        self.calls += 1
        self.seen = self.relu(self.bn(x)) + torch.rand(())
        return self.seen


class Keeps(nn.Module):
    """Its forward keeps the normalised value, by itself, in a dictionary and in a list."""

    def __init__(self):
        super().__init__()
        self.conv, self.bn, self.relu = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU()
        self.taps_input = False

    def forward(self, x):
        self.features = self.bn(self.conv(x))
        self.by_name = {"features": self.features}
        self.all = [self.features]
        y = self.relu(self.features)
        if self.taps_input:
            y = y + self.features
        return y if torch.is_grad_enabled() else y - self.features
