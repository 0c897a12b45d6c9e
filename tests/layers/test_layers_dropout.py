"""Dropout's laws: rate, scale, gradient, what shares a mask, and what the seed decides."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
import torch

from lamina import layers

IMAGES = (64, 8, 8, 16)


def drop(layer: Any, shape: tuple[int, ...] = IMAGES) -> np.ndarray:
    return layer(torch.ones(shape), training=True).numpy()


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_kept_numbers_are_scaled_and_the_rate_is_kept(rate: float) -> None:
    y = drop(layers.Dropout(rate, seed=1))
    values = np.unique(y)
    np.testing.assert_allclose(values, [0.0, 1 / (1 - rate)], rtol=1e-6)
    deviation = np.sqrt(rate * (1 - rate) / y.size)
    assert abs((y == 0).mean() - rate) < 5 * deviation


@pytest.mark.parametrize(
    ("layer", "constant_axes", "units"),
    [
        (layers.SpatialDropout2D(0.5, seed=1), (1, 2), 64 * 16),
        (layers.SpatialDropout2D(0.5, data_format="channels_first", seed=1), (2, 3), 64 * 8),
        (layers.DropPath(0.5, seed=1), (1, 2, 3), 64),
        (layers.Dropout(0.5, noise_shape=(None, 1, 1, 1), seed=1), (1, 2, 3), 64),
        (layers.Dropout(0.5, noise_shape=(1, 16), seed=1), (0, 1, 2), 16),
    ],
    ids=["spatial", "spatial channels_first", "path", "noise_shape", "short noise_shape"],
)
def test_what_shares_a_mask(layer: Any, constant_axes: tuple[int, ...], units: int) -> None:
    y = drop(layer)
    np.testing.assert_array_equal(y.max(constant_axes), y.min(constant_axes))
    kept = y.max(constant_axes) > 0
    assert kept.size == units
    assert abs(kept.mean() - 0.5) < 5 * 0.5 / np.sqrt(units)


@pytest.mark.parametrize(
    "make",
    [layers.Dropout, layers.SpatialDropout2D, layers.DropPath],
    ids=lambda make: make.__name__,
)
class TestEveryDropout:
    def test_seed_decides_the_sequence_of_masks(self, make: Any) -> None:
        one, other = make(0.5, seed=7), make(0.5, seed=7)
        first, second = drop(one), drop(one)
        np.testing.assert_array_equal(first, drop(other))
        np.testing.assert_array_equal(second, drop(other))
        assert (first != second).any()
        assert (first != drop(make(0.5, seed=8))).any()

    def test_seed_moves_on_as_keras_s_own_generator(self, make: Any) -> None:
        layer, theirs = make(0.5, seed=7), keras.random.SeedGenerator(7)
        for _ in range(3):
            drop(layer)
            theirs.next()
            ours = layer.seed_generator.state
            assert ours.dtype == theirs.state.dtype
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs.state))

    def test_set_random_seed_decides_without_one(self, make: Any) -> None:
        keras.utils.set_random_seed(3)
        first = drop(make(0.5))
        keras.utils.set_random_seed(3)
        np.testing.assert_array_equal(first, drop(make(0.5)))

    def test_gradient_is_the_mask(self, make: Any) -> None:
        x = torch.rand(8, 4, 4, 4).add_(1).requires_grad_()
        y = make(0.5, seed=2)(x, training=True)
        y.backward(torch.ones_like(y))
        torch.testing.assert_close(x.grad * x, y)

    def test_inference_returns_the_input(self, make: Any) -> None:
        x = torch.rand(2, 4, 4, 4)
        layer = make(0.5)
        assert layer(x) is x
        assert layer(x, training=False) is x
        assert make(0.0)(x, training=True) is x

    def test_rate_of_one_gives_zeros(self, make: Any) -> None:
        assert not drop(make(1.0)).any()

    def test_config_comes_back(self, make: Any) -> None:
        config = make(0.25, seed=9).get_config()
        assert make.from_config(config).get_config() == config
        assert config["rate"] == 0.25 and config["seed"] == 9

    @pytest.mark.parametrize("rate", [-0.1, 1.1, float("nan")])
    def test_rate_outside_of_its_range_is_refused(self, make: Any, rate: float) -> None:
        with pytest.raises(ValueError, match="rate"):
            make(rate)


def test_noise_shape_that_does_not_broadcast_is_refused() -> None:
    with pytest.raises(ValueError, match="noise_shape"):
        drop(layers.Dropout(0.5, noise_shape=(3, 1, 1, 16)))
