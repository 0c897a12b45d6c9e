"""What a convolution sees: the verdict, its formulas, and that the planted opposite turns it."""

import json

import numpy as np
import pytest
import torch

from lamina.lab.experiments import conv2d_sees as sees
from lamina.lab.protocol import Setting
from lamina.lab.tools.data import load
from lamina.report.finding.chart import Chart
from tests.lab.images import own_images

DIGITS = load()


def unmet(results):
    """Limits, or statements where there is none, of the criteria that are not met."""
    judged = [criterion.applied(results) for criterion in sees.EXPERIMENT.criteria]
    return [one.limit or one.statement for one in judged if not one.holds]


LIMITS = ["no padding is in sight", "the image moves by a multiple of the stride"]


@pytest.fixture(scope="module")
def outcome():
    return sees.measure(Setting((0, 1), True, DIGITS))


def test_the_claim_holds_within_its_limits(outcome):
    assert unmet(outcome.results) == LIMITS


def test_what_theory_says_is_exact_where_it_is_arithmetic(outcome):
    results = outcome.results
    assert results["window, 16 layers"].predicted == 33
    assert results["window, strides of 2"].predicted == 1 + 2 + 4 + 4 + 8
    assert results["window, dilations of 1, 2, 4"].predicted == 1 + 2 + 4 + 8
    assert results[sees.SPOILT].predicted == 4
    assert results[sees.PARAMETERS].values[0] == results[sees.PARAMETERS].predicted
    assert results[sees.PARAMETERS].predicted == (64 * 1024 + 1024) / 160


def test_the_figure_has_four_panels_of_six_names(outcome):
    assert len(outcome.chart.panels) == 4
    assert len(outcome.chart.names()) == 6
    text = json.dumps(outcome.chart.to_dict())
    assert json.dumps(Chart.from_dict(json.loads(text)).to_dict()) == text


def test_the_effective_width_is_that_of_repeated_boxes():
    box = np.ones(3) / 3
    spread = box
    for _ in range(7):
        spread = np.convolve(spread, box)
    place = np.arange(len(spread)) - len(spread) // 2
    expected = 4 * np.sqrt((spread * place**2).sum())
    assert sees.effective_by_theory(8) == pytest.approx(expected, rel=1e-12)
    rows = torch.from_numpy(np.outer(spread, spread))
    assert sees.effective(rows) == pytest.approx(expected, rel=1e-12)
    assert sees.seen(rows) == 17


def test_influence_is_the_squared_gradient():
    """Of one convolution it is the flipped kernel's, which float64 gives by hand."""
    torch.manual_seed(3)
    network = sees.stack(2, [sees.Window(5)])
    state = torch.get_rng_state()
    found = sees.influence(network, torch.randn(1, 2, 11, 11))
    torch.set_rng_state(state)
    torch.randn(1, 2, 11, 11)
    expected = torch.zeros(11, 11, dtype=torch.double)
    for _ in range(2):
        sums = torch.einsum("m,mcij->cij", torch.randn(16).double(), network[0].weight.double())
        expected[3:8, 3:8] += sums.square().sum(0)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-9)


def test_a_moved_image_is_compared_with_the_moved_output():
    x = torch.randn(2, 1, 6, 15)
    assert sees.moved_errors(torch.nn.Identity(), x, 3, 1).tolist() == [0.0] * 9
    column = torch.nn.Parameter(torch.arange(12.0))

    class Placed(torch.nn.Module):
        def forward(self, x):
            return x * 0 + column

    errors = sees.moved_errors(Placed(), x, 3, 1)
    scale = column.square().mean().sqrt()
    torch.testing.assert_close(errors, torch.full((9,), 3.0) / scale)


def test_equal_seeds_give_equal_numbers():
    setting = Setting((7,), True, DIGITS)
    reach = {1: 4, 2: 7, 4: 13}
    assert sees._moved(setting, 7, reach) == sees._moved(setting, 7, reach)
    first, second = (sees._influences(setting, 7) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)


# ---- the planted opposite -----------------------------------------------------------------------


class OwnFilters(sees.Conv2d):
    """A layer whose filters are not the same everywhere: they grow from left to right."""

    def forward(self, x):
        y = super().forward(x)
        return y * torch.linspace(0.8, 1.2, y.shape[-1])


def test_filters_that_depend_on_the_place_turn_the_verdict(monkeypatch):
    monkeypatch.setattr(sees, "Conv2d", OwnFilters)
    results = sees.measure(Setting((0,), True, DIGITS)).results
    assert any(name.startswith("Away from borders") for name in unmet(results))


class LeftPool(torch.nn.Module):
    """A pool that remembers the place: it looks at the left half alone."""

    def __init__(self, keepdims):
        super().__init__()

    def forward(self, x):
        return x[..., : x.shape[-1] // 2].amax((2, 3))


def test_a_pool_that_remembers_the_place_turns_the_verdict(monkeypatch):
    monkeypatch.setattr(sees, "GlobalMaxPool2d", LeftPool)
    results = sees.measure(Setting((0,), True, DIGITS)).results
    assert [name for name in unmet(results) if "convolution keeps" in name]


# ---- a person's folder --------------------------------------------------------------------------


def test_small_and_coloured_images_do():
    outcome = sees.measure(Setting((0,), True, own_images()))
    values = [value for one in outcome.results.values() for value in one.values]
    assert np.isfinite(values).all()
    assert unmet(outcome.results)[: len(LIMITS)] == LIMITS  # they do not depend on what is learnt


def test_images_of_any_shape_are_placed_whole():
    """Larger ones are shrunk; what stands at the left stands at the right, too."""
    for shape in ((3, 12, 10), (1, 9, 40), (3, 64, 64), (1, 8, 8), (1, 7, 5)):
        x = torch.rand(2, *shape) + 1
        x[:, :, 0, 0] = 0.0
        left, right = (sees.placed(x, at_right) for at_right in (False, True))
        side = min(sees.LEARNT, max(shape[1:]))
        assert left.shape == right.shape
        assert left.shape[2:] == (side + 2 * sees.MARGIN, 2 * side + 3 * sees.MARGIN)
        off = 2 * ((side + sees.MARGIN + 1) // 2)
        assert torch.equal(right[..., off:], left[..., :-off])
        assert (left != left.min()).sum() == (right != right.min()).sum() > 0
