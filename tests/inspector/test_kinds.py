"""One kind has one name and one description, whatever operator computes it."""

import pytest
import torch
from torch import nn

import lamina.nn
from lamina import models
from lamina.inspector import inspect

LAYERS = {
    "pointwise": lambda n: n.Conv2d(64, 16, 1),
    "strided": lambda n: n.Conv2d(64, 16, 1, stride=2),
    "conv": lambda n: n.Conv2d(64, 16, 3, padding=1),
    "grouped": lambda n: n.Conv2d(64, 64, 3, groups=2, dilation=2),
    "grouped pointwise": lambda n: n.Conv2d(64, 64, 1, groups=2),
    "one pad": lambda n: n.Conv2d(64, 16, 3, padding=(1, 0)),
    "depthwise": lambda n: n.Conv2d(64, 64, 3, groups=64, padding=1),
    "multiplied": lambda n: n.Conv2d(64, 128, 3, groups=64),
    "depthwise of one tap": lambda n: n.Conv2d(64, 64, 1, groups=64),
    "max": lambda n: n.MaxPool2d(3, 2, 1),
    "mean": lambda n: n.AvgPool2d(3, 1),
    "mean of image": lambda n: n.AdaptiveAvgPool2d(1),
    "max of image": lambda n: n.AdaptiveMaxPool2d(1),
    "adaptive mean": lambda n: n.AdaptiveAvgPool2d(2),
    "adaptive max": lambda n: n.AdaptiveMaxPool2d((2, 4)),
    "norm": lambda n: n.BatchNorm2d(64),
    "activation": lambda n: n.SiLU(),
    "dropout": lambda n: n.Dropout2d(),
    "softmax": lambda n: n.Softmax(1),
}


@pytest.mark.parametrize("name", LAYERS)
def test_size_layout_and_dialect_change_no_name(name):
    seen = set()
    for dialect in (nn, lamina.nn):
        for size in ((1, 64, 8, 8), (2, 64, 56, 56), (8, 64, 112, 112)):
            for memory_format in (torch.contiguous_format, torch.channels_last):
                x = torch.empty(size).contiguous(memory_format=memory_format)
                row = inspect(LAYERS[name](dialect), input_data=x, backward=False).rows[0]
                seen.add((row.kind, row.settings))
    assert len(seen) == 1, seen


def test_a_networks_convolutions_have_three_kinds():
    account = inspect(models.get("mobilenet_v2"), (1, 3, 224, 224), backward=False)
    kinds = {row.settings[:3]: set() for row in account.rows if "conv" in row.kind}
    for row in account.rows:
        if "conv" in row.kind:
            kinds[row.settings[:3]].add(row.kind)
    assert kinds["1×1"] == {"pointwise_conv2d"}
    assert kinds["3×3"] == {"conv2d", "depthwise_conv2d"}  # the stem is the one of the first kind
    assert sum(row.kind == "conv2d" for row in account.rows) == 1
