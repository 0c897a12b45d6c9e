"""Hold a layer of `lamina.layers` against Keras's on TensorFlow: values, gradients and state."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lamina import layers
from tests.layers.referee import Referee, Verdict

# Two float32 sums of the same few hundred products, each in an order of its own.
RELATIVE = 1e-4
ABSOLUTE = 2e-5


def random_weights(layer: Any, rng: np.random.Generator) -> list[np.ndarray]:
    """Weights that no two entries share; a variance, a deviation or a gamma is positive."""
    values = []
    for weight in layer.weights:
        value = rng.standard_normal(weight.shape).astype("float32") * 0.5
        if weight.name in ("gamma", "moving_variance", "moving_stddev", "renorm_stddev"):
            value = np.abs(value) + 0.5
        values.append(value)
    return values


def run_ours(
    name: str,
    config: dict[str, Any],
    inputs: list[np.ndarray],
    weights: list[np.ndarray] | None = None,
    upstream: np.ndarray | None = None,
    **call: Any,
) -> Verdict:
    """What the referee's `call` answers, of our layer of the same name."""
    layer = getattr(layers, name)(**config)
    layer.build(inputs[0].shape)
    if weights is not None:
        layer.set_weights(weights)
    if call.get("mask") is not None:
        call["mask"] = torch.from_numpy(call["mask"])
    for x in inputs[:-1]:
        layer(torch.from_numpy(x), **call)
    x = torch.from_numpy(inputs[-1].copy()).requires_grad_(upstream is not None)
    y = layer(x, **call)
    gradients: list[np.ndarray] = []
    if upstream is not None:
        total = (y.float() * torch.from_numpy(upstream)).sum() + sum(layer.losses)
        total.backward()
        gradients = [weight.value.grad.numpy() for weight in layer.trainable_weights]
    return Verdict(
        y.detach().numpy(),
        None if x.grad is None else x.grad.numpy(),
        gradients,
        [np.asarray(value) for value in layer.get_weights()],
        [float(loss) for loss in layer.losses],
    )


def assert_same(ours: Verdict, theirs: Verdict) -> None:
    """Every part of the two verdicts, by name."""
    _close("output", ours.output, theirs.output)
    if theirs.input_gradient is not None:
        assert ours.input_gradient is not None
        _close("input gradient", ours.input_gradient, theirs.input_gradient)
    for part in ("weight_gradients", "weights", "losses"):
        pairs = zip(getattr(ours, part), getattr(theirs, part), strict=True)
        for index, (mine, reference) in enumerate(pairs):
            _close(f"{part}[{index}]", np.asarray(mine), np.asarray(reference))


def _close(what: str, ours: np.ndarray, theirs: np.ndarray) -> None:
    assert ours.shape == theirs.shape, f"{what}: shape {ours.shape}, TensorFlow's {theirs.shape}"
    size = float(np.abs(theirs).max(initial=1.0))
    np.testing.assert_allclose(
        ours, theirs, rtol=RELATIVE, atol=ABSOLUTE * size, err_msg=what, equal_nan=True
    )


def assert_parity(
    referee: Referee,
    name: str,
    config: dict[str, Any],
    inputs: np.ndarray | list[np.ndarray],
    *,
    seed: int = 0,
    **call: Any,
) -> None:
    """Forward, every gradient and the state afterwards, with random weights and upstream."""
    rng = np.random.default_rng(seed)
    inputs = inputs if isinstance(inputs, list) else [inputs]
    layer = getattr(layers, name)(**config)
    layer.build(inputs[0].shape)
    weights = random_weights(layer, rng)
    shape = layer.compute_output_shape(inputs[-1].shape)
    upstream = rng.standard_normal(shape).astype("float32")
    ours = run_ours(name, config, inputs, weights, upstream, **call)
    theirs = referee.call(name, config, inputs, weights=weights, upstream=upstream, **call)
    assert_same(ours, theirs)
