import copy

import numpy as np
import pytest
import torch
from torch import nn

from lamina.errors import InputError
from lamina.interchange import from_torch
from tests.interchange.from_torch.agreement import draw_statistics, flat
from tests.interchange.from_torch.small_modules import CROSS


def built(text: str, function_name: str = "build"):
    names: dict = {}
    exec(compile(text, "model.py", "exec"), names)
    return names[function_name]()


@pytest.mark.parametrize(
    "name, flavour",
    [(name, "keras") for name in CROSS] + [("flatten_dense", "lamina"), ("pyramid", "lamina")],
)
def test_the_source_builds_the_same_model(name, flavour, tmp_path):
    module, shapes = CROSS[name]
    crossing = from_torch.cross(draw_statistics(copy.deepcopy(module)), shapes, flavour=flavour)
    text = from_torch.source(crossing)
    assert all(len(line) <= 100 for line in text.splitlines()), text
    model = built(text)
    given = crossing.keras_model
    layers = [[type(one).__name__, one.name] for one in given.layers]
    assert [[type(one).__name__, one.name] for one in model.layers] == layers
    given.save_weights(tmp_path / "model.weights.h5")
    model.load_weights(tmp_path / "model.weights.h5")
    rng = np.random.default_rng(0)
    x = [rng.normal(size=(2, *size)).astype("float32") for size in crossing.sizes]
    with torch.no_grad():
        ours, theirs = (flat(one(x if len(x) > 1 else x[0])) for one in (model, given))
    for a, b in zip(ours, theirs, strict=True):
        assert np.array_equal(np.asarray(a), np.asarray(b))


RESIDUAL = '''\
"""Apply in Keras."""

import keras
from keras import layers


def build() -> keras.Model:
    """(N, H, W, 4) to (N, H, W, 4)."""
    inputs = keras.Input((None, None, 4), name="inputs_0")
    x = layers.Conv2D(4, 3, padding="same", name="a")(inputs)
    x = layers.ReLU(name="relu")(x)
    x = layers.Conv2D(4, 1, name="b")(x)
    x = layers.Add(name="add")([inputs, x])
    x = layers.ReLU(name="relu_1")(x)
    return keras.Model(inputs, x, name="Apply")
'''


def test_the_source_reads_as_a_person_writes_it():
    module, shapes = CROSS["residual"]
    assert from_torch.source(from_torch.cross(copy.deepcopy(module), shapes)) == RESIDUAL


def test_the_function_has_the_name_asked_for():
    crossing = from_torch.cross(nn.Linear(4, 2), (1, 4))
    assert built(from_torch.source(crossing, "net"), "net").output_shape == (None, 2)
    with pytest.raises(InputError, match="expected an identifier, got 'a b'"):
        from_torch.source(crossing, "a b")
