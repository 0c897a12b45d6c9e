"""A right crossing is proven; a wrong one is found, its layer and likely trap named."""

import keras
import numpy as np
import pytest
import torch
from torch import nn

from lamina import layers
from lamina.errors import InputError, RunError
from lamina.interchange import from_keras
from lamina.interchange.proof import verify
from tests.interchange.proof.crossings import hand_made


@pytest.fixture(scope="module")
def right():
    return hand_made()


@pytest.mark.parametrize("backend", ["tensorflow", "torch"])
def test_a_right_crossing_is_proven(right, backend):
    before = right.keras_model.get_weights(), right.torch_model.state_dict()
    before = [x.copy() for x in before[0]], {k: v.clone() for k, v in before[1].items()}
    proof = verify(right, backend=backend)
    assert proof.holds, proof.verdict
    assert proof.verdict.startswith("proven")
    assert {"tensorflow": "TensorFlow", "torch": "PyTorch"}[backend] in proof.ran_on[0]
    kinds = [row.kind for row in proof.rows]
    # 6 layers and the result; 4 statistics; 9 weights.
    assert [kinds.count(k) for k in ("output", "statistic", "loss", "gradient", "weight")] == [
        7, 4, 1, 9, 9,
    ]  # fmt: skip
    # A bias before a normalisation has a gradient of rounding alone.
    assert all(row.difference < (1e-7 if row.what == "stem/bias" else 1e-12) for row in proof.rows)
    after = right.keras_model.get_weights(), right.torch_model.state_dict()
    assert all(np.array_equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    assert all(torch.equal(before[1][name], after[1][name]) for name in before[1])
    assert right.torch_model.training


class BiasedBatchNorm2d(nn.BatchNorm2d):
    """Keeps the biased variance, where the comparison expects the unbiased one."""

    def forward(self, x):
        kept = self.running_var.clone()
        result = super().forward(x)
        if self.training:
            n = x.numel() // x.shape[1]
            kept *= 1 - self.momentum
            self.running_var.data.copy_(kept + (self.running_var - kept) * (n - 1) / n)
        return result


def set_attribute(layer, name, value):
    return lambda module: setattr(getattr(module, layer), name, value)


momentum = set_attribute("norm", "momentum", 0.9)


def padding(module):
    module.pad.padding = (1, 0, 1, 0)


def symmetric(module):
    module.pad.padding, module.stem.padding = (0, 0, 0, 0), (1, 1)


def without_bias(module):
    module.stem = nn.Conv2d(3, 6, 3, stride=2, bias=False)


@pytest.mark.parametrize(
    ("change", "kind", "layer", "what", "trap"),
    [
        (momentum, "statistic", "norm", "norm/moving_mean", "momentum"),
        (set_attribute("mix_norm", "eps", 1e-5), "output", "mix_norm", "mix_norm", "epsilon"),
        (padding, "output", "stem", "stem", "same-stride"),
        (symmetric, "output", "stem", "stem", "same-stride"),
        (set_attribute("leaky", "negative_slope", 0.01), "output", "leaky", "leaky", "leaky-slope"),
        (without_bias, "output", "stem", "stem", ""),
    ],
    ids=["momentum", "epsilon", "flipped", "symmetric", "slope", "bias"],
)  # fmt: skip
def test_a_planted_setting_is_found(change, kind, layer, what, trap):
    proof = verify(hand_made(change=change), backend="torch")
    first = proof.first
    assert (first.kind, first.layer, first.what, proof.trap) == (kind, layer, what, trap)
    assert repr(layer) in proof.verdict and "\n" not in proof.verdict
    if not trap:
        assert "one number per channel: a bias" in proof.suspicion


def test_a_variance_that_is_not_pytorchs_is_found():
    crossing = hand_made()
    crossing.torch_model.mix_norm.__class__ = BiasedBatchNorm2d
    proof = verify(crossing, backend="torch")
    assert (proof.first.what, proof.trap) == ("mix_norm/moving_variance", "biased-variance")


def swap_rows(state):
    weight = state["head.weight"]
    weight[:, [3, 40]] = weight[:, [40, 3]]


def transpose_kernel(state):
    state["mix.weight"].copy_(state["mix.weight"].transpose(0, 1).clone())


def turn_kernel(state):
    state["mix.weight"].copy_(state["mix.weight"].transpose(2, 3).clone())


def exchange_statistics(state):
    mean, variance = state["norm.running_mean"].clone(), state["norm.running_var"].clone()
    state["norm.running_mean"].copy_(variance), state["norm.running_var"].copy_(mean.abs())


def flatten_order(state):
    weight = state["head.weight"]
    weight.copy_(weight.reshape(5, 6, 16).transpose(1, 2).reshape(5, 96).clone())


@pytest.mark.parametrize(
    ("spoil", "layer", "trap"),
    [
        (swap_rows, "head", "flatten"),
        (flatten_order, "head", "flatten"),
        (transpose_kernel, "mix", "conv-weight"),
        (turn_kernel, "mix", "conv-weight"),
        (exchange_statistics, "norm", "epsilon"),
    ],
)
def test_a_planted_weight_is_found(spoil, layer, trap):
    crossing = hand_made()
    spoil(crossing.torch_model.state_dict())
    proof = verify(crossing, backend="torch")
    assert (proof.first.kind, proof.first.layer, proof.trap) == ("output", layer, trap)


def test_it_takes_tensorflow_where_there_is_one_which_finds_the_same():
    proof = verify(hand_made(change=padding))
    assert proof.ran_on[0].startswith("Keras on TensorFlow 2.") and proof.remark == ""
    assert (proof.first.layer, proof.trap) == ("stem", "same-stride")


def test_a_bias_of_zero_that_is_missing_shows_in_training():
    def without(module):
        module.head = nn.Linear(96, 5, bias=False)

    crossing = hand_made(change=without)
    crossing.keras_model.get_layer("head").bias.assign(np.zeros(5))
    proof = verify(crossing, backend="torch")
    assert (proof.first.layer, proof.first.what) == ("head", "head/bias")
    assert proof.first.remark == "no counterpart in PyTorch"


def test_a_frozen_layer_whose_statistics_move():
    crossing = hand_made()
    crossing.keras_model.get_layer("mix_norm").trainable = False
    for pair in [pair for pair in crossing.weights if pair.keras.startswith("mix_norm")]:
        crossing.weights[crossing.weights.index(pair)] = type(pair)(
            pair.keras, pair.torch, pair.rearrangement, False
        )
    crossing.torch_model.mix_norm.requires_grad_(False)
    proof = verify(crossing, backend="torch")
    assert (proof.first.kind, proof.first.layer, proof.trap) == (
        "statistic",
        "mix_norm",
        "freezing",
    )


def test_shapes_that_do_not_fit_are_named():
    def wider(module):
        module.pad.padding = (0, 3, 0, 3)

    with pytest.raises(RunError, match=r"PyTorch fails at .head.: mat1 and mat2"):
        verify(hand_made(change=wider), backend="torch")


def test_the_same_seed_gives_the_same_numbers(right):
    one, two, other = (verify(right, backend="torch", seed=seed) for seed in (3, 3, 4))
    assert [row.difference for row in one.rows] == [row.difference for row in two.rows]
    assert [row.difference for row in one.rows] != [row.difference for row in other.rows]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"batch": 1}, "batch: expected at least 2, got 1"),
        ({"backend": "jax"}, "backend: expected auto, tensorflow or torch, got 'jax'"),
        ({"sizes": [(1, 2), (3,)]}, "input: expected 1 sizes, got 2"),
    ],
)
def test_what_cannot_be_asked_for(right, arguments, message):
    with pytest.raises(InputError, match=message):
        verify(right, **arguments)


def test_a_pair_that_names_nothing(right):
    crossing = hand_made()
    crossing.pairs[0] = type(crossing.pairs[0])("stam", 0, "stem", None, "stem")
    with pytest.raises(InputError, match="the Keras model has no operation 'stam'"):
        verify(crossing)


@pytest.mark.parametrize("backend", ["torch", "tensorflow"])
def test_a_model_without_weights_is_proven(backend):
    parts = [keras.Input((8, 6, 3)), layers.MaxPooling2D(2), layers.Flatten()]
    proof = verify(from_keras.cross(keras.Sequential(parts)), backend=backend)
    assert proof.holds and {row.kind for row in proof.rows} == {"output", "loss"}
