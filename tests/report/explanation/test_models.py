"""A real model's page: its numbers are those that the model's own layers give, by hooks."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from lamina.inspector.explain import explain
from lamina.report.explanation.page import to_page
from tests.report.explanation.browser import in_chromium, reader, titled


class Sorts(nn.Module):
    """Layers of many sorts, with a shortcut, two branches laid together, and work in place."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2, groups=2, bias=False)
        self.gelu = nn.GELU()
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.silu = nn.SiLU()
        self.point = nn.Conv2d(8, 8, 1)
        self.leaky = nn.LeakyReLU(0.2)
        self.largest = nn.MaxPool2d(3, 2, 1, ceil_mode=True)
        self.mean = nn.AvgPool2d(3, 2, 1)
        self.swish = nn.Hardswish()
        self.spread = nn.ConvTranspose2d(16, 8, 2, stride=2)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.flat = nn.Flatten()
        self.drop = nn.Dropout(0.25)
        self.head = nn.Linear(8, 5)

    def forward(self, x):
        x = self.relu(self.norm(self.conv(x)))
        x = x + self.silu(self.depthwise(self.gelu(self.dilated(x))))
        x = self.leaky(self.point(x))
        x = torch.cat([self.largest(x), self.mean(x)], 1)
        x = self.spread(self.swish(x))
        return self.head(self.drop(self.flat(self.pool(x))))


def own_outputs(model, image):
    """What each module gave, by name."""
    seen = {}

    def note(name):
        return lambda module, inputs, output: seen.update({name: output.detach().clone()})

    handles = [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
    with torch.no_grad():
        model.eval()(image[None])
    for handle in handles:
        handle.remove()
    return seen


@in_chromium
def test_the_page_shows_the_models_own_numbers(tmp_path):
    torch.manual_seed(0)
    model, image = Sorts(), torch.randn(3, 18, 18)
    model(image[None])  # so that the normalisation has statistics of its own
    own = own_outputs(model, image)
    record = explain(model, image).record
    wanted, expected = [], []
    for layer in record.layers:
        arithmetic = layer.arithmetic
        opened = getattr(arithmetic, "opened", None)
        if layer.name not in own or (opened is None and layer.kind != "dense"):
            continue
        rows = opened.rows if opened else (0,)
        columns = opened.columns if opened else (0,)
        values = own[layer.name][0].reshape(layer.maps.total, layer.maps.rows, -1)
        for channel in layer.maps.channels[:2]:
            for y, x in {
                (rows[0], columns[0]),
                (rows[-1], columns[-1]),
                (rows[1 % len(rows)], columns[0]),
            }:
                wanted.append({"layer": layer.name, "channel": channel, "y": y, "x": x})
                expected.append((layer, values[channel, y, x].item()))
    found = titled(to_page(record, scripts=[reader(wanted)]), tmp_path)
    assert "error" not in found, found["error"]
    opened = {layer.name for layer, _ in expected}
    assert opened >= {"conv", "norm", "relu", "dilated", "gelu", "depthwise", "silu", "point",
                      "leaky", "largest", "mean", "swish", "pool", "head"}  # fmt: skip
    for place, (layer, value), seen in zip(wanted, expected, found["seen"], strict=True):
        assert seen["result"] == value, place
        if layer.name == "leaky":  # its slope is no part of its name: the formula stands there
            assert "The model's own number." in seen["text"] and "0.2" in seen["text"]
            continue
        assert seen["agrees"] in ("equal", "agrees"), place
        assert seen["mine"] == pytest.approx(value, rel=2e-6, abs=2e-7), place


@in_chromium
def test_closed_layers_and_branches_of_a_model(tmp_path):
    record = explain(Sorts(), torch.randn(3, 18, 18)).record
    places = [{"layer": layer.name} for layer in record.layers]
    found = titled(to_page(record, scripts=[reader(places)]), tmp_path)
    assert "error" not in found, found["error"]
    by_name = {seen["name"]: seen for seen in found["seen"]}
    assert "Closed: " in by_name["spread"]["text"]
    joined = [seen for seen in found["seen"] if "Adds two branches" in seen["text"]]
    assert len(joined) == 1 and joined[0]["agrees"] in ("equal", "agrees")
    first, second, total = joined[0]["rows"]
    assert np.float32(first + second) == pytest.approx(joined[0]["result"], rel=1e-7)
    assert total == first + second
    assert re.search(r"is channel \d+ of (largest|mean), unchanged",
                     "".join(seen["text"] for seen in found["seen"]))  # fmt: skip
