"""Batch normalisation's experiment: its formulas, its verdict, and that of one switched off."""

import math

import numpy as np
import pytest
import torch

from lamina.lab.experiments import batchnorm_gradients as experiment
from lamina.lab.protocol import Setting
from lamina.lab.tools import plain_networks
from lamina.lab.tools.data import load
from tests.lab.images import own_images

TINY = experiment.Sizes(14, 16, 3, (0.03, 0.3), steps=4, epochs=1)


def judged(results):
    return [criterion.applied(results).holds for criterion in experiment.EXPERIMENT.criteria]


def test_laws_are_those_of_torch():
    layer = torch.nn.Conv2d(128, 128, 3)
    inputs = 128 * 9
    assert inputs * layer.weight.double().var().item() == pytest.approx(1 / 3, rel=0.02)
    torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
    assert inputs * layer.weight.double().var().item() == pytest.approx(2, rel=0.02)
    for law, number in plain_networks.LAWS.items():
        made = plain_networks.network(load(), 40, law, False, 0)
        weights = torch.cat([block[0].weight.flatten() for block in made[1:40]])
        assert 9 * 16 * weights.double().var().item() == pytest.approx(number, rel=0.02)


def test_growth_is_what_relu_leaves_of_a_normal_variable():
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    relu, weights = np.maximum(nodes, 0), weights / weights.sum()
    variance = weights @ relu**2 - (weights @ relu) ** 2
    assert pytest.approx(math.sqrt(0.5 / variance), rel=1e-2) == plain_networks.GROWTH
    assert pytest.approx(1.2112, abs=1e-4) == plain_networks.GROWTH


@pytest.mark.parametrize("law", plain_networks.LAWS)
def test_a_wide_network_does_what_theory_says(law):
    images = load()
    x, y = images.train.x[:16].double(), images.train.y[:16]
    model = plain_networks.network(images, 9, law, False, 0, width=128).double()
    _, gradients = plain_networks.flow(model, type(images.train)(x, y))
    for block in (1, 4, 8):
        expected = plain_networks.expected(law, False, (8, 8), 9 - block)
        assert gradients[block - 1] / gradients[-1] == pytest.approx(expected, rel=0.15)


def test_with_batch_norm_the_scale_of_weights_cancels():
    images = load()
    flows = [
        plain_networks.flow(
            plain_networks.network(images, 12, law, True, 3), images.train.first(32)
        )
        for law in plain_networks.LAWS
    ]
    for signals, gradients in flows[1:]:
        assert signals == pytest.approx(flows[0][0], rel=1e-3)
        assert gradients == pytest.approx(flows[0][1], rel=1e-3)


def test_flow_is_the_gradient_of_each_block():
    images = load()
    part = images.train.first(8)
    model = plain_networks.network(images, 3, "He's law", True, 0)
    signals, gradients = plain_networks.flow(model, part)
    seen = []

    def keep(_, __, y):
        y.retain_grad()
        seen.append(y)

    for block in model[:3]:
        block.register_forward_hook(keep)
    torch.nn.functional.cross_entropy(model(part.x), part.y).backward()
    for y, signal, gradient in zip(seen, signals, gradients, strict=True):
        assert y.detach().double().pow(2).mean().sqrt().item() == pytest.approx(signal)
        assert y.grad.double().pow(2).mean().sqrt().item() == pytest.approx(gradient)


def test_the_highest_rate_is_that_of_the_last_loss_below_half():
    assert experiment.highest([0.4, 0.1, 0.6], [0.01, 0.1, 1.0]) == 0.1
    assert experiment.highest([0.9, math.inf], [0.01, 0.1]) == 0


@pytest.mark.slow
def test_the_claim_holds_within_its_limits_on_digits():
    outcome = experiment.measure(Setting((0, 1), True, load()))
    provoked, free, stays, trains, higher, small_batches = judged(outcome.results)
    assert provoked and free and trains and higher and small_batches
    assert not stays  # 1.2 per block through 30 blocks is more than tenfold
    growth = outcome.results["growth of gradients per block, with"]
    assert growth.near(growth.predicted, 0.1)
    assert len(outcome.chart.panels) == 4 and len(outcome.chart.names()) == 4


def test_batch_norm_that_is_switched_off_in_secret_turns_the_verdict(monkeypatch):
    monkeypatch.setattr(experiment, "FAST", TINY)
    setting = Setting((0, 1), True, load())
    assert judged(experiment.measure(setting).results)[1]
    monkeypatch.setattr(plain_networks, "BatchNorm2d", lambda channels: torch.nn.Identity())
    _, free, _, trains, higher, _ = judged(experiment.measure(setting).results)
    assert not (free or trains or higher)


def test_own_images_are_tried_alike_each_time(monkeypatch):
    monkeypatch.setattr(experiment, "FAST", TINY)
    monkeypatch.setattr(experiment, "MOST_PIXELS", 8)
    setting = Setting((0, 1), True, own_images())
    first, again = (experiment.measure(setting) for _ in range(2))
    assert first == again
    assert all(len(one.values) == 2 for one in first.results.values())
