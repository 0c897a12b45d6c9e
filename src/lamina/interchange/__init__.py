"""Models between Keras and PyTorch, and in files of either; a crossing proves itself.

    from lamina import interchange

    module = interchange.to_torch("model.keras")
    model = interchange.to_keras(module, torch.zeros(1, 3, 224, 224))
    interchange.convert("model.keras", "model.onnx", verify=True)

Keras is imported when it is first needed, on its torch backend.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from lamina.interchange.keras_file import load_keras_file

if TYPE_CHECKING:
    from lamina.interchange.files.conversion import convert
    from lamina.interchange.from_keras.to_torch import to_torch
    from lamina.interchange.from_torch.to_keras import to_keras
    from lamina.interchange.optimizer_state import optimizer_to_keras, optimizer_to_torch
    from lamina.interchange.proof import verify

__all__ = [
    "convert",
    "load_keras_file",
    "optimizer_to_keras",
    "optimizer_to_torch",
    "to_keras",
    "to_torch",
    "verify",
]

_PLACES = {
    "convert": "files.conversion",
    "optimizer_to_keras": "optimizer_state",
    "optimizer_to_torch": "optimizer_state",
    "to_keras": "from_torch.to_keras",
    "to_torch": "from_keras.to_torch",
    "verify": "proof",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """What needs both frameworks is imported when it is asked for."""
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES[name]}"), name)
