"""Keras's backend must be torch: choose it where nobody has, refuse another in one clear line."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from lamina.extras import require


def require_torch() -> None:
    """Import Keras on its torch backend.

    Where Keras is not imported yet and ``KERAS_BACKEND`` is unset, this sets it to ``torch`` for
    this process. A ``keras.json`` that names another backend than TensorFlow is respected, and
    refused; TensorFlow there is no choice of anybody's, since Keras writes it on its first import.

    Raises:
        ImportError: Keras runs on another backend, or is not installed (`MissingExtraError`).
    """
    require("keras", "lamina.layers")
    if "keras" not in sys.modules:
        chosen = os.environ.get("KERAS_BACKEND") or chosen_in_configuration()
        if chosen not in (None, "torch"):
            raise ImportError(_refusal(chosen))
        os.environ["KERAS_BACKEND"] = "torch"
    import keras

    if keras.backend.backend() != "torch":
        raise ImportError(_refusal(keras.backend.backend()))


def _refusal(backend: object) -> str:
    return (
        f"lamina.layers needs Keras's torch backend, got {backend!r}: set KERAS_BACKEND=torch "
        "before keras is first imported, or import lamina.layers first"
    )


def chosen_in_configuration() -> object:
    """The backend that Keras's configuration file names; None for Keras's default, or no file."""
    home = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras"))
    try:
        backend = json.loads((home / "keras.json").read_text()).get("backend")
    except (OSError, ValueError, AttributeError):
        return None
    return None if backend == "tensorflow" else backend
