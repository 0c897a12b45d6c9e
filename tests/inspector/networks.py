"""The networks that the inspector's tests count."""

import torch
import torch.nn.functional as F
from torch import nn


class Hand(nn.Module):
    """Counted by hand: 3,499,008 MACs on 3×32×32; functions, a shared module, a plain parameter."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, padding="same")
        self.bn1 = nn.BatchNorm2d(16)
        self.pool = nn.MaxPool2d(2)
        self.depthwise = nn.Conv2d(16, 16, 3, padding=1, groups=16, bias=False)
        self.bn2 = nn.BatchNorm2d(16)
        self.pointwise = nn.Conv2d(16, 32, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(32)
        self.shared = nn.Conv2d(32, 32, 1)
        self.weight = nn.Parameter(torch.randn(32, 32, 3, 3) * 0.1)
        self.dropout = nn.Dropout()
        self.dense = nn.Linear(512, 10)

    def forward(self, x):
        x = self.pool(F.relu(self.bn1(self.stem(x))))
        x = F.relu(self.bn2(self.depthwise(x)))
        x = F.relu(self.bn3(self.pointwise(x)))
        x = x + self.shared(self.shared(x))
        x = F.avg_pool2d(F.conv2d(x, self.weight, padding=1), 4)
        return self.dense(self.dropout(torch.flatten(x, 1)))


class Branches(nn.Module):
    """Inception-like: branches of different reach, joined by a concatenation and a sum."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.one = nn.Conv2d(8, 4, 1)
        self.three = nn.Sequential(nn.Conv2d(8, 4, 1), nn.Conv2d(4, 4, 3, padding=1))
        self.five = nn.Sequential(
            nn.Conv2d(8, 4, (1, 5), padding=(0, 2)), nn.Conv2d(4, 4, 3, padding=1)
        )
        self.pool = nn.Sequential(nn.AvgPool2d(3, 1, 1), nn.Conv2d(8, 4, 1))
        self.dilated = nn.Conv2d(16, 16, 3, stride=2, padding=2, dilation=2)
        self.shortcut = nn.Conv2d(16, 16, 1, stride=2)

    def forward(self, x):
        x = self.stem(x)
        x = torch.cat([self.one(x), self.three(x), self.five(x), self.pool(x)], 1)
        return self.dilated(x) + self.shortcut(x)


class Wrap(nn.Module):
    """A function as a module."""

    def __init__(self, function, **modules):
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *args):
        return self.function(*args, **dict(self.named_children()))
