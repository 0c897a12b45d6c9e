"""Whole models: Keras's three ways to build one, `fit`, files, policies, and PyTorch's own loop."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

from lamina import layers

CLASSES = 3
SIZE = 8


def quadrants(count: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """Images with one bright quadrant of three, which is the class: learned within two epochs."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, count)
    x = rng.standard_normal((count, SIZE, SIZE, 1)).astype("float32") * 0.3
    for image, label in zip(x, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[4 * row : 4 * row + 4, 4 * column : 4 * column + 4] += 1.5
    return x, labels


def every_kind(data_format: str = "channels_last") -> list[Any]:
    """A classifier made of all kinds of layers."""
    axis = -1 if data_format == "channels_last" else 1
    spatial = {"data_format": data_format}
    return [
        layers.Conv2D(8, 3, padding="same", use_bias=False, **spatial),
        layers.BatchNormalization(axis=axis, momentum=0.8),
        layers.ReLU(),
        layers.MaxPooling2D(2, **spatial),
        layers.DepthwiseConv2D(3, padding="same", **spatial),
        layers.PointwiseConv2D(8, activation="relu", **spatial),
        layers.SeparableConv2D(8, 3, padding="same", activation="silu", **spatial),
        layers.SqueezeExcite(4, **spatial),
        layers.SpatialDropout2D(0.1, **spatial),
        layers.DropPath(0.1),
        layers.AveragePooling2D(2, padding="same", **spatial),
        layers.Flatten(**spatial),
        layers.Dropout(0.1),
        layers.Dense(CLASSES, activation="softmax"),
    ]


def sequential() -> Any:
    return keras.Sequential([layers.Input((SIZE, SIZE, 1)), *every_kind()])


def functional() -> Any:
    inputs = layers.Input((SIZE, SIZE, 1))
    x = layers.Conv2D(8, 3, padding="same")(inputs)
    shortcut = x
    x = layers.BatchNormalization(momentum=0.8)(x)
    x = layers.Activation("relu")(x)
    x = layers.Conv2D(8, 3, padding="same")(x)
    x = layers.Add()([shortcut, layers.DropPath(0.1)(x)])
    x = layers.GlobalAveragePooling2D()(layers.AdaptiveMaxPooling2D(2)(x))
    x = layers.Concatenate()([x, layers.Flatten()(layers.AdaptiveAveragePooling2D(2)(shortcut))])
    return keras.Model(inputs, layers.Dense(CLASSES, activation="softmax")(x))


@keras.saving.register_keras_serializable(package="lamina-tests")
class Subclass(keras.Model):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.convolution = layers.Conv2D(8, 3, padding="same", activation="relu")
        self.normalization = layers.BatchNormalization(momentum=0.8)
        self.pool = layers.MaxPooling2D(4)
        self.flatten = layers.Flatten()
        self.dropout = layers.Dropout(0.1)
        self.head = layers.Dense(CLASSES, activation="softmax")

    def call(self, x: torch.Tensor, training: bool = False) -> torch.Tensor:
        x = self.normalization(self.convolution(x), training=training)
        return self.head(self.dropout(self.flatten(self.pool(x)), training=training))


@pytest.fixture(autouse=True)
def seeded() -> None:
    keras.utils.set_random_seed(0)


def compiled(model: Any) -> Any:
    loss = "sparse_categorical_crossentropy"
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=["accuracy"])
    return model


@pytest.mark.parametrize("build", [sequential, functional, Subclass], ids=lambda f: f.__name__)
class TestEveryWayToBuild:
    def test_fit_learns(self, build: Callable[[], Any]) -> None:
        x, labels = quadrants()
        model = compiled(build())
        history = model.fit(x, labels, epochs=6, batch_size=16, verbose=0).history
        assert history["loss"][-1] < 0.5 * history["loss"][0]
        assert model.evaluate(x, labels, verbose=0)[1] > 0.9

    def test_file_gives_the_same_model(self, build: Callable[[], Any], tmp_path: Path) -> None:
        x, labels = quadrants()
        model = compiled(build())
        model.fit(x, labels, epochs=1, verbose=0)
        model.save(tmp_path / "model.keras")
        again = keras.models.load_model(tmp_path / "model.keras")
        kinds = {type(layer).__module__ for layer in again._flatten_layers(include_self=False)}
        assert any(kind.startswith("lamina.layers") for kind in kinds)
        np.testing.assert_array_equal(model.predict(x, verbose=0), again.predict(x, verbose=0))
        for ours, theirs in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs), err_msg=ours.path)

    def test_deepcopy_and_pickle_and_state_dict(self, build: Callable[[], Any]) -> None:
        x = torch.from_numpy(quadrants(4)[0])
        model = build()
        expected = model(x).detach()
        for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
            torch.testing.assert_close(twin(x), expected)
        other = build()
        other(x)
        renamed = dict(zip(other.state_dict(), model.state_dict().values(), strict=True))
        other.load_state_dict(renamed)
        torch.testing.assert_close(other(x), expected)


def test_channels_first_gives_what_channels_last_gives() -> None:
    x = torch.from_numpy(quadrants(4)[0])
    last = keras.Sequential(every_kind())
    expected = last(x)
    first = keras.Sequential(every_kind("channels_first"))
    first(x.permute(0, 3, 1, 2))
    first.set_weights(last.get_weights())
    torch.testing.assert_close(first(x.permute(0, 3, 1, 2)), expected)


def test_clone_and_frozen_part() -> None:
    model = functional()
    clone = keras.models.clone_model(model)
    assert [type(layer) for layer in clone.layers] == [type(layer) for layer in model.layers]
    x, labels = quadrants()
    for layer in clone.layers[:-1]:
        layer.trainable = False
    frozen = [layer.get_weights() for layer in clone.layers[:-1]]
    compiled(clone).fit(x, labels, epochs=1, verbose=0)
    for layer, weights in zip(clone.layers[:-1], frozen, strict=True):
        for now, before in zip(layer.get_weights(), weights, strict=True):
            np.testing.assert_array_equal(now, before)


def test_callbacks(tmp_path: Path) -> None:
    x, labels = quadrants()
    best = tmp_path / "best.weights.h5"
    model = compiled(sequential())
    model.fit(
        x,
        labels,
        epochs=3,
        verbose=0,
        callbacks=[
            keras.callbacks.ModelCheckpoint(
                best, monitor="loss", save_best_only=True, save_weights_only=True
            ),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
        ],
    )
    assert len((tmp_path / "log.csv").read_text().splitlines()) == 4
    other = sequential()
    other.load_weights(best)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_policy(policy: str) -> None:
    x, labels = quadrants()
    keras.config.set_dtype_policy(policy)
    try:
        model = compiled(sequential())
        low = policy.removeprefix("mixed_")
        assert {layer.compute_dtype for layer in model.layers} == {low}
        assert {weight.dtype for weight in model.trainable_weights} == {"float32"}
        assert model(torch.from_numpy(x[:2])).dtype == getattr(torch, low)
        history = model.fit(x, labels, epochs=6, batch_size=16, verbose=0).history
        assert history["loss"][-1] < 0.6 * history["loss"][0]
    finally:
        keras.config.set_dtype_policy("float32")


def test_losses_and_constraints_are_per_layer() -> None:
    layer = layers.Conv2D(
        4,
        3,
        kernel_regularizer=keras.regularizers.L2(0.1),
        bias_regularizer="l1",
        activity_regularizer=keras.regularizers.L2(0.01),
        kernel_constraint=keras.constraints.UnitNorm(axis=(0, 1, 2)),
        bias_initializer="ones",
    )
    y = layer(torch.ones(2, 4, 4, 3))
    activity, kernel, bias = sorted(loss.item() for loss in layer.losses)[-3:]
    expected = sorted(
        [
            0.1 * float((layer.kernel.value**2).sum()),
            0.01 * 4,
            0.01 * float((y**2).sum()) / 2,
        ]
    )
    assert [activity, kernel, bias] == pytest.approx(expected, rel=1e-5)
    model = compiled(keras.Sequential([layer, layers.Flatten(), layers.Dense(CLASSES, "softmax")]))
    model.fit(np.ones((2, 4, 4, 3), "float32"), np.zeros(2), verbose=0)
    norms = layer.kernel.value.square().sum((0, 1, 2)).sqrt()
    torch.testing.assert_close(norms, torch.ones(4))


def test_plain_torch_training() -> None:
    """A Keras layer is a torch.nn.Module: PyTorch's optimiser and loop serve it."""
    x, labels = quadrants()
    model = sequential()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(25):
        probabilities = model(torch.from_numpy(x), training=True)
        loss = torch.nn.functional.nll_loss(probabilities.log(), torch.from_numpy(labels))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_stateless_call_leaves_the_layer_alone() -> None:
    layer = layers.BatchNormalization(momentum=0.5)
    layer.build((None, 2))
    before = layer.get_weights()
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    trainable = [variable.value for variable in layer.trainable_variables]
    others = [variable.value for variable in layer.non_trainable_variables]
    _, (mean, variance) = layer.stateless_call(trainable, others, x, training=True)
    torch.testing.assert_close(mean, torch.tensor([1.0, 2.0]))
    torch.testing.assert_close(variance, torch.tensor([1.0, 2.5]))
    for now, then in zip(layer.get_weights(), before, strict=True):
        np.testing.assert_array_equal(now, then)


def test_convolution_op_of_a_subclass_is_used() -> None:
    """Keras's documented hook, here for standardised weights."""

    class Standardized(layers.Conv2D):
        def convolution_op(self, inputs: torch.Tensor, kernel: Any) -> torch.Tensor:
            kernel = keras.ops.convert_to_tensor(kernel)
            mean = kernel.mean((0, 1, 2), keepdim=True)
            return super().convolution_op(inputs, kernel - mean)

    layer = Standardized(4, 3, bias_initializer="ones")
    torch.testing.assert_close(layer(torch.ones(1, 4, 4, 2)), torch.ones(1, 2, 2, 4))


def test_no_layer_copies_its_image() -> None:
    """channels_last in, channels_last out: the permutations are views all the way."""
    x = torch.rand(2, 8, 8, 4)
    for layer in (
        layers.Conv2D(8, 3, padding="same"),
        layers.DepthwiseConv2D(3),
        layers.SeparableConv2D(8, 3),
        layers.MaxPooling2D(2),
        layers.AveragePooling2D(2),
        layers.BatchNormalization(),
        layers.SqueezeExcite(2),
    ):
        y = layer(x, training=True) if layer._call_has_training_arg else layer(x)
        assert y.is_contiguous(), type(layer).__name__


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
def test_torch_compile(training: bool) -> None:
    model = keras.Sequential(
        [
            layers.Conv2D(8, 3, padding="same"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(2),
            layers.SeparableConv2D(4, 3),
            layers.GlobalAveragePooling2D(),
            layers.Dense(3),
        ]
    )
    x = torch.rand(2, 8, 8, 3)
    model(x)
    start = model.get_weights()
    expected, moved = model(x, training=training).detach(), model.get_weights()
    model.set_weights(start)
    fast = torch.compile(lambda x: model(x, training=training))
    torch.testing.assert_close(fast(x).detach(), expected, rtol=1e-4, atol=1e-5)
    for now, then in zip(model.get_weights(), moved, strict=True):
        np.testing.assert_allclose(now, then, rtol=1e-4, atol=1e-5)
