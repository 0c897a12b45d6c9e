"""The layers of a model, as an image meets them."""

import pytest
import torch

from lamina import nn
from lamina.models.digits_cnn import digits_cnn
from lamina.train.trace import trace_layers


def test_the_demo_is_made_of_all_seven_kinds_and_adds_up():
    model = digits_cnn()
    rows = trace_layers(model, (1, 1, 8, 8), 10)
    assert {row.kind for row in rows} >= {
        *("Conv2d", "BatchNorm2d", "MaxPool2d", "SeparableConv2d"),
        *("Dropout", "GlobalAvgPool2d", "Linear"),
    }
    assert sum(row.parameters for row in rows) == sum(p.numel() for p in model.parameters())
    # By hand: 9·32·64 + 9·32·32·64 + (9 + 64)·32·16 + (9 + 64)·64·16 + 64·10.
    assert sum(row.macs for row in rows) == 721_024
    assert sum(row.share for row in rows) == pytest.approx(1)
    assert rows[-1].output_shape == (1, 10)


class Shared(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 3, padding=1)
        self.branch = torch.nn.Sequential(self.conv, torch.nn.Linear(4, 4))
        self.unused = nn.Linear(7, 7)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(32, 3))

    def forward(self, x):
        return self.head(self.branch(self.conv(x)))


def test_a_shared_layer_has_a_row_per_call_and_counts_its_parameters_once():
    rows = trace_layers(Shared(), (1, 2, 4, 4), 3)
    assert [(row.name, row.parameters) for row in rows] == [
        ("conv", 38),
        ("conv", 0),
        ("branch.1", 20),
        ("head.0", 0),
        ("head.1", 99),
    ]
    assert [row.macs for row in rows] == [576, 576, None, 0, 96]


def test_the_model_is_afterwards_as_it_was():
    model = Shared()
    model.conv.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    trace_layers(model, (1, 2, 4, 4), 3)
    assert model.training
    assert not model.conv.training
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
