"""The import: which names are ours, and which one clear line another backend gets."""

from __future__ import annotations

import importlib.util
import inspect
import json
import os
import sys
from pathlib import Path

import keras
import pytest

from lamina import layers
from lamina.layers.backend import chosen_in_configuration, require_torch

OURS = [
    name
    for name in layers.__all__
    if inspect.isclass(getattr(layers, name))
    and getattr(layers, name).__module__.startswith("lamina")
]
KERAS_HAS_NONE = {"PointwiseConv2D", "DropPath", "SqueezeExcite"}


def test_import_chose_torch() -> None:
    assert os.environ["KERAS_BACKEND"] == "torch"
    assert keras.backend.backend() == "torch"


@pytest.mark.parametrize("name", OURS)
def test_our_layer_is_a_keras_layer(name: str) -> None:
    layer = getattr(layers, name)
    assert issubclass(layer, keras.layers.Layer)
    if name not in KERAS_HAS_NONE:
        assert issubclass(layer, getattr(keras.layers, name))
    assert keras.saving.get_registered_name(layer) == f"lamina>{layer.__name__}"


@pytest.mark.parametrize("name", [name for name in OURS if name not in KERAS_HAS_NONE])
def test_constructor_takes_keras_s_arguments_in_keras_s_order(name: str) -> None:
    theirs = list(inspect.signature(getattr(keras.layers, name)).parameters.values())
    ours = list(inspect.signature(getattr(layers, name)).parameters.values())
    for index, parameter in enumerate(theirs):
        if ours[index].kind is inspect.Parameter.VAR_POSITIONAL:
            return  # hands on the rest as it comes
        assert (ours[index].name, ours[index].default, ours[index].kind) == (
            parameter.name,
            parameter.default,
            parameter.kind,
        )


def test_every_2d_name_of_keras_for_our_kinds_is_ours() -> None:
    kinds = ("Conv2D", "Convolution2D", "Pooling2D", "Pool2D", "Dropout2D")
    theirs = {name for name in dir(keras.layers) if name.endswith(kinds)}
    assert theirs <= {*OURS}


def test_every_other_name_is_keras_s() -> None:
    assert layers.Add is keras.layers.Add
    assert layers.Input is keras.layers.Input
    assert {*dir(keras.layers)} <= {*dir(layers)}
    with pytest.raises(AttributeError, match="has 'Conv9D'"):
        _ = layers.Conv9D


def test_star_import_brings_what_keras_s_brings() -> None:
    ours: dict[str, object] = {}
    theirs: dict[str, object] = {}
    exec("from lamina.layers import *", ours)
    exec("from keras.layers import *", theirs)
    assert {*theirs} <= {*ours}
    assert ours["Input"] is keras.layers.Input and ours["Conv2D"] is layers.Conv2D
    assert len(layers.__all__) == len({*layers.__all__})


def test_another_active_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keras.backend, "backend", lambda: "tensorflow")
    with pytest.raises(ImportError, match="got 'tensorflow': set KERAS_BACKEND=torch") as error:
        require_torch()
    assert "\n" not in str(error.value)


def test_another_chosen_backend_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "keras")
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    with pytest.raises(ImportError, match="got 'jax'"):
        require_torch()


def test_configuration_file_that_names_another_backend_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "keras.json").write_text(json.dumps({"backend": "jax"}))
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    monkeypatch.delenv("KERAS_BACKEND")
    monkeypatch.delitem(sys.modules, "keras")
    with pytest.raises(ImportError, match="got 'jax'"):
        require_torch()


@pytest.mark.parametrize(
    "content", ['{"backend": "tensorflow"}', "{}", "[]", "not JSON", None], ids=str
)
def test_configuration_file_without_a_choice_leaves_it_to_us(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    """Keras writes "tensorflow" itself when it is first imported: that is nobody's choice."""
    if content is not None:
        (tmp_path / "keras.json").write_text(content)
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    assert chosen_in_configuration() is None


def test_missing_keras_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"pip install 'lamina\[keras\]'"):
        require_torch()
