"""The dense layer at the end: counts, maps and plants that turn the verdict."""

import pytest
import torch

from lamina.lab.experiments import dense_head as tried
from lamina.lab.protocol import Setting
from lamina.lab.tools.data import Part, load
from lamina.report.finding.drawing import figure
from tests.lab.images import own_images

CRITERIA = tried.EXPERIMENT.criteria
COST = 0


def measured(seeds=(0,), images=None):
    return tried.measure(Setting(seeds, True, images or load())).results


def judged(results):
    return [criterion.judge(results) for criterion in CRITERIA]


@pytest.fixture
def untrained(monkeypatch):
    """For criteria that rest on no training: nothing is trained, nothing moved."""
    monkeypatch.setattr(tried, "fit_annealed", lambda *_, **__: None)
    monkeypatch.setattr(tried, "changed", lambda *_: [0.0] * len(tried.MOVES))


@pytest.fixture
def brief(monkeypatch):
    """Few steps, where it does not matter what is learnt."""
    fit = tried.fit_annealed
    monkeypatch.setattr(tried, "fit_annealed", lambda *a, **b: fit(*a, **{**b, "epochs": 5}))


def test_counts_are_the_formulas(untrained):
    results = measured()
    assert judged(results)[COST]
    # 8 filters, four times that in the last map, of 6×6 pixels; ten classes.
    assert results[tried._MACS.format("flatten")].median == 32 * 36 * 10
    assert results[tried._MACS.format("global mean")].median == 32 * 10
    assert results[tried._PARAMETERS.format("flatten")].median == 32 * 36 * 10 + 10
    assert results[tried._FEWER].median == results[tried._FEWER].predicted == 36


@pytest.mark.parametrize("head", tried.HEADS)
def test_the_evidence_of_all_pixels_is_the_output(head):
    torch.manual_seed(0)
    model = tried.Network(head, 3, 5, 4).double()
    x = torch.randn(6, 3, tried.GROUND, tried.GROUND, dtype=torch.float64)
    with torch.no_grad():
        model.dense.weight.normal_()
        expected = model(x) - model.dense.bias
        # The map as its paper has it, whose mean is the output.
        weight = model.dense.weight.reshape(4, 20, -1)
        maps = (weight[None] * model.body(x).flatten(2)[:, None]).sum(2).unflatten(2, (6, 6))
    found = tried.evidence(model, x)
    assert found.shape == (6, 4, 6, 6)
    torch.testing.assert_close(found.sum((2, 3)), expected, rtol=1e-12, atol=1e-12)
    whole = 36 if head == "global mean" else 1
    torch.testing.assert_close(found * whole, maps, rtol=1e-12, atol=1e-12)


def test_pairs_have_two_classes_one_in_each_half():
    part = Part(torch.rand(30, 2, 12, 9) + 1, torch.arange(30) % 3)
    part.x[0, 0, 0, 0] = 0  # the ground
    squares, owners = tried._paired(part)
    assert squares.shape == (tried.PAIRS, 2, tried.GROUND, tried.GROUND)
    assert (owners[:, 0] != owners[:, 1]).all()
    pixels = (squares[:, 1] > 0).unflatten(2, (2, -1)).sum((1, 3))
    assert (pixels == 12 * 9).all()


def test_a_class_is_on_its_side_where_its_evidence_is():
    owners = torch.tensor([[2, 0], [1, 2]])
    maps = torch.zeros(2, 3, 8, 8)
    for of_all, (left, right) in zip(maps, owners.tolist(), strict=True):
        of_all[left, 3, 1] = of_all[right, 6, 7] = 1
    assert tried._on_their_side(maps, owners) == 1
    assert tried._on_their_side(maps.flip(3), owners) == 0


def test_a_mean_that_keeps_all_pixels_is_found_out(untrained, monkeypatch):
    flatten = tried.nn.Flatten
    monkeypatch.setattr(tried.nn, "GlobalAvgPool2d", lambda keepdims: flatten())
    results = measured()
    assert results[tried._FEWER].median == 1 and not judged(results)[COST]


def test_two_heads_alike_have_no_difference(brief, monkeypatch):
    mean = tried.nn.GlobalAvgPool2d
    monkeypatch.setattr(tried.nn, "Flatten", lambda: mean(keepdims=False))
    results = measured(images=own_images())
    *differences, _ = judged(results)
    assert not any(differences)


def test_a_seed_decides(untrained):
    assert measured((3,)) == measured((3,)) != measured((4,))


def test_a_folder_of_few_colour_images_will_do(brief):
    outcome = tried.measure(Setting((0,), True, own_images()))
    assert judged(outcome.results)[COST]
    assert "evidence for a" in figure(outcome.chart)
    assert all(len(one.values) == 1 for one in outcome.results.values())


@pytest.mark.slow
def test_the_claim_holds_on_digits_at_drawn_places():
    assert judged(measured(range(5))) == [True, True, True, False, True, True]
