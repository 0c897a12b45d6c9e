"""A model from whatever names one: a file, by its suffix, or the code that builds it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from lamina import models
from lamina.dialects import is_keras
from lamina.errors import InputError
from lamina.interchange.files.exported import read_pt2
from lamina.interchange.files.keras_weights import load_keras_weights
from lamina.interchange.files.kinds import KINDS, kind_of
from lamina.interchange.files.weights import configuration_of, fit, read_pt, read_safetensors
from lamina.interchange.keras_file import LARGEST, load_keras_file
from lamina.models.target import is_code, load_model

__all__ = ["read_model"]


def read_model(
    source: str,
    *,
    model: str | None = None,
    allow_custom_code: bool = False,
    largest: int = LARGEST,
) -> nn.Module:
    """Read or build a model.

    Args:
        source: a ``.keras`` or ``.pt2`` file; a file of weights, ``.h5``, ``.safetensors``, ``.pt``
            or ``.pth``; or a name of `lamina.models`, ``pkg.mod:factory``, ``file.py:factory``.
        model: what builds the model of a file of weights, in the last three forms. It may be left
            out where a ``config.json`` beside a ``.safetensors`` file names one of lamina.models.
        allow_custom_code: run what a ``.keras`` file holds or names, and unpickle a ``.pt2`` file;
            only for a file that is trusted.
        largest: bytes that a file, unpacked, may take.

    Returns:
        A torch module, or a Keras model, which is one too.

    Raises:
        InputError: no such file or factory, a kind that cannot be read, a file that is damaged,
            unsafe, too large or of another model.

    Example:
        >>> type(read_model("torch.nn:Identity")).__name__
        'Identity'
    """
    kind = None if is_code(source) else kind_of(source)
    if kind is None:
        if model is not None:
            raise InputError(f"model: speaks of a file of weights, SRC is {source!r}")
        _check_suffix(source)
        return load_model(source)
    path = Path(source)
    if not path.is_file():
        raise InputError(f"SRC: no file {source!r}")
    if not kind.readable:
        hint = f"; name a factory in it, {source}:factory" if path.suffix == ".py" else ""
        raise InputError(f"SRC: {path.suffix} files are written, not read{hint}")
    if not kind.needs_code and model is not None:
        raise InputError(f"model: speaks of a file of weights, {source!r} has its model in it")
    if path.suffix.lower() == ".keras":
        return load_keras_file(path, allow_custom_code=allow_custom_code, largest=largest)
    if path.suffix.lower() == ".pt2":
        if not allow_custom_code:
            raise InputError(
                f"SRC: PyTorch unpickles {source!r}, which may run code of its own; "
                "--allow-custom-code reads it, if you trust the file"
            )
        return read_pt2(path, largest=largest)
    return _with_weights(path, model, largest)


def _check_suffix(source: str) -> None:
    suffix = Path(source).suffix
    if suffix and not is_code(source) and source not in models.names():
        raise InputError(
            f"SRC: expected a file that ends in "
            f"{', '.join(name for name, kind in KINDS.items() if kind.readable)}, a name of "
            f"lamina.models, pkg.mod:factory or file.py:factory, got {source!r}"
        )


def _with_weights(path: Path, model: str | None, largest: int) -> nn.Module:
    stated = configuration_of(path).get("model") if path.suffix == ".safetensors" else None
    if model is None and stated in models.names():
        model = str(stated)
    if model is None:
        raise InputError(
            f"SRC: {str(path)!r} holds weights alone; name the code of their model with --model: "
            "a name of lamina.models, pkg.mod:factory or file.py:factory"
        )
    network = load_model(model)
    if is_keras(network) != (path.suffix.lower() == ".h5"):
        whose = "Keras" if is_keras(network) else "PyTorch"
        raise InputError(
            f"model: {model!r} is a {whose} model, {str(path)!r} are no weights of one"
        )
    if path.suffix.lower() == ".h5":
        load_keras_weights(network, path, largest=largest)
    else:
        read = read_safetensors if path.suffix.lower() == ".safetensors" else read_pt
        fit(network, read(path, largest=largest), str(path))
    return network
