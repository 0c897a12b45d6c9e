"""Depth, width and resolution: costs by the law, and plants that turn the verdict."""

from dataclasses import replace

import pytest
import torch

from lamina.lab.experiments import compound_scaling as tried
from lamina.lab.protocol import Setting
from lamina.lab.tools.data import load
from lamina.lab.tools.moves import resized
from lamina.report.finding.drawing import figure
from lamina.report.finding.records import Measurement
from tests.lab.images import own_images

CRITERIA = tried.EXPERIMENT.criteria
LAW, MOST, ALL = range(3)
SMALL = tried.Scale(2, 8, 6)


def measured(seeds=(0,), images=None):
    return tried.measure(Setting(seeds, True, images or load())).results


def judged(results):
    return [criterion.judge(results) for criterion in CRITERIA]


@pytest.fixture
def untrained(monkeypatch):
    """For what rests on no training."""
    monkeypatch.setattr(tried, "fit_annealed", lambda model, *_, **__: model.eval())


def test_the_law_is_that_of_the_paper():
    larger = tried.Scale(4, 24, 12)
    assert larger.over(SMALL) == 2 * 3**2 * 2**2
    doubled = tried.ALPHA * 1.1**2 * tried.GAMMA**2
    assert doubled == pytest.approx(2, rel=0.05)


def test_counted_operations_are_those_that_pytorch_does():
    images, seen = load(), []

    def note(layer, _, output):
        seen.append(output[0].numel() * layer.weight[0].numel())

    model = tried.network(SMALL, 1, 10)
    for layer in model.modules():
        if isinstance(layer, (torch.nn.Conv2d, torch.nn.Linear)):
            layer.register_forward_hook(note)
    model(resized(images.test.x[:1], SMALL.side))
    assert sum(seen) == tried.macs_of(SMALL, images)


@pytest.mark.parametrize("strategy", tried.STRATEGIES)
@pytest.mark.parametrize("power", [1, 2])
def test_no_neighbour_comes_nearer_to_the_cost(strategy, power):
    images = load()
    found = tried.scaled(strategy, power, SMALL, images)
    wanted = 2**power * tried.macs_of(SMALL, images)
    field = {"depth": "blocks", "resolution": "side"}.get(strategy, "width")

    def off(scale):
        return abs(tried.macs_of(scale, images) - wanted)

    for step in (-1, 1):
        assert off(found) <= off(replace(found, **{field: getattr(found, field) + step}))
    for other in {"blocks", "width", "side"} - {field}:
        grown = getattr(found, other) > getattr(SMALL, other)
        assert grown == (strategy == "compound" and (other == "side" or power == 2))


def test_the_law_holds_without_training(untrained):
    results = measured((0, 1))
    assert judged(results)[LAW]
    assert results[f"{tried.MACS}, depth 4×"].median == pytest.approx(1, abs=0.1)


def test_a_network_that_ignores_a_scale_is_found_out(untrained, monkeypatch):
    built = tried.network
    stays = lambda scale, *sizes: built(replace(scale, width=tried.WIDTH), *sizes)  # noqa: E731
    monkeypatch.setattr(tried, "scaled", lambda *_: replace(SMALL, width=2 * tried.WIDTH))
    monkeypatch.setattr(tried, "network", stays)
    assert not judged(measured())[LAW]


@pytest.mark.parametrize(
    "single, expected",
    [
        ((0.8, 0.8, 0.8), [True, True]),
        ((0.8, 0.95, 0.8), [True, False]),
        ((0.95,) * 3, [False] * 2),
    ],
)
def test_the_rule_counts_what_is_beaten(single, expected):
    results = {
        f"accuracy, {strategy} {cost}×": Measurement((accuracy if cost == 4 else 0.0,) * 5, "%")
        for strategy, accuracy in zip(tried.STRATEGIES, (*single, 0.9), strict=True)
        for cost in (2, 4)
    }
    assert judged(results)[MOST:] == expected


def test_a_seed_decides_what_is_no_time(untrained):
    def without_times(seed):
        results = measured((seed,))
        return {name: one for name, one in results.items() if not name.startswith(tried.TIME)}

    assert without_times(3) == without_times(3) != without_times(4)


def test_a_folder_of_few_colour_images_will_do():
    outcome = tried.measure(Setting((0, 1), True, own_images()))
    assert judged(outcome.results)[LAW]
    assert all(len(one.values) == 2 for one in outcome.results.values())
    assert "MACs of an image" in figure(outcome.chart)


def test_single_ways_that_lead_to_a_network_of_one_channel_turn_the_verdict(monkeypatch):
    grown = tried.scaled

    def planted(strategy, power, base, images):
        whole = grown("compound", power, base, images)
        return whole if strategy == "compound" else replace(base, width=1)

    monkeypatch.setattr(tried, "scaled", planted)
    assert judged(measured())[MOST:] == [True, True]
