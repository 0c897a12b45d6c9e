"""Squeeze and excite as a prologue of the pointwise convolution that reads it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import lamina
from lamina.graph.running import contest
from lamina.optimiser import optimize

WAYS = ("weight scaled", "images scaled")


class Projected(nn.Module):
    """The end of an inverted residual block with squeeze and excite."""

    def __init__(self, channels, hidden, outputs, *, bias, norm, shortcut, activation):
        super().__init__()
        self.gate = lamina.nn.SqueezeExcite(channels, hidden)
        self.project = nn.Conv2d(channels, outputs, 1, bias=bias)
        self.norm = nn.BatchNorm2d(outputs) if norm else nn.Identity()
        if norm:
            self.norm.running_mean.normal_()
            self.norm.running_var.uniform_(0.5, 2)
        self.skip = nn.Conv2d(channels, outputs, 1) if shortcut else None
        self.activation = activation

    def forward(self, x):
        y = self.norm(self.project(self.gate(x)))
        return self.activation(y if self.skip is None else y + self.skip(x))


@pytest.mark.parametrize("way", WAYS)
@settings(max_examples=20)
@given(
    images=st.sampled_from([1, 1, 3]),
    channels=st.integers(1, 40),
    outputs=st.integers(1, 40),
    pixels=st.integers(1, 12),
    bias=st.booleans(),
    norm=st.booleans(),
    shortcut=st.booleans(),
    activation=st.sampled_from([nn.Identity(), nn.ReLU6(), nn.SiLU()]),
)
def test_both_ways_compute_what_the_layers_do(way, images, channels, outputs, pixels, **more):
    torch.manual_seed(channels + 41 * outputs)
    plain = Projected(channels, 1 + channels // 4, outputs, **more).eval()
    ours = optimize(plain, copy=True)
    x = torch.randn(images, channels, pixels, pixels + 1)
    exact = plain.double()
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr(contest, "fastest", lambda key, ways, arguments: chosen(ways, way))
        for _ in range(3):  # recorded, and then as native calls
            torch.testing.assert_close(ours(x).double(), exact(x.double()), rtol=1e-5, atol=1e-5)
    rows = [row for row in ours.lamina_report.graphs[-1].rows if "squeeze_excite" in row.what]
    (row,) = rows
    assert row.what.startswith("squeeze_excite + pointwise_conv2d")
    assert row.chosen[tuple(x.shape)] == (way if images == 1 else "images scaled")


def chosen(ways, way):
    return way if way in ways else next(iter(ways))


def test_new_weights_count_in_the_next_call() -> None:
    torch.manual_seed(0)
    more = {"bias": True, "norm": True, "shortcut": False, "activation": nn.SiLU()}
    plain = Projected(8, 2, 6, **more).eval()
    ours = optimize(plain, copy=True)
    x = torch.randn(1, 8, 20, 20)
    with torch.no_grad():
        ours(x), ours(x)
        for model in (plain, ours):
            for parameter in model.parameters():
                parameter.mul_(1.5)
        torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-5)


def test_who_else_reads_the_weighed_images_keeps_them() -> None:
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate = lamina.nn.SqueezeExcite(8, 2)
            self.project = nn.Conv2d(8, 8, 1)

        def forward(self, x):
            x = self.gate(x)
            return self.project(x) + x

    plain = Twice().eval()
    ours = optimize(plain, copy=True)
    x = torch.randn(1, 8, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-5)
    assert "squeeze_excite" in [row.what for row in ours.lamina_report.graphs[-1].rows]
