"""A model as a file of each kind, and what lies beside it."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from lamina._version import __version__
from lamina.dialects import is_keras
from lamina.errors import InputError
from lamina.interchange import from_keras, from_torch
from lamina.interchange.crossing import Crossing
from lamina.interchange.files import exported, weights
from lamina.interchange.files.keras_weights import save_keras_weights

__all__ = ["Work", "check_target", "write"]


@dataclass(frozen=True)
class Work:
    """What is to be written.

    Attributes:
        module: the model, a Keras one or a torch module.
        examples: an input each for a torch module, two in a batch.
        crossing: where it comes from the other framework.
        model: the name of `lamina.models` that builds it, if one does.
    """

    module: nn.Module
    examples: Sequence[Tensor]
    crossing: Crossing | None
    model: str | None


def check_target(target: Path) -> None:
    """Raise where a file could not be written whatever the model is.

    Raises:
        InputError: Keras would not open a file of that name, or a stranger's would be overwritten.
        MissingExtraError: what writes it is not installed.
    """
    suffix = target.suffix.lower()
    if suffix == ".onnx":
        exported.require_onnx()
    if suffix == ".h5" and not target.name.endswith(".weights.h5"):
        raise InputError(f"DST: Keras opens weights as NAME.weights.h5, got {str(target)!r}")
    beside = target.with_name(weights.CONFIGURATION)
    if suffix == ".safetensors" and beside.exists() and not weights.configuration_of(target):
        raise InputError(f"DST: {str(beside)!r} is there already, and is not that of {target.name}")


def write(work: Work, target: Path) -> list[str]:
    """Write a model into a folder.

    Args:
        work: the model.
        target: the file; its suffix says the kind.

    Returns:
        The names of the files, those that others refer to first.

    Raises:
        InputError: the kind cannot hold the model.
    """
    module = work.module
    match target.suffix.lower():
        case ".keras":
            module.save(target)  # type: ignore[operator]
        case ".h5":
            save_keras_weights(module, target)
        case ".safetensors":
            return _safetensors(work, target)
        case ".pt" | ".pth":
            torch.save(weights.state_of(module), target)
        case ".pt2":
            exported.write_pt2(module, work.examples, target)
        case ".onnx":
            exported.write_onnx(module, work.examples, target)
        case _:
            return _source(work, target)
    return [target.name]


def _safetensors(work: Work, target: Path) -> list[str]:
    target.write_bytes(weights.safetensors_bytes(weights.state_of(work.module)))
    stated = {
        "lamina": __version__,
        "weights": target.name,
        "model": work.model,
        "inputs": [list(x.shape) for x in work.examples],
    }
    beside = target.with_name(weights.CONFIGURATION)
    beside.write_text(json.dumps(stated, indent=2) + "\n", encoding="utf-8")
    return [target.name, beside.name]


def _source(work: Work, target: Path) -> list[str]:
    """The code that a person would have written, its weights beside it."""
    assert work.crossing is not None  # source is always the other framework's
    words = [word for word in re.split(r"\W|_", target.stem) if word]
    if is_keras(work.module):
        name = "_".join(words).lower() or "model"
        text = from_torch.source(work.crossing, name if name.isidentifier() else f"model_{name}")
        beside = target.with_suffix(".weights.h5")
        save_keras_weights(work.module, beside)
    else:
        name = "".join(word[0].upper() + word[1:] for word in words) or "Model"
        text = from_keras.source(work.crossing, name if name.isidentifier() else f"Model{name}")
        beside = target.with_suffix(".safetensors")
        beside.write_bytes(weights.safetensors_bytes(weights.state_of(work.module)))
    target.write_text(text, encoding="utf-8")
    return [beside.name, target.name]
