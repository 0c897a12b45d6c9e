"""Dropout's experiment: its formulas, its verdict, and that of dropout that does nothing."""

import math

import numpy as np
import pytest
import torch

from lamina import nn
from lamina.lab.experiments import dropout_overfitting as experiment
from lamina.lab.protocol import Setting
from lamina.lab.tools import masks, plane
from lamina.lab.tools.data import Part, load
from tests.lab.images import own_images

TINY = experiment.Sizes(width=64, epochs=12, in_plane=10, rates=(0.0, 0.5))


def judged(results):
    return [criterion.applied(results).holds for criterion in experiment.EXPERIMENT.criteria]


def test_the_best_rule_is_the_likelier_class():
    points = plane.arcs(200, 5)
    angles = np.linspace(0, np.pi, 60)
    densities = []
    for centres in (
        np.stack([np.cos(angles), np.sin(angles)]),
        np.stack([1 - np.cos(angles), 0.5 - np.sin(angles)]),
    ):
        squares = ((points.x.numpy()[:, :, None] - centres) ** 2).sum(1)
        densities.append(np.exp(-squares / (2 * plane.NOISE**2)).sum(1))
    assert (plane.best_answers(points.x).numpy() == np.argmax(densities, 0)).all()
    assert torch.equal(plane.arcs(200, 5).x, points.x)
    assert not torch.equal(plane.arcs(200, 5, 1).x, points.x)


def test_regions_show_a_models_two_sides():
    side = torch.nn.Linear(2, 2)
    with torch.no_grad():
        side.weight.copy_(torch.tensor([[-9.0, 0.0], [9.0, 0.0]]))
        side.bias.zero_()
    panel = plane.regions("two sides", side, plane.arcs(10, 0))
    assert [mark.name for mark in panel.marks] == ["class A", "class B"]
    assert sum(len(mark.x) for mark in panel.marks) == 10
    assert len(panel.background) > 100


def test_moments_over_masks_are_those_of_theory():
    unit = nn.Linear(50, 20)
    slope, variance = masks.moments(nn.Dropout(0.3), unit, torch.rand(16, 50), 0.3)
    assert slope == pytest.approx(1, abs=0.01)
    assert variance == pytest.approx(1, abs=0.05)


def test_the_variance_shift_of_a_rectified_normal_variable():
    x = torch.randn(50_000, 4).relu()
    norm = nn.BatchNorm1d(4, momentum=1.0)
    norm(nn.Dropout(0.5)(x))
    measured, theory = masks.variance_shift(norm, x, 0.5)
    v, c = (math.pi - 1) / (2 * math.pi), 1 / math.sqrt(2 * math.pi)
    assert theory == pytest.approx(v / (2 * (v + c**2) - c**2), rel=0.02)
    assert theory == pytest.approx(0.41, abs=0.01)
    assert measured == pytest.approx(theory, rel=0.02)


def test_statistics_put_right_are_those_without_dropout():
    x = torch.randn(64, 6)
    model = torch.nn.Sequential(nn.Dropout(0.5), nn.BatchNorm1d(6))
    model(x)
    masks.put_right(model.eval(), x)
    assert not model[1].training
    torch.testing.assert_close(model[1].running_var, x.var(0))
    torch.testing.assert_close(model[1].running_mean, x.mean(0))


def test_dropped_channels_are_missed_more_than_dropped_elements():
    measured, theory = masks.spatial_noise(torch.randn(16, 3, 9, 7), 0.5)
    assert measured == pytest.approx(theory, rel=0.03)
    assert 3 < theory < math.sqrt(9 * 7)


def test_monte_carlo_takes_the_mean_of_probabilities():
    model = torch.nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 3))
    part = Part(torch.randn(40, 8), torch.arange(40) % 3)
    torch.manual_seed(1)
    right, told = masks.monte_carlo(model, part)
    torch.manual_seed(1)
    model.train()
    with torch.no_grad():
        shares = sum(model(part.x).double().softmax(1) for _ in range(masks.PASSES))
    is_right = shares.argmax(1) == part.y
    assert right == is_right.double().mean()
    entropy = -(shares / masks.PASSES * (shares / masks.PASSES).log()).sum(1)
    wins = [a > b for a in entropy[~is_right] for b in entropy[is_right]]
    assert told == pytest.approx(np.mean(wins))


def test_losses_are_taken_from_start_to_end():
    few, unseen = load().train.few(2, 0), load().test
    model = experiment.network(64, 10, 32, 0.5, 0)
    start = experiment.loss(model.eval(), unseen)
    run = experiment.trained(model, few, unseen, 40, 0)
    assert run.epochs == [*range(0, 41, 2)]
    assert run.unseen[0] == pytest.approx(start) and not model.training
    assert run.training[-1] == experiment.loss(model, few) < run.end[0] < run.training[0]


@pytest.mark.slow
def test_the_claim_is_judged_on_digits():
    outcome = experiment.measure(Setting((0, 1), True, load()))
    over_fits, gap, *_ = judged(outcome.results)
    assert over_fits and gap
    shift = outcome.results["variance shift, batch norm behind dropout"]
    assert shift.near(shift.predicted, 0.1)
    assert len(outcome.chart.panels) == 4 and len(outcome.chart.names()) == 6


def test_dropout_that_does_nothing_turns_the_verdict(monkeypatch):
    monkeypatch.setattr(experiment, "FAST", TINY)
    setting = Setting((0, 1), True, load())
    assert judged(experiment.measure(setting).results)[1]
    monkeypatch.setattr(experiment, "Dropout", lambda rate: nn.Dropout(0.0))
    results = experiment.measure(setting).results
    assert results["gap in loss, rate 0"] == results["gap in loss, rate 0.5"]
    assert not any(judged(results)[1:6])


def test_own_images_are_tried_alike_each_time(monkeypatch):
    monkeypatch.setattr(experiment, "FAST", TINY)
    monkeypatch.setattr(experiment, "MOST_PIXELS", 8)
    setting = Setting((0, 1), True, own_images())
    first, again = (experiment.measure(setting) for _ in range(2))
    assert first.chart == again.chart
    assert {*first.results} == {*again.results}
    for name, one in first.results.items():
        assert one.values == pytest.approx(again.results[name].values, nan_ok=True, abs=0)
        assert len(one.values) == 2
