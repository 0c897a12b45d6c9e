"""What pooling buys: formulas against simulation, and plants that turn the verdict."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lamina.lab.experiments import pooling_resolution as tried
from lamina.lab.protocol import Setting
from lamina.lab.tools.data import load
from lamina.nn import Identity
from lamina.report.finding.drawing import figure
from tests.lab.images import own_images

CRITERIA = tried.EXPERIMENT.criteria
COST, TIME, NOISE = range(3)


class Subsample(torch.nn.Module):
    """Claims to pool and keeps the first pixel of each window."""

    def __init__(self, window):
        super().__init__()
        self.window = window

    def forward(self, x):
        window = self.window
        height, width = (side // window * window for side in x.shape[2:])
        return x[..., :height:window, :width:window]


def measured(seeds=(0,), images=None):
    return tried.measure(Setting(seeds, True, images or load())).results


def judged(results):
    return [criterion.judge(results) for criterion in CRITERIA]


@pytest.fixture
def untrained(monkeypatch):
    """For criteria that rest on no training: nothing is trained, nothing moved."""
    monkeypatch.setattr(tried, "fit", lambda *_, **__: None)
    monkeypatch.setattr(tried, "changed", lambda *_: [0.0] * len(tried.MOVES))


@pytest.mark.parametrize("window, move", [(1, 1), (2, 1), (3, 1), (3, 2), (5, 1), (4, 4)])
def test_formulas_of_moved_noise_are_what_a_simulation_finds(window, move):
    x = np.random.default_rng(window).uniform(size=(200_000, window, window + move))
    first, second = x[..., :window], x[..., move:]
    for kind, of in (("maximum", np.max), ("average", np.mean)):
        before, after = of(first, axis=(1, 2)), of(second, axis=(1, 2))
        # Three standard errors of a correlation of 200,000 pairs are 0.007 at most.
        found = np.corrcoef(before, after)[0, 1]
        assert found == pytest.approx(tried.correlation(kind, window, move), abs=0.007)
        if kind == "maximum":
            stay = tried.maxima_that_stay(window, move)
            assert np.mean(before == after) == pytest.approx(stay, abs=0.004)


@pytest.mark.parametrize("kind", tried.KINDS)
def test_operations_are_those_that_pytorch_does(kind):
    sizes = tried.Sizes(3, 5, 4)
    seen = []

    def note(layer, _, output):
        seen.append(output[0].numel() * layer.weight[0].numel())

    model = tried.network(kind, sizes)
    for layer in model:
        if hasattr(layer, "weight") and not isinstance(layer, torch.nn.BatchNorm2d):
            layer.register_forward_hook(note)
    model(torch.zeros(1, 3, tried.GROUND, tried.GROUND))
    assert seen == tried.operations(kind, sizes)


def test_equal_cost_is_the_most_that_the_budget_allows():
    sizes = tried.Sizes(1, 8, 10)
    budget = sum(tried.operations("none", sizes))
    wide = tried.widened("maximum", sizes, budget)
    assert sum(tried.operations("maximum", wide)) <= budget
    assert sum(tried.operations("maximum", replace(wide, width=wide.width + 1))) > budget


def test_cost_and_noise_follow_the_formulas_without_training(untrained):
    results = measured()
    assert judged(results)[COST] and judged(results)[NOISE]
    for name in tried._BEHIND:
        assert results[name].median == results[name].predicted
    for kind in tried.KINDS:
        one = results[f"operations, {kind}"]
        assert one.median == one.predicted
    assert results[tried._STAY].near(0.5, 0.03)


def test_a_pool_that_keeps_all_is_found_out(untrained, monkeypatch):
    monkeypatch.setattr(tried.nn, "MaxPool2d", Identity)
    monkeypatch.setattr(tried.nn, "AvgPool2d", Identity)
    monkeypatch.setattr(tried, "_kept", lambda _: None)
    results = measured()
    assert results[tried._BEHIND[0]].median == 1
    assert not judged(results)[COST] and not judged(results)[NOISE]


def test_a_pool_that_only_skips_pixels_is_found_out(untrained, monkeypatch):
    monkeypatch.setattr(tried.nn, "MaxPool2d", Subsample)
    monkeypatch.setattr(tried.nn, "AvgPool2d", Subsample)
    results = measured()
    assert judged(results)[COST] and not judged(results)[NOISE]
    assert abs(results[tried._NOISE.format("average", 3, 3)].median) < 0.05


def test_a_seed_decides_what_is_no_time(untrained):
    def without_times(seed):
        results = measured((seed,))
        del results[tried._TIME]
        return results

    assert without_times(3) == without_times(3) != without_times(4)


def test_a_folder_of_few_colour_images_will_do():
    outcome = tried.measure(Setting((0, 1), True, own_images()))
    assert judged(outcome.results)[COST]
    assert outcome.results[tried._SAME_WIDTH.format("none")].median > 0.8
    assert "a pixel further" in figure(outcome.chart)
    assert all(len(one.values) == 2 for one in outcome.results.values())


@pytest.mark.slow
def test_the_claim_holds_on_digits():
    results = measured(range(5))
    held = judged(results)
    assert all(held[:TIME] + held[TIME + 1 :])
