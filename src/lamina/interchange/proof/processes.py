"""Where the Keras side of a proof runs: TensorFlow in a process of its own, or here on PyTorch."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import torch

from lamina.errors import InputError
from lamina.interchange.proof import keras_side
from lamina.interchange.proof.keras_side import Untyped

__all__ = ["Backend", "run_keras"]

Backend = Literal["auto", "tensorflow", "torch"]


def run_keras(
    model: Untyped,
    places: Sequence[keras_side.Place],
    folder: Path,
    backend: Backend,
) -> tuple[str, str]:
    """Have the answers of a Keras model in a folder, see `keras_side.answer`.

    Returns:
        What it ran on, and why that is not TensorFlow.

    Raises:
        InputError: ``backend`` is unknown, TensorFlow was asked for and cannot, or the model cannot
            be copied.
    """
    if backend not in ("auto", "tensorflow", "torch"):
        raise InputError(f"backend: expected auto, tensorflow or torch, got {backend!r}")
    try:
        double = _double(model)
    except Exception as error:  # whatever a layer raises whose configuration is not enough
        raise InputError(
            f"verify: the Keras model cannot be copied: {_brief(str(error))}"
        ) from error
    reason = "" if backend == "torch" else _on_tensorflow(double, places, folder)
    if backend != "torch" and not reason:
        return f"TensorFlow {_version('tensorflow')}", ""
    if backend == "tensorflow":
        raise InputError(f"backend: {reason}")
    from lamina.layers import from_keras

    # Ours, since Keras's own on PyTorch differ from TensorFlow's in places, and in float64 round.
    keras_side.answer(from_keras(double), places, folder)
    return f"PyTorch {torch.__version__}", reason


def _on_tensorflow(model: Untyped, places: Sequence[keras_side.Place], folder: Path) -> str:
    """Run it there; why it could not be, or nothing. Its layers are Keras's from then on."""
    from lamina.layers import to_keras

    if importlib.util.find_spec("tensorflow") is None:
        return "TensorFlow is not installed"
    try:
        to_keras(model).save(folder / "model.keras")
    except Exception as error:  # whatever a layer raises that Keras cannot save
        return f"the model cannot be saved for TensorFlow: {_brief(str(error))}"
    (folder / "places.json").write_text(json.dumps(places))
    finished = subprocess.run(
        [sys.executable, str(keras_side.__file__), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "KERAS_BACKEND": "tensorflow",
            "CUDA_VISIBLE_DEVICES": "-1",
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "0",  # oneDNN's max pool kills the process at times
        },
    )
    if finished.returncode:
        return f"TensorFlow could not run the model: {_brief(finished.stderr)}"
    return ""


def _double(model: Untyped) -> Untyped:
    """A copy in float64."""
    import keras

    configuration = _in_float64(keras.saving.serialize_keras_object(model))
    copied = keras.saving.deserialize_keras_object(configuration)
    copied.set_weights(model.get_weights())
    return copied


def _in_float64(value: Untyped) -> Untyped:
    """A configuration whose policies and types are float64 where they were float32."""
    if isinstance(value, list | tuple):
        return type(value)(_in_float64(item) for item in value)
    if not isinstance(value, dict):
        return value
    changed = {name: _in_float64(item) for name, item in value.items()}
    if changed.get("class_name") == "DTypePolicy" and changed["config"]["name"] == "float32":
        changed["config"]["name"] = "float64"
    if changed.get("dtype") == "float32":
        changed["dtype"] = "float64"
    return changed


def _version(package: str) -> str:
    for name in (package, f"{package}-cpu"):
        try:
            return importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return "of an unknown version"


def _brief(text: str) -> str:
    """The line that says what went wrong: the last of a traceback that names an error."""
    lines = [line.strip() for line in text.strip().splitlines() if line.strip()]
    named = [line for line in lines if "Error" in line.split(":")[0]]
    said = (named or lines or ["it gave no reason"])[-1]
    return said if len(said) <= 200 else f"{said[:199]}…"
