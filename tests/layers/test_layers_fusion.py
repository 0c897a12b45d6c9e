"""Batch normalisation with its activation as one call: the same numbers, and only where it may."""

from __future__ import annotations

import copy
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import layers
from lamina.layers.exchange import from_keras, to_keras
from lamina.layers.fusion import pairs_of

ACTIVATIONS: dict[str, Callable[[], Any]] = {
    "relu": keras.layers.ReLU,
    "relu6": lambda: keras.layers.ReLU(6.0),
    "slope": lambda: keras.layers.ReLU(negative_slope=0.2),
    "leaky": lambda: keras.layers.LeakyReLU(0.3),
    "by name": lambda: keras.layers.Activation("relu6"),
    "swish": lambda: keras.layers.Activation("swish"),
    "hard swish": lambda: keras.layers.Activation("hard_swish"),
    "operation": lambda: keras.ops.relu6,
    "silu operation": lambda: keras.ops.silu,
}
SEPARATE: dict[str, Callable[[], Any]] = {
    "threshold": lambda: keras.layers.ReLU(threshold=0.5),
    "ceiling": lambda: keras.layers.ReLU(2.0),
    "prelu": keras.layers.PReLU,
    "tanh": lambda: keras.layers.Activation("tanh"),
    "dropout": lambda: keras.layers.Dropout(0.0),
}


def network(activation: Any, shape: tuple[int, ...] = (9, 7, 4), **norm: Any) -> keras.Model:
    keras.utils.set_random_seed(0)
    inputs = keras.Input(shape)
    x = keras.layers.BatchNormalization(name="norm", **norm)(inputs)
    model = keras.Model(inputs, keras.layers.Identity()(activation(x)))
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.5, 2.0, w.shape) for w in model.get_weights()])
    return model


def images(shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


def step(model: keras.Model, x: torch.Tensor, training: bool) -> list[torch.Tensor]:
    """Output, the input's and the weights' gradients, and the weights, statistics among them."""
    x = x.clone().requires_grad_()
    model.zero_grad()
    y = model(x, training=training)
    (y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum().backward()
    gradients = [w.value.grad for w in model.trainable_weights]
    return [y, x.grad, *gradients, *(w.value.detach().clone() for w in model.weights)]


def agree(make: Callable[[], keras.Model], x: torch.Tensor, training: bool) -> None:
    """What a model gives with its pair in one is what it gives one by one."""
    together, apart = from_keras(make()), from_keras(make())
    assert len(pairs_of(together)) == 1
    apart.get_layer("norm").register_forward_hook(lambda *_: None)
    assert not pairs_of(apart)
    for one, other in zip(step(together, x, training), step(apart, x, training), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", ACTIVATIONS)
def test_a_pair_gives_what_its_parts_give(name: str, training: bool) -> None:
    agree(lambda: network(ACTIVATIONS[name](), (33, 31, 4)), images((3, 33, 31, 4)), training)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(sorted(ACTIVATIONS)),
    st.tuples(st.integers(1, 3), st.integers(1, 40), st.integers(1, 40), st.integers(1, 9)),
    st.booleans(),
    st.fixed_dictionaries({"center": st.booleans(), "scale": st.booleans()}),
    st.sampled_from([-1, 1, 3]),
)
def test_drawn_pairs(
    name: str, shape: tuple[int, ...], training: bool, norm: dict[str, bool], axis: int
) -> None:
    agree(
        lambda: network(ACTIVATIONS[name](), shape[1:], axis=axis, **norm), images(shape), training
    )


@pytest.mark.parametrize("name", SEPARATE)
def test_what_a_norm_cannot_compute_stays_apart(name: str) -> None:
    assert not pairs_of(from_keras(network(SEPARATE[name]())))


def test_a_sequential_model_and_one_that_is_nested() -> None:
    inner = keras.Sequential(
        [keras.Input((8, 8, 4)), keras.layers.BatchNormalization(), keras.layers.ReLU()]
    )
    inputs = keras.Input((8, 8, 4))
    model = from_keras(keras.Model(inputs, inner(inputs)))
    assert len(pairs_of(inner)) == 1
    x = images((2, 8, 8, 4))
    torch.testing.assert_close(model(x), inner.layers[1](inner.layers[0](x)))


def test_a_norm_that_others_see_stays_apart() -> None:
    inputs = keras.Input((8, 8, 4))
    seen = keras.layers.BatchNormalization()(inputs)
    given_out = keras.Model(inputs, [seen, keras.layers.ReLU()(seen)])
    read_twice = keras.Model(inputs, keras.layers.Add()([seen, keras.layers.ReLU()(seen)]))
    shared, relu = keras.layers.BatchNormalization(), keras.layers.ReLU()
    called_twice = keras.Model(inputs, relu(shared(relu(shared(inputs)))))
    for model in (given_out, read_twice, called_twice):
        assert not pairs_of(from_keras(model))
        x = images((2, 8, 8, 4))
        for y in keras.tree.flatten(model(x)):
            assert y.shape == x.shape


def test_what_comes_later_is_asked_anew() -> None:
    model = from_keras(network(keras.layers.ReLU(name="relu")))
    x = images((2, 9, 7, 4))
    expected = model(x)
    seen: list[torch.Tensor] = []
    handle = model.get_layer("norm").register_forward_hook(lambda _, __, y: seen.append(y))
    torch.testing.assert_close(model(x), expected)
    assert seen[0].min() < 0  # what stands between the two
    handle.remove()
    assert len(pairs_of(model)) == 1
    part = keras.Model(model.inputs, model.get_layer("norm").output)
    torch.testing.assert_close(part(x), seen[0])
    model.get_layer("relu").dtype_policy = "mixed_bfloat16"
    assert not pairs_of(model)


def test_masked_positions_do_not_count() -> None:
    inputs = keras.Input((6, 4))
    norm, relu = keras.layers.BatchNormalization(name="norm"), keras.layers.ReLU()
    model = keras.Model(inputs, relu(norm(keras.layers.Masking()(inputs))))
    plain = copy.deepcopy(model)
    x = images((3, 6, 4))
    x[:, 4:] = 0
    y = from_keras(model)(x, training=True)
    assert len(pairs_of(model)) == 1
    handle = plain.get_layer("norm").register_forward_hook(lambda *_: None)
    torch.testing.assert_close(y, from_keras(plain)(x, training=True))
    handle.remove()
    for one, other in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


def test_training_saving_copying_and_back(tmp_path: Any) -> None:
    model = from_keras(network(keras.layers.ReLU()))
    x = images((4, 9, 7, 4)).numpy()
    model.compile("sgd", "mse")
    model.fit(x, x, epochs=2, verbose=0)
    expected = model.predict(x, verbose=0)
    model.save(tmp_path / "model.keras")
    for other in (keras.models.load_model(tmp_path / "model.keras"), copy.deepcopy(model)):
        np.testing.assert_allclose(other.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    assert "_run_through_graph" not in vars(to_keras(model))
    np.testing.assert_allclose(model.predict(x, verbose=0), expected, rtol=1e-5, atol=1e-6)
    assert type(model.get_layer("norm")) is keras.layers.BatchNormalization
    assert layers.BatchNormalization is not keras.layers.BatchNormalization


def test_a_model_that_is_compiled() -> None:
    model = from_keras(network(keras.layers.ReLU()))
    x = images((2, 9, 7, 4))
    compiled = torch.compile(model, backend="eager")
    torch.testing.assert_close(compiled(x), model(x))
    model.get_layer("norm").compile(backend="eager")
    torch.testing.assert_close(model(x), compiled(x))


def test_two_threads_at_once() -> None:
    model = from_keras(network(keras.layers.ReLU()))
    batches = [images((1, 9, 7, 4)) + number for number in range(64)]
    expected = [model(x) for x in batches]
    with ThreadPoolExecutor(2) as pool:
        for y, z in zip(pool.map(model, batches), expected, strict=True):
            torch.testing.assert_close(y, z)
