"""Read a ``.keras`` file: what a stranger's file says is checked before anything is built.

A ``.keras`` file is an archive of a configuration (JSON) and weights (HDF5). Nothing in it is run,
no path but its own is read, and no more memory than a stated limit is taken: the configuration may
name allowed classes only; a first copy of the model, on PyTorch's meta device, tells its size
without its memory; the weights may not lead out of their file.
"""

from __future__ import annotations

import copy
import json
import sys
import tempfile
import zipfile
import zlib
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import nn

from lamina.errors import InputError
from lamina.extras import require
from lamina.interchange.allowed import check_configuration, objects_in
from lamina.interchange.files.hdf5 import check_links

__all__ = ["LARGEST", "load_keras_file"]

LARGEST = 4 * 2**30
"""Bytes that a file, unpacked, and its model may take."""
_LARGEST_CONFIGURATION = 64 * 2**20
_CONFIGURATION, _WEIGHTS = "config.json", "model.weights.h5"
# What a damaged archive or its JSON raises; RuntimeError covers encryption and endless nesting.
_UNREADABLE = (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError)


def load_keras_file(
    path: str | Path, *, allow_custom_code: bool = False, largest: int = LARGEST
) -> nn.Module:
    """Build the model of a ``.keras`` file on Keras's torch backend, with its weights.

    Args:
        path: the file.
        allow_custom_code: import the modules that the file names and hand it to Keras's own
            loader, which runs code that stands in it (``Lambda``). Only for a file you trust.
        largest: bytes that the file, unpacked, and the model may take.

    Returns:
        The Keras model, which is a `torch.nn.Module`; not compiled.

    Raises:
        InputError: no such file, no ``.keras`` file, an object that is not allowed, something
            larger than ``largest``, weights that do not fit, or Keras on another backend.
        MissingExtraError: Keras is not installed.

    Example:
        >>> load_keras_file("nowhere.keras")
        Traceback (most recent call last):
        ...
        lamina.errors.InputError: model 'nowhere.keras': no such file
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"model {str(path)!r}: no such file")
    require("keras", "a .keras file")
    try:
        from lamina import layers  # noqa: F401 - it chooses the backend, and registers our layers
    except ImportError as error:
        raise InputError(f"model {str(path)!r}: {error}") from error
    if allow_custom_code:
        return _trusted(path, largest)
    configuration, weights = _contents(path, largest)
    check_configuration(str(path), configuration)
    check_links(path, weights, largest)
    return _built(path, configuration, weights, largest)


def _trusted(path: Path, largest: int) -> nn.Module:
    """The model by Keras's own loader, once the modules that the file names are imported."""
    import keras

    configuration, _ = _contents(path, largest)
    sys.path.insert(0, str(Path.cwd()))  # where a user's own layers usually lie
    try:
        model: nn.Module = keras.saving.load_model(
            path, custom_objects=_named_objects(configuration), compile=False, safe_mode=False
        )
    except Exception as error:
        raise InputError(f"model {str(path)!r}: Keras cannot load it: {_brief(error)}") from error
    finally:
        sys.path.remove(str(Path.cwd()))
    return model


def _named_objects(configuration: object) -> dict[str, Any]:
    """The classes and functions of other modules that a configuration names, imported."""
    objects = {}
    for named, _ in objects_in(configuration):
        module, name = named.get("module"), named["class_name"]
        if not isinstance(module, str) or module.split(".")[0] in ("keras", "lamina", "builtins"):
            continue
        name = named["config"] if name == "function" else name
        objects[named.get("registered_name") or name] = getattr(import_module(module), name)
    return objects


def _contents(path: Path, largest: int) -> tuple[Any, bytes]:
    """The configuration and the bytes of the weights; sizes are checked before they are read."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = {member.filename: member for member in archive.infolist()}
            missing = [name for name in (_CONFIGURATION, _WEIGHTS) if name not in members]
            if missing:
                raise InputError(f"model {str(path)!r}: no .keras file, it has no {missing[0]}")
            for name, most in ((_CONFIGURATION, _LARGEST_CONFIGURATION), (_WEIGHTS, largest)):
                if members[name].file_size > most:
                    raise InputError(
                        f"model {str(path)!r}: {name} unpacks to {members[name].file_size:,} "
                        f"bytes, allowed are {most:,}"
                    )
            # Reading stops at the size that was checked, whatever the data would unpack to.
            text, weights = archive.read(_CONFIGURATION), archive.read(_WEIGHTS)
        return _without_compilation(json.loads(text)), weights
    except InputError:
        raise
    except _UNREADABLE as error:
        raise InputError(f"model {str(path)!r}: no .keras file: {_brief(error)}") from error


def _without_compilation(value: Any) -> Any:  # noqa: ANN401 - whatever JSON can hold
    """The configuration without losses, metrics and optimisers, which counting has no use for."""
    if isinstance(value, list):
        return [_without_compilation(item) for item in value]
    if isinstance(value, dict):
        return {k: _without_compilation(v) for k, v in value.items() if k != "compile_config"}
    return value


def _built(path: Path, configuration: Any, weights: bytes, largest: int) -> nn.Module:  # noqa: ANN401
    import keras

    try:
        with keras.device("meta"):  # from a copy, as Keras changes what it reads
            draft = keras.saving.deserialize_keras_object(
                copy.deepcopy(configuration), safe_mode=True
            )
        if not isinstance(draft, keras.Model):
            raise TypeError(f"it describes a {type(draft).__name__}, no model")
        size = sum(v.value.numel() * v.value.element_size() for v in draft.variables)
    except Exception as error:
        raise InputError(f"model {str(path)!r}: Keras cannot build it: {_brief(error)}") from error
    if size > largest:
        raise InputError(
            f"model {str(path)!r}: it would take {size:,} bytes, allowed are {largest:,}"
        )
    model: nn.Module = keras.saving.deserialize_keras_object(configuration, safe_mode=True)
    try:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / _WEIGHTS
            file.write_bytes(weights)
            model.load_weights(file)  # type: ignore[operator]
    except Exception as error:
        raise InputError(
            f"model {str(path)!r}: its weights do not fit its layers: {_brief(error)}"
        ) from error
    return model


def _brief(error: BaseException) -> str:
    # Keras wraps what went wrong in what it was doing, layer by layer.
    cause = str(error).rpartition("Exception encountered: ")[2]
    first = (cause.strip().splitlines() or [""])[0]
    said = first if len(first) <= 200 else f"{first[:199]}…"
    return f"{type(error).__name__}: {said}".rstrip(": ")
