"""The law of every initial weight against TensorFlow's Keras: shape, mean, bound, variance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from lamina import layers
from tests.layers.referee import Referee

WIDE = (None, 8, 8, 96)
CASES = [
    ("Conv2D", {"filters": 64, "kernel_size": 3}, WIDE),
    ("Conv2D", {"filters": 96, "kernel_size": 3, "groups": 4}, WIDE),
    ("Conv2D", {"filters": 64, "kernel_size": 3, "kernel_initializer": "he_normal"}, WIDE),
    ("DepthwiseConv2D", {"kernel_size": 5, "depth_multiplier": 4}, WIDE),
    ("SeparableConv2D", {"filters": 256, "kernel_size": 5, "depth_multiplier": 2}, WIDE),
    ("Dense", {"units": 128}, (None, 256)),
    ("Dense", {"units": 128, "kernel_initializer": "lecun_normal"}, (None, 256)),
    ("BatchNormalization", {"renorm": True}, WIDE),
    ("PReLU", {}, (None, 8)),
]


@pytest.mark.parametrize(("name", "config", "shape"), CASES)
def test_law_of_the_initial_weights(
    referee: Referee, name: str, config: dict[str, Any], shape: tuple[int | None, ...]
) -> None:
    layer = getattr(layers, name)(**config)
    layer.build(shape)
    theirs = referee.initial_weights(name, config, shape)
    assert [weight.name for weight in layer.weights] == [weight for weight, _ in theirs]
    for weight, (label, reference) in zip(layer.weights, theirs, strict=True):
        ours = np.asarray(weight.value.detach())
        assert ours.shape == reference.shape, label
        if reference.std() == 0:
            np.testing.assert_array_equal(ours, reference, err_msg=label)
            continue
        # n draws: the mean's error is deviation / √n; that of the variance at most √2 / √n, and
        # both sides have one; five of them.
        noise = 5 * np.sqrt(2 / ours.size)
        deviation = reference.std()
        assert abs(ours.mean() - reference.mean()) < noise * deviation, label
        assert abs(ours.var() / reference.var() - 1) < noise * np.sqrt(2), label
        # The largest of n uniform draws lies within 10/n of the bound, but for e⁻¹⁰ of the time.
        # Keras's torch backend draws a truncated normal four times at most: 4 in a million lie
        # outside, which moves the bound of a whole tensor now and then.
        bound = np.abs(reference).max()
        assert (np.abs(ours) > 1.02 * bound).mean() < 1e-4, label
        assert np.abs(ours).max() > 0.98 * bound, label


def test_squeeze_excite_starts_as_two_1x1_convolutions(referee: Referee) -> None:
    layer = layers.SqueezeExcite(64)
    layer.build((None, 8, 8, 256))
    pairs = [((64,), (None, 8, 8, 256)), ((256,), (None, 8, 8, 64))]
    theirs = [
        weight
        for (filters,), shape in pairs
        for _, weight in referee.initial_weights(
            "Conv2D", {"filters": filters, "kernel_size": 1}, shape
        )
    ]
    for ours, reference in zip(layer.get_weights(), theirs, strict=True):
        assert ours.shape == reference.shape
        np.testing.assert_allclose(ours.std(), reference.std(), rtol=0.03)
        np.testing.assert_allclose(np.abs(ours).max(), np.abs(reference).max(), rtol=0.01)
