"""BatchNormalization against TensorFlow: statistics over several steps, mask, renorm, modes."""

from __future__ import annotations

import itertools
from typing import Any

import keras
import numpy as np
import pytest
import torch

from lamina import layers
from tests.layers.parity import assert_parity, run_ours
from tests.layers.referee import Referee

STEPS = 3


def batches(*shape: int, steps: int = STEPS, mean: float = 0.5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [(rng.standard_normal(shape) * 1.5 + mean).astype("float32") for _ in range(steps)]


@pytest.mark.parametrize("training", [True, False], ids=["training", "inference"])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [((2, 4, 5, 3), -1), ((2, 3, 4, 5), 1), ((6, 5), -1), ((2, 4, 3), 2), ((3, 2, 2, 2), 0)],
    ids=["channels_last", "channels_first", "dense", "sequence", "first axis"],
)
def test_statistics_and_gradients_over_several_steps(
    referee: Referee, shape: tuple[int, ...], axis: int, training: bool
) -> None:
    config = {"axis": axis, "momentum": 0.8, "epsilon": 2e-3}
    assert_parity(referee, "BatchNormalization", config, batches(*shape), training=training)


@pytest.mark.parametrize(("center", "scale"), [*itertools.product([True, False], repeat=2)])
def test_center_and_scale_are_independent(referee: Referee, center: bool, scale: bool) -> None:
    config = {"center": center, "scale": scale}
    assert_parity(referee, "BatchNormalization", config, batches(2, 3, 3, 4), training=True)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("renorm", [False, True], ids=["plain", "renorm"])
def test_masked_positions_do_not_count(referee: Referee, channels: int, renorm: bool) -> None:
    mask = np.random.default_rng(1).random((2, 4, 5)) > 0.4
    config = {"momentum": 0.7, "renorm": renorm}
    x = batches(2, 4, 5, channels)
    assert_parity(referee, "BatchNormalization", config, x, training=True, mask=mask)


@pytest.mark.parametrize(
    "clipping", [None, {"rmax": 1.1, "rmin": 0.9, "dmax": 0.2}, {"rmax": 1.2}, {"dmax": 0.1}]
)
@pytest.mark.parametrize("affine", [True, False])
def test_renorm(referee: Referee, clipping: dict[str, float] | None, affine: bool) -> None:
    config: dict[str, Any] = {
        "renorm": True,
        "renorm_clipping": clipping,
        "renorm_momentum": 0.6,
        "momentum": 0.7,
        "center": affine,
        "scale": affine,
    }
    for training in (True, False):
        assert_parity(referee, "BatchNormalization", config, batches(4, 3, 3, 3), training=training)


def test_one_value_per_channel_gives_beta(referee: Referee) -> None:
    x = batches(1, 1, 1, 3)
    assert_parity(referee, "BatchNormalization", {}, x, training=True)
    layer = layers.BatchNormalization(beta_initializer=keras.initializers.Constant(0.25))
    assert layer(torch.from_numpy(x[0]), training=True).flatten().tolist() == [0.25] * 3


def test_frozen_layer_is_in_inference_mode(referee: Referee) -> None:
    config = {"trainable": False, "momentum": 0.5}
    assert_parity(referee, "BatchNormalization", config, batches(2, 3, 3, 4), training=True)
    frozen = run_ours("BatchNormalization", config, batches(2, 3, 3, 4), training=True)
    np.testing.assert_array_equal(frozen.weights[2], np.zeros(4))


def test_variance_survives_a_large_mean(referee: Referee) -> None:
    """Keras's own torch backend has E[x²] − E[x]² here: noise, below zero at times."""
    x = batches(4, 8, 8, 2, mean=1000.0)
    ours = run_ours("BatchNormalization", {"momentum": 0.0}, x, training=True)
    exact = x[-1].astype("float64").var((0, 1, 2))
    np.testing.assert_allclose(ours.weights[3], exact, rtol=1e-4)
    theirs = referee.call("BatchNormalization", {"momentum": 0.0}, x, training=True)
    np.testing.assert_allclose(ours.output, theirs.output, atol=2e-3)


def test_empty_batch_leaves_the_statistics_alone() -> None:
    """TensorFlow makes them NaN for good."""
    for config in ({}, {"renorm": True}):
        verdict = run_ours(
            "BatchNormalization", config, [np.zeros((0, 2, 2, 3), "float32")], training=True
        )
        assert verdict.output.shape == (0, 2, 2, 3)
        assert all(np.isfinite(value).all() for value in verdict.weights)
        np.testing.assert_array_equal(verdict.weights[3], np.ones(3))


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16", "float64"])
def test_low_precision_computes_in_float32(policy: str) -> None:
    """In bfloat16 a mean of 100 leaves half a unit of resolution; the statistics keep float32's."""
    layer = layers.BatchNormalization(dtype=policy, momentum=0.0)
    x = torch.from_numpy(batches(8, 4, 4, 2, steps=1, mean=100.0)[0])
    given = x.to(getattr(torch, layer.compute_dtype))
    y = layer(given, training=True)
    assert str(y.dtype) == f"torch.{layer.compute_dtype}"
    exact = given.double().flatten(0, 2)
    expected = (exact - exact.mean(0)) / (exact.var(0, correction=0) + 1e-3).sqrt()
    tolerance = {torch.bfloat16: 2e-2, torch.float16: 2e-3}.get(y.dtype, 1e-9)
    torch.testing.assert_close(y.double().flatten(0, 2), expected, rtol=tolerance, atol=tolerance)


def test_synchronized_alone_is_local(referee: Referee) -> None:
    assert_parity(
        referee, "BatchNormalization", {"synchronized": True}, batches(2, 3, 3, 4), training=True
    )


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"momentum": float("nan")}, "momentum must be a number in"),
        ({"momentum": 1.5}, "momentum must be a number in"),
        ({"epsilon": -1e-3}, "epsilon must be at least 0"),
        ({"epsilon": float("nan")}, "epsilon must be a finite number"),
        ({"renorm": True, "renorm_clipping": {"rmid": 1}}, "renorm_clipping"),
        ({"renorm": True, "renorm_clipping": {"rmax": 1, "rmin": 2}}, "rmax should be greater"),
        ({"axis": 7}, "out of range|out of bounds"),
    ],
)
def test_bad_arguments_are_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises((ValueError, IndexError), match=message):
        run_ours("BatchNormalization", config, batches(2, 3, 3, 4), training=True)


def test_mask_of_another_rank_is_refused() -> None:
    layer = layers.BatchNormalization()
    with pytest.raises(ValueError, match="mask must have one axis fewer"):
        layer(torch.ones(2, 3, 3, 4), training=True, mask=torch.ones(2, 3))


def test_config_comes_back() -> None:
    layer = layers.BatchNormalization(1, 0.9, synchronized=True, renorm=True)
    again = layers.BatchNormalization.from_config(layer.get_config())
    assert again.get_config() == layer.get_config()
    assert again.synchronized and again.renorm and again.momentum == 0.9
