"""Dropout, Dropout2d and DropPath: rates, shapes of the mask, seeds, and torch.nn's manners."""

from __future__ import annotations

import copy

import pytest
import torch

from lamina import nn


def kept(y: torch.Tensor) -> torch.Tensor:
    return (y != 0).double()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_zeroes_p_of_the_elements_and_keeps_the_mean(p: float) -> None:
    y = nn.Dropout(p, seed=1)(torch.ones(200_000))
    assert float(kept(y).mean()) == pytest.approx(1 - p, abs=0.006)
    assert sorted(set(y.tolist())) == pytest.approx([0.0, 1 / (1 - p)])


def test_the_gradient_goes_through_the_same_mask() -> None:
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    for layer in (nn.Dropout(0.5), nn.Dropout(0.5, seed=1), nn.Dropout2d(0.5), nn.DropPath(0.5)):
        y = layer(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(gradient * x, y)


def test_noise_shape_shares_one_draw() -> None:
    y = nn.Dropout(0.5, noise_shape=(None, 1, 4, 1), seed=2)(torch.ones(64, 8, 4, 6))
    assert torch.equal(y, y[:, :1, :, :1].expand_as(y))
    assert 0.3 < float(kept(y[:, 0, :, 0]).mean()) < 0.7


def test_whole_channels_and_whole_samples() -> None:
    x = torch.ones(32, 16, 3, 3)
    channels = nn.Dropout2d(0.5, seed=2)(x)
    assert torch.equal(channels, channels[..., :1, :1].expand_as(x))
    samples = nn.DropPath(0.5, seed=2)(x)
    assert torch.equal(samples, samples[:, :1, :1, :1].expand_as(x))
    for y in (channels, samples):
        assert 0.2 < float(kept(y).mean()) < 0.8


def test_a_seed_repeats_the_sequence_of_masks_and_not_one_mask() -> None:
    x = torch.ones(100)
    one, two = nn.Dropout(0.5, seed=11), nn.Dropout(0.5, seed=11)
    first, second = one(x), one(x)
    assert not torch.equal(first, second)
    torch.manual_seed(99)
    assert torch.equal(two(x), first) and torch.equal(two(x), second)
    assert not torch.equal(nn.Dropout(0.5, seed=12)(x), first)


def test_a_seed_leaves_torchs_generator_alone_and_eval_leaves_the_seed() -> None:
    layer, x = nn.Dropout(0.5, seed=1), torch.ones(10)
    state = torch.get_rng_state()
    layer(x)
    layer.eval()(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert layer.seed.tolist() == [1, 1]
    assert layer.state_dict() == {}


def test_a_copy_goes_on_where_the_original_is() -> None:
    layer, x = nn.Dropout(0.5, seed=1), torch.ones(100)
    layer(x)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), layer(x))


def test_without_a_seed_manual_seed_rules() -> None:
    layer, x = nn.Dropout(0.5), torch.ones(100)
    torch.manual_seed(5)
    first, second = layer(x), layer(x)
    torch.manual_seed(5)
    assert torch.equal(layer(x), first) and not torch.equal(first, second)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5, inplace=True), nn.Dropout2d(0.5, inplace=True)])
def test_inplace_overwrites(layer) -> None:
    x = torch.ones(4, 8, 5, 5)
    y = layer(x)
    assert y.data_ptr() == x.data_ptr() and not bool((x == 1).any())


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_ends_of_the_range(p: float) -> None:
    x = torch.randn(10)
    expected = x if p == 0 else torch.zeros(10)
    for layer in (nn.Dropout(p), nn.Dropout(p, seed=1)):
        torch.testing.assert_close(layer(x), expected)


def test_nan_stays_nan() -> None:
    x = torch.full((8,), torch.nan)
    for p in (0.5, 1.0):
        assert bool(nn.Dropout(p, seed=1)(x).isnan().all())


def test_three_axes_are_batch_channel_length_as_in_torch() -> None:
    y = nn.Dropout2d(0.5, seed=3)(torch.ones(16, 8, 5))
    assert torch.equal(y, y[..., :1].expand_as(y))
