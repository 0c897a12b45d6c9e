"""From keras.layers and back: exact, nested layers included, and open to stock Keras."""

from __future__ import annotations

import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import torch

import lamina
from lamina import layers, nn
from lamina.layers.exchange import PLAIN, from_keras, to_keras

STOCK_KERAS = """
import sys
import keras
import numpy as np

assert keras.backend.backend() == "tensorflow"
model = keras.models.load_model(sys.argv[1])
assert not any(name.startswith("lamina") for name in sys.modules)
np.save(sys.argv[3], model.predict(np.load(sys.argv[2]), verbose=0))
"""


def network() -> keras.Model:
    """Every layer of ours that Keras has an equal of: plain, nested, wrapped, twice called."""
    inputs = layers.Input((12, 10, 3))
    x = layers.Conv2D(8, 3, padding="same", algorithm="direct", use_bias=False)(inputs)
    x = layers.BatchNormalization(momentum=0.5)(x)
    x = layers.MaxPooling2D(2, strides=1, padding="same")(x)
    twice = layers.DepthwiseConv2D(3, padding="same", activation="relu")
    x = layers.Add()([x, layers.DropPath(0.2)(twice(twice(x)))])
    inner = keras.Sequential(
        [layers.SeparableConv2D(8, 3, padding="same"), layers.SpatialDropout2D(0.1), layers.ReLU()]
    )
    x = layers.PointwiseConv2D(6, activation="hard_sigmoid")(inner(x))
    x = layers.AveragePooling2D(2, padding="same")(x)
    rows = layers.TimeDistributed(layers.Dense(4, activation="tanh"))(layers.Flatten()(x)[:, None])
    pooled = [
        layers.GlobalMaxPooling2D()(x),
        layers.GlobalAveragePooling2D()(x),
        layers.Flatten()(layers.AdaptiveMaxPooling2D((2, 3))(x)),
        layers.Flatten()(layers.AdaptiveAveragePooling2D((3, 2))(x)),
        layers.Flatten()(rows),
    ]
    y = layers.Dropout(0.3, seed=4)(layers.Concatenate()(pooled))
    return keras.Model(inputs, layers.Dense(5, activation="softmax")(y))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.blocks = [layers.Conv2D(4, 3, activation="relu"), layers.BatchNormalization()]
        self.head = {"pool": layers.GlobalAveragePooling2D(), "map": layers.Dense(3)}

    def call(self, x: Any) -> Any:
        for block in self.blocks:
            x = block(x)
        return self.head["map"](self.head["pool"](x))


def modules_of(model: keras.Model) -> set[str]:
    return {type(layer).__module__.split(".")[0] for layer in model._flatten_layers()}


def images(count: int = 8) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 12, 10, 3)).astype("float32")


def trained(model: keras.Model) -> keras.Model:
    model.compile("adam", "sparse_categorical_crossentropy")
    model.fit(images(), np.arange(8) % 5, batch_size=4, verbose=0)
    return model


def test_every_layer_of_ours_has_an_equal_or_a_reason() -> None:
    ours = {getattr(layers, name) for name in layers.__all__}
    ours = {kind for kind in ours if getattr(kind, "__module__", "").startswith("lamina")}
    assert ours - {from_keras, to_keras, layers.SqueezeExcite} == {*PLAIN}


@pytest.mark.parametrize("ours", PLAIN, ids=lambda kind: kind.__name__)
def test_call_takes_the_same_arguments(ours: Any) -> None:
    """Keras looks at the signature once, when a layer is made."""
    both = [list(inspect.signature(kind.call).parameters) for kind in (ours, PLAIN[ours])]
    assert both[0] == both[1]


def test_numbers_weights_and_training_stay() -> None:
    model = trained(network())
    before, weights, optimizer = (
        model.predict(images(), verbose=0),
        model.get_weights(),
        model.optimizer,
    )
    held = list(model._flatten_layers())
    assert to_keras(model) is model
    assert list(model._flatten_layers()) == held and modules_of(model) == {"keras"}
    np.testing.assert_allclose(model.predict(images(), verbose=0), before, atol=1e-5)
    for now, then in zip(model.get_weights(), weights, strict=True):
        np.testing.assert_array_equal(now, then)
    assert model.optimizer is optimizer and int(optimizer.iterations) == 2
    model.fit(images(), np.arange(8) % 5, batch_size=4, verbose=0)
    assert int(optimizer.iterations) == 4
    assert any((a != b).any() for a, b in zip(model.get_weights(), weights, strict=True))


@pytest.mark.parametrize("trains", [False, True], ids=["fresh", "trained"])
def test_stock_keras_on_tensorflow_opens_the_file(tmp_path: Path, trains: bool) -> None:
    model = trained(network()) if trains else network()
    before = model.predict(images(), verbose=0)
    to_keras(model).save(tmp_path / "model.keras")
    np.save(tmp_path / "images.npy", images())
    files = [str(tmp_path / name) for name in ("model.keras", "images.npy", "output.npy")]
    environment = {**os.environ, "KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
    subprocess.run(
        [sys.executable, "-c", STOCK_KERAS, *files],
        check=True,
        env=environment,
        cwd=tmp_path,
        stderr=subprocess.DEVNULL,
    )
    np.testing.assert_allclose(np.load(files[2]), before, atol=1e-5)


def test_layers_that_were_never_called_are_built_as_keras_s(tmp_path: Path) -> None:
    model = to_keras(Subclassed())
    y = model(torch.ones(2, 12, 10, 3))
    assert tuple(y.shape) == (2, 3) and modules_of(model) - {"tests"} == {"keras"}
    for kind, arguments in (
        (layers.DepthwiseConv2D, (3,)),
        (layers.SeparableConv2D, (4, 3)),
        (layers.PointwiseConv2D, (4,)),
    ):
        layer = to_keras(kind(*arguments))
        layer(torch.ones(2, 12, 10, 3))
        assert layer.built and layer.weights


def test_a_torch_module_that_holds_keras_layers() -> None:
    inner = layers.Dense(4)
    model = torch.nn.Sequential(torch.nn.ReLU(), inner)
    x = torch.randn(2, 3)
    expected = model(x)
    assert type(to_keras(model)[1]) is keras.layers.Dense
    torch.testing.assert_close(model(x), expected)


def test_config_has_no_word_of_ours() -> None:
    assert "lamina" in json.dumps(network().get_config())
    assert "lamina" not in json.dumps(to_keras(network()).get_config())


class Ours(layers.Conv2D):
    """What it computes is its own affair."""


REFUSED = [
    (layers.SqueezeExcite(2), "keras.layers has no SqueezeExcite"),
    (layers.DropPath(0.5), "learns the number of axes from its first call"),
    (layers.BatchNormalization(synchronized=True), "synchronized=True on TensorFlow alone"),
    (Ours(2, 3), "a subclass of lamina.layers.Conv2D"),
]


@pytest.mark.parametrize(("layer", "reason"), REFUSED, ids=lambda value: type(value).__name__)
def test_a_layer_without_an_equal_is_refused_and_nothing_changes(layer: Any, reason: str) -> None:
    model = torch.nn.Sequential(layers.Dense(3), layer)
    with pytest.raises(
        ValueError, match=f"layer '{layer.name}' cannot be plain.*{reason}"
    ) as error:
        to_keras(model)
    assert "\n" not in str(error.value)
    assert type(model[0]) is layers.Dense


def test_restore_does_it_too() -> None:
    model = torch.nn.Sequential(nn.ReLU(), layers.Dense(4))
    x = torch.randn(2, 3)
    expected = model(x)
    assert [type(module) for module in lamina.restore(model)] == [torch.nn.ReLU, keras.layers.Dense]
    torch.testing.assert_close(model(x), expected)
    assert modules_of(lamina.restore(trained(network()))) == {"keras"}


def test_restore_changes_nothing_where_one_layer_is_refused() -> None:
    model = torch.nn.Sequential(nn.ReLU(), layers.SqueezeExcite(2))
    with pytest.raises(ValueError, match=r"keras\.layers has no SqueezeExcite"):
        lamina.restore(model)
    model = torch.nn.Sequential(nn.Conv2d(3, 4, 3, 2, padding="same"), layers.Dense(2))
    with pytest.raises(ValueError, match=r"torch\.nn\.Conv2d has no padding='same' here"):
        lamina.restore(model)
    assert type(model[1]) is layers.Dense


# ---- the other way ------------------------------------------------------------------------------


def of_keras() -> keras.Model:
    """The network of Keras's own layers, as a user of Keras has it."""
    return to_keras(network())


def test_optimize_exchanges_the_layers_of_a_model_that_is_being_trained() -> None:
    keras.utils.set_random_seed(0)
    model = trained(of_keras())
    plain = keras.models.clone_model(model)
    plain.set_weights(model.get_weights())
    optimizer, weights = model.optimizer, model.get_weights()
    expected = plain.predict(images(), verbose=0)
    assert lamina.optimize(model) is model and "lamina" in modules_of(model)
    np.testing.assert_allclose(model.predict(images(), verbose=0), expected, atol=1e-5)
    np.testing.assert_allclose(
        model.evaluate(images(), np.arange(8) % 5, verbose=0),
        -np.log(expected[np.arange(8), np.arange(8) % 5]).mean(),
        rtol=1e-4,
    )
    assert model.optimizer is optimizer and int(optimizer.iterations) == 2
    model.fit(images(), np.arange(8) % 5, batch_size=4, verbose=0)
    assert int(optimizer.iterations) == 4
    assert any((a != b).any() for a, b in zip(model.get_weights(), weights, strict=True))


def test_a_training_step_has_the_same_gradients() -> None:
    plain = Subclassed()
    to_keras(plain)(images())
    ours = Subclassed()
    to_keras(ours)(images())
    ours.set_weights(plain.get_weights())
    lamina.optimize(ours)
    for model in (ours, plain):
        model.compile(keras.optimizers.SGD(0.1), "mse")
        model.fit(images(), np.ones((8, 3)), batch_size=8, epochs=2, verbose=0)
    for a, b in zip(ours.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_its_report_says_which_layers_stay() -> None:
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.Conv2DTranspose(4, 3)(keras.layers.Conv2D(4, 3)(inputs))
    report = lamina.optimize(keras.Model(inputs, keras.layers.ReLU()(x))).lamina_report
    assert [row.runs for row in report.rows] == [
        "lamina.layers.Conv2D",
        "torch.Conv2DTranspose",
    ]
    assert report.left[0].note


def test_files_go_both_ways(tmp_path: Path) -> None:
    model = lamina.optimize(trained(of_keras()))
    before = model.predict(images(), verbose=0)
    model.save(tmp_path / "ours.keras")
    again = keras.models.load_model(tmp_path / "ours.keras")
    np.testing.assert_allclose(again.predict(images(), verbose=0), before, atol=1e-6)
    assert "lamina" not in json.dumps(lamina.restore(again).get_config())
    assert modules_of(lamina.restore(model)) == {"keras"} and not hasattr(model, "lamina_report")


@pytest.mark.parametrize("name", ["MobileNetV2", "EfficientNetB0", "DenseNet121"])
def test_keras_applications(name: str) -> None:
    keras.utils.set_random_seed(1)
    model = getattr(keras.applications, name)(input_shape=(64, 64, 3), weights=None, classes=10)
    x = np.random.default_rng(0).uniform(0, 255, (2, 64, 64, 3)).astype("float32")
    expected = model.predict(x, verbose=0)
    got = lamina.optimize(model).predict(x, verbose=0)
    np.testing.assert_allclose(got, expected, atol=1e-5)
    ours = {type(m).__name__ for m in model._flatten_layers() if "lamina" in type(m).__module__}
    assert {"Conv2D", "BatchNormalization", "Dense"} <= ours


@pytest.mark.parametrize("copy", [False, True])
def test_keras_inside_of_torch(copy: bool) -> None:
    inner = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3)])
    model = torch.nn.Sequential(torch.nn.ReLU(), inner).eval()
    x = torch.randn(2, 8, 8, 3)
    expected = model(x)
    ours = lamina.optimize(model, copy=copy)
    assert type(ours[1].layers[0]) is layers.Conv2D
    assert type(inner.layers[0]) is (keras.layers.Conv2D if copy else layers.Conv2D)
    torch.testing.assert_close(ours(x), expected, rtol=1e-5, atol=1e-6)
