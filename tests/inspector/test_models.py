"""The networks of `lamina.models`: parameters, counts, receptive fields."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lamina import models
from lamina.inspector import inspect
from tests.inspector.test_receptive_field import check

TRAINABLE = {
    "mobilenet_v2": 3_504_872,
    "efficientnet_b0": 5_288_548,
    "mobilenet_v3_small": 2_542_856,
    "mobilenet_v3_large": 5_483_032,
    "resnet50": 25_557_032,
}


@pytest.mark.parametrize("name", TRAINABLE)
def test_parameters_and_macs(name):
    model = models.get(name)
    account = inspect(model, (1, 3, 224, 224), backward=False)
    assert account.totals.parameters == TRAINABLE[name]
    assert account.totals.coverage == "complete"
    # PyTorch's counter knows PyTorch's operators alone: in float64 every layer runs on those.
    counter = FlopCounterMode(display=False)
    with counter, torch.no_grad():
        model.eval().double()(torch.zeros(1, 3, 224, 224, dtype=torch.float64))
    assert 2 * account.totals.macs == counter.get_total_flops()


@pytest.mark.slow  # back-propagation in float64 takes a second or two for each of them
def test_receptive_fields_of_every_row():
    assert check(models.get("resnet18", num_classes=4), (288, 288)) == 74


def test_receptive_fields_of_a_residual_network():
    layers = ["conv1", "layer1.1.conv2", "layer2.0.downsample.0", "layer3.0", "layer4.0.conv1"]
    assert check(models.get("resnet18", num_classes=4), (288, 288), layers) == len(layers)


def test_receptive_fields_through_depthwise_layers():
    layers = ["features.0.0", "features.3", "features.7.conv.1.0", "features.14"]
    assert check(models.get("mobilenet_v2", num_classes=4), (288, 288), layers) == len(layers)
