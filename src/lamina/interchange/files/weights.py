"""PyTorch weights in files: read under a limit, nothing unpickled, checked against their model."""

from __future__ import annotations

import json
import math
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamina.errors import InputError, MissingExtraError
from lamina.interchange.files import checksums
from lamina.interchange.keras_file import LARGEST
from lamina.interchange.traps import TRAPS

__all__ = [
    "CONFIGURATION",
    "configuration_of",
    "fit",
    "read_pt",
    "read_safetensors",
    "safetensors_bytes",
    "state_of",
]

CONFIGURATION = "config.json"
"""The file beside a ``.safetensors`` file that says what it holds the weights of."""

_LARGEST_CONFIGURATION = 2**20


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """A module's tensors as a file holds them: on the CPU, contiguous, each by itself."""
    return {
        name: value.detach().cpu().clone().contiguous()
        for name, value in module.state_dict().items()
        if isinstance(value, Tensor)
    }


def read_pt(path: Path, *, largest: int = LARGEST) -> dict[str, Tensor]:
    """The tensors of a ``.pt`` file by name, with ``weights_only``.

    Args:
        path: a state_dict, alone or under "state_dict", "model_state_dict" or "model".
        largest: bytes that the file, unpacked, may take.

    Raises:
        InputError: it is damaged, holds anything but tensors, or unpacks to more than ``largest``.
    """
    where = f"weights {str(path)!r}"
    checksums.check_archive(path, where, "file of torch.save", largest)
    try:
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = re.search(r"(?:GLOBAL|global|class) ([\w.]+)", str(error))
        what = f"a pickled object, {named[1]}" if named else "a pickled object"
        raise InputError(
            f"{where}: holds {what}, which runs code when it is read; save the model's state_dict()"
        ) from error
    except Exception as error:  # whatever a damaged file makes of it
        raise InputError(f"{where}: cannot be read: {_brief(error)}") from error
    return _tensors(loaded, where, largest)


def read_safetensors(path: Path, *, largest: int = LARGEST) -> dict[str, Tensor]:
    """The tensors of a ``.safetensors`` file by name.

    Args:
        path: the file.
        largest: bytes that it may have.

    Raises:
        InputError: it is damaged or too large.
        MissingExtraError: safetensors is not installed.
    """
    where = f"weights {str(path)!r}"
    size = path.stat().st_size
    if size > largest:
        raise InputError(f"{where}: has {size:,} bytes, allowed are {largest:,}")
    try:
        tensors: dict[str, Tensor] = _safetensors().load(path.read_bytes())
    except MissingExtraError:
        raise
    except Exception as error:  # whatever the parser finds wrong with it
        raise InputError(f"{where}: no .safetensors file, or a damaged one") from error
    checksums.check_tensors(path, tensors)
    return tensors


def safetensors_bytes(state: Mapping[str, Tensor]) -> bytes:
    """A ``.safetensors`` file's content, with checksums.

    Raises:
        MissingExtraError: safetensors is not installed.
    """
    data: bytes = _safetensors().save(dict(state), metadata=checksums.metadata_of(state))
    return data


def configuration_of(path: Path) -> dict[str, Any]:
    """What lamina wrote beside a ``.safetensors`` file; empty where that is nothing of lamina's."""
    beside = path.with_name(CONFIGURATION)
    try:
        if beside.is_symlink() or beside.stat().st_size > _LARGEST_CONFIGURATION:
            return {}
        found = json.loads(beside.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    ours = isinstance(found, dict) and found.get("weights") == path.name and "lamina" in found
    return found if ours else {}


def fit(module: nn.Module, state: Mapping[str, Tensor], source: str) -> None:
    """Copy weights into a module, every one of whose tensors must be there in its shape.

    Args:
        module: gets the weights.
        state: tensors by name; ``num_batches_tracked`` may be missing.
        source: the file, for the message.

    Raises:
        InputError: a tensor is missing, left over, or of another shape, with the likely trap.

    Example:
        >>> fit(nn.Linear(2, 3), {"weight": torch.ones(2, 3), "bias": torch.ones(3)}, "a.pt")
        Traceback (most recent call last):
        ...
        lamina.errors.InputError: weights 'a.pt': 'weight' is (2, 3), the model's is (3, 2); ...
    """
    where = f"weights {source!r}"
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    needed = {name for name in own if not name.endswith("num_batches_tracked")}
    for name in own:
        if name not in state:
            if name in needed:
                raise InputError(f"{where}: made for another model: no {name!r}")
            continue
        theirs, ours = tuple(state[name].shape), tuple(own[name].shape)
        if theirs != ours:
            raise InputError(
                f"{where}: {name!r} is {theirs}, the model's is {ours}{_likely(theirs, ours)}"
            )
    extra = next((name for name in state if name not in own), None)
    if extra is not None:
        raise InputError(f"{where}: made for another model, which has {extra!r}")
    module.load_state_dict(dict(state), strict=False)


def _likely(theirs: tuple[int, ...], ours: tuple[int, ...]) -> str:
    """The trap that two shapes of one weight look like."""
    if math.prod(theirs) != math.prod(ours):
        return ""
    trap = "dense-weight" if len(ours) == 2 else "conv-weight" if len(ours) == 4 else ""
    if not trap or sorted(theirs) != sorted(ours):
        return ""
    known = TRAPS[trap]
    return f"; likely a {known.topic} in Keras's order, {known.keras}, not PyTorch's, {known.torch}"


def _tensors(loaded: object, where: str, largest: int) -> dict[str, Tensor]:
    for key in ("state_dict", "model_state_dict", "model"):
        if isinstance(loaded, Mapping) and isinstance(loaded.get(key), Mapping):
            loaded = loaded[key]
    if not isinstance(loaded, Mapping) or not loaded:
        raise InputError(f"{where}: expected tensors by name, got {type(loaded).__name__}")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise InputError(f"{where}: expected tensors by name, {name!r} is a {kind}")
        if value.layout is not torch.strided:
            raise InputError(f"{where}: {name!r} is {value.layout}; only strided tensors are read")
        # A tensor of stride 0 claims elements that its file has no bytes for.
        if value.numel() * value.element_size() > min(largest, value.untyped_storage().nbytes()):
            raise InputError(
                f"{where}: {name!r} claims {value.numel():,} elements, more than it has"
            )
    return dict(loaded)


def _safetensors() -> Any:  # noqa: ANN401 - a module
    try:
        import safetensors.torch
    except ImportError as error:
        raise MissingExtraError(
            "a .safetensors file needs safetensors: pip install 'lamina[convert]'"
        ) from error
    return safetensors.torch


def _brief(error: BaseException) -> str:
    first = (str(error).strip().splitlines() or [""])[0]
    return f"{type(error).__name__}: {first[:200]}".rstrip(": ")
