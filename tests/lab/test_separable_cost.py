"""Separable convolutions: counts, the best approximation, plants that turn the verdict."""

import numpy as np
import pytest
import torch

from lamina.lab.experiments import separable_cost as tried
from lamina.lab.protocol import Setting
from lamina.lab.tools.data import load
from lamina.lab.tools.rewriting import Rewriting, best_approximation, rewritten
from lamina.nn import Conv2d
from lamina.report.finding.drawing import figure
from lamina.theory import conv2d, separable_conv2d
from tests.lab.images import own_images

CRITERIA = tried.EXPERIMENT.criteria
COUNTED, SHAPES = range(2)


class Blind(torch.nn.Module):
    """Mixes channels as a separable convolution does, and sees one pixel alone."""

    def __init__(self, inputs, outputs, kernel_size, padding=0, bias=True):
        super().__init__()
        self.pointwise = Conv2d(inputs, outputs, 1, bias=bias)

    def forward(self, x):
        return self.pointwise(x)


def measured(seeds=(0,), images=None):
    return tried.measure(Setting(seeds, True, images or load())).results


def judged(results):
    return [criterion.judge(results) for criterion in CRITERIA]


@pytest.fixture
def untrained(monkeypatch):
    """For criteria that rest on no training."""
    monkeypatch.setattr(tried, "fit_annealed", lambda model, *_, **__: model.eval())


@pytest.mark.parametrize("channels", [1, 8, 64, 300])
def test_the_share_is_one_over_channels_and_one_over_taps(channels):
    assert tried.predicted_share(channels) == pytest.approx(1 / channels + 1 / 9, rel=1e-12)
    sizes = ((1, channels, 28, 28), channels, 3)
    counted = separable_conv2d.cost(*sizes, padding=1).macs / conv2d.cost(*sizes, padding=1).macs
    assert tried.predicted_share(channels) == pytest.approx(counted, rel=1e-12)


@pytest.mark.parametrize("multiplier", [1, 2, 5, 9])
def test_the_best_approximation_errs_by_what_it_leaves_out(multiplier):
    conv = Conv2d(4, 12, 3, padding=1, bias=False)
    layer, left_out = best_approximation(conv, multiplier)
    # Kernels whose matrices (12, 9) have the right rank, nearest by singular values.
    kernels = layer.pointwise.weight[:, :, 0, 0].unflatten(1, (4, multiplier)).double()
    own = layer.depthwise.weight.flatten(1).unflatten(0, (4, multiplier)).double()
    product = torch.einsum("mcd,cdk->cmk", kernels, own).detach().numpy()
    for channel in range(4):
        whole = conv.weight[:, channel].detach().double().flatten(1).numpy()
        values = np.linalg.svd(whole, compute_uv=False)
        rest = np.linalg.norm(whole - product[channel])
        assert rest == pytest.approx(np.linalg.norm(values[multiplier:]), abs=1e-6)
    noise = torch.randn(32, 4, 24, 24)
    whole, near = conv(noise), layer(noise)
    error = ((near - whole).norm() / whole.norm()).item()
    # About a hundred weights and 18,000 windows: a few per cent of scatter.
    assert error == pytest.approx(left_out, rel=0.05, abs=1e-6)
    assert (left_out < 1e-12) == (multiplier == 9)


def test_no_other_separable_convolution_is_nearer():
    conv = Conv2d(3, 8, 3, padding=1, bias=False)
    layer, left_out = best_approximation(conv, 1)
    for seed in range(20):
        draw = torch.Generator().manual_seed(seed)
        other = [
            weight + 0.01 * torch.randn(weight.shape, generator=draw)
            for weight in (layer.depthwise.weight, layer.pointwise.weight)
        ]
        kernels = torch.einsum("mc,ckl->mckl", other[1][:, :, 0, 0], other[0][:, 0])
        assert (kernels - conv.weight).norm() / conv.weight.norm() > left_out


def test_a_rewriting_of_full_rank_changes_nothing():
    images = load()
    model = tried.network("standard", 4, images).eval()
    judged = images.test.first(50)
    whole = rewritten(model, 4, judged)
    assert whole.error < 1e-5 and whole.left_out < 1e-12
    assert whole.accuracy == tried.accuracy(model, judged)
    errors = [rewritten(model, rank, judged).error for rank in (1, 2, 3)]
    assert errors == sorted(errors, reverse=True) and errors[-1] > 0.01


def test_equal_cost_is_the_most_that_the_budget_allows():
    images = load()
    allowed = tried.macs_of("standard", 8, images)
    width = tried.equal_width(8, images)
    assert tried.macs_of("separable", width, images) <= allowed
    assert tried.macs_of("separable", width + 1, images) > allowed


def test_counts_follow_theory_without_training(untrained):
    results = measured((0, 1))
    assert judged(results)[COUNTED]
    for channels in tried.FAST.channels:
        one = results[f"{tried.MACS}: separable, {channels} channels"]
        assert one.median == pytest.approx(1 / channels + 1 / 9, rel=1e-12)
    assert results[f"{tried.BYTES}: depthwise, 64 channels"].median > 0.5


def test_a_standard_convolution_in_disguise_is_found_out(untrained, monkeypatch):
    monkeypatch.setattr(tried, "SeparableConv2d", Conv2d)
    monkeypatch.setattr(tried, "rewritten", lambda *_: Rewriting(0.0, 0.0, 0.0))
    assert not judged(measured())[COUNTED]


def test_layers_that_see_one_pixel_are_found_out(monkeypatch):
    monkeypatch.setattr(tried, "SeparableConv2d", Blind)
    monkeypatch.setattr(tried, "rewritten", lambda *_: Rewriting(0.0, 0.0, 0.0))
    assert not judged(measured())[SHAPES]


def test_a_seed_decides_what_is_no_time(untrained):
    def without_times(seed):
        results = measured((seed,))
        return {name: one for name, one in results.items() if not name.startswith(tried.TIME)}

    assert without_times(3) == without_times(3) != without_times(4)


def test_a_folder_of_few_colour_images_will_do():
    outcome = tried.measure(Setting((0, 1), True, own_images()))
    assert judged(outcome.results)[COUNTED]
    assert all(len(one.values) == 2 for one in outcome.results.values())
    assert "channels in and out" in figure(outcome.chart)


def test_the_verdict_of_one_seed():
    results = measured()
    assert judged(results)[:4] == [True, True, False, True]


@pytest.mark.slow
def test_the_verdict():
    assert judged(measured(range(5)))[:4] == [True, True, False, True]
