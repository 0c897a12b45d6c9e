"""Checkpoints that are whole or absent: written aside, flushed, renamed, and verified on load.

A checkpoint is a folder ``epoch-0003`` of

- ``weights.safetensors``: parameters and buffers under the model's own names;
- ``training.safetensors`` and ``state.json``: optimiser, schedule, generators, progress, and what
  modules keep beside their parameters and saved buffers;
- ``manifest.json``: size and SHA-256 of each of them.

Nothing in it is code, and reading it runs none.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch.plugins import CheckpointIO
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

from lamina.disk import flush_folder, write_flushed
from lamina.errors import InputError
from lamina.settings import Select
from lamina.train.files import MAX_TEXT_BYTES, read_limited
from lamina.train.state import pack, under_names_of, unpack

KEPT = 2
"""Checkpoints that a run keeps: the newest, and one to fall back on."""

LAST, BEST = "checkpoints", "best"
"""Folders of a run: the newest checkpoints, and the best on the images of validation."""

MAX_BYTES = 8 * 2**30
"""Bytes that one file of a checkpoint may have: it is read whole, and may be a stranger's."""
_STATE = {
    *("epoch", "global_step", "loops", "callbacks", "optimizer_states", "lr_schedulers"),
    *("random_state", "buffers", "extra_state"),
}

_FILES = ("weights.safetensors", "training.safetensors", "state.json")
_NAME = re.compile(r"epoch-\d{4,}")
_PREFIX = "model."
_FORMAT = 1


class CheckpointFolder(CheckpointIO):
    """Lightning's checkpoints as folders of safetensors and JSON.

    Lightning says what belongs into a checkpoint; this says how it gets onto the disk. The module's
    network is its attribute ``model``.
    """

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: object = None,
    ) -> None:
        """Write a checkpoint: all of it, or, whatever happens meanwhile, nothing."""
        rest = dict(checkpoint)
        state = {name.removeprefix(_PREFIX): part for name, part in rest.pop("state_dict").items()}
        weights = {
            # A copy: safetensors refuses tensors that share memory, as tied weights do.
            name: part.detach().cpu().clone().contiguous()
            for name, part in state.items()
            if isinstance(part, torch.Tensor)
        }
        # What a module's get_extra_state returned may be no tensor.
        rest["extra_state"] = {name: state[name] for name in state.keys() - weights.keys()}
        training: dict[str, torch.Tensor] = {}
        tree = pack(rest, training)
        contents = {
            "weights.safetensors": save_tensors(weights),
            "training.safetensors": save_tensors(training),
            "state.json": json.dumps(tree).encode(),
        }
        manifest = {
            "format": _FORMAT,
            "epoch": checkpoint["epoch"],
            "step": checkpoint["global_step"],
            "files": {
                name: {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
                for name, data in contents.items()
            },
        }
        contents["manifest.json"] = json.dumps(manifest, indent=2).encode()
        _write_folder(Path(path), contents)

    def load_checkpoint(
        self,
        path: str | os.PathLike[str],
        map_location: object = None,
        weights_only: bool | None = None,
    ) -> dict[str, Any]:
        """Read back, verified, what `save_checkpoint` was given.

        Raises:
            InputError: a file is missing, damaged, or not of this format.
        """
        state, weights = _read(Path(path))
        return state | {"state_dict": {_PREFIX + name: value for name, value in weights.items()}}

    def remove_checkpoint(self, path: str | os.PathLike[str]) -> None:
        """Take a checkpoint away, by one rename first, so that no half of it can be mistaken."""
        aside = Path(path).with_name(f".{Path(path).name}.old")
        with contextlib.suppress(FileNotFoundError):
            Path(path).rename(aside)
        shutil.rmtree(aside, ignore_errors=True)


def checkpoints(run: Path, kind: str = LAST) -> list[Path]:
    """Return the folders of a run's checkpoints, the newest first; of the ``LAST`` or the best."""
    folder = run / kind
    if not folder.is_dir():
        return []
    found = [path for path in folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(found, key=epochs_of, reverse=True)


def epochs_of(checkpoint: Path) -> int:
    """Return how many epochs were trained when a checkpoint was written."""
    return int(checkpoint.name.removeprefix("epoch-"))


def model_state(checkpoint: Path) -> dict[str, Any]:
    """Return what the model's ``state_dict`` was, verified.

    Raises:
        InputError: a file is missing, damaged, or not of this format.
    """
    return _read(checkpoint)[1]


def newest_good(run: Path, warn: Callable[[str], None]) -> Path:
    """Return the newest checkpoint of a run that is whole.

    Args:
        run: the run folder.
        warn: gets a line for each newer one that is damaged.

    Raises:
        InputError: the run has none.
    """
    reasons = []
    for path in checkpoints(run):
        try:
            read_verified(path)
        except InputError as error:
            warn(f"damaged checkpoint: {error}")
            reasons.append(str(error))
            continue
        if reasons:
            warn(f"falling back on the older checkpoint {path}")
        return path
    why = f": {reasons[0]}" if reasons else ""
    raise InputError(f"{run}: expected a run with a whole checkpoint, it has none{why}")


def answering(run: Path, select: Select, warn: Callable[[str], None]) -> Path:
    """Return the checkpoint whose weights a run ended with, or the newest where that is damaged.

    Args:
        run: the run folder.
        select: see `TrainConfig`.
        warn: gets a line for each that is damaged.

    Raises:
        InputError: the run has none.
    """
    for path in checkpoints(run, BEST) if select == "best" else ():
        try:
            read_verified(path)
        except InputError as error:
            warn(f"damaged checkpoint: {error}; falling back on the newest")
        else:
            return path
    return newest_good(run, warn)


def read_verified(path: Path) -> dict[str, bytes]:
    """Return the content of a checkpoint's files, each of which its manifest vouches for.

    Raises:
        InputError: a file is missing, a link, or not what the manifest says.
    """
    try:
        for folder in (path.parent, path):
            if folder.is_symlink():
                raise InputError(f"{folder}: a link; the files of a run lie in its folder")
        manifest = json.loads(read_limited(path / "manifest.json", MAX_TEXT_BYTES))
        if manifest["format"] != _FORMAT:
            raise InputError(
                f"{path}: expected a checkpoint of format {_FORMAT}, got {manifest['format']!r}"
            )
        stated = {name: manifest["files"][name] for name in _FILES}
        contents = {}
        for name, facts in stated.items():
            file = path / name
            # Size first: nothing larger than stated is read into memory.
            if file.is_symlink() or file.stat().st_size != facts["bytes"]:
                raise InputError(f"{file}: not the {facts['bytes']} bytes that were written")
            contents[name] = read_limited(file, MAX_BYTES)
            if hashlib.sha256(contents[name]).hexdigest() != facts["sha256"]:
                raise InputError(f"{file}: its SHA-256 is not that of its manifest")
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read ({error.strerror})") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path / 'manifest.json'}: not a checkpoint's manifest") from error
    return contents


def read_tensors(data: bytes, source: str) -> dict[str, torch.Tensor]:
    """Return the tensors of a safetensors file's content.

    Raises:
        InputError: it is none.
    """
    try:
        return load_tensors(data)
    except Exception as error:  # whatever the parser finds wrong with it
        raise InputError(f"{source}: not a safetensors file") from error


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the training's state and the model's, without what only the latter needs."""
    contents = read_verified(path)
    training = read_tensors(contents["training.safetensors"], f"{path}/training.safetensors")
    weights = read_tensors(contents["weights.safetensors"], f"{path}/weights.safetensors")
    try:
        state: dict[str, Any] = unpack(json.loads(contents["state.json"]), training)
        missing = sorted(_STATE - state.keys())
        extra = {} if missing else dict(state.pop("extra_state"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}/state.json: not the state of a training") from error
    if missing:
        raise InputError(f"{path}/state.json: not the state of a training: no {missing[0]!r}")
    return state, weights | extra


def copy_weights(model: torch.nn.Module, weights: Mapping[str, Any], source: str) -> None:
    """Copy weights into a model whose every tensor must be there in the same shape and type.

    Raises:
        InputError: a tensor is missing, left over, or of another shape or type.
    """
    own = model.state_dict()
    weights = under_names_of(weights, own)
    missing, extra = sorted(own.keys() - weights.keys()), sorted(weights.keys() - own.keys())
    if missing or extra:
        word, name = ("lacks", missing[0]) if missing else ("has, and the model has not,", extra[0])
        raise InputError(f"{source}: made for another model: it {word} {name!r}")
    for name, tensor in own.items():
        expected, got = _form(tensor), _form(weights[name])
        if expected != got:
            raise InputError(
                f"{source}: made for another model: {name!r} is {got}, expected {expected}"
            )
    model.load_state_dict(dict(weights))


def _form(value: object) -> str:
    """A tensor's type and shape; of a module's extra state its type."""
    if isinstance(value, torch.Tensor):
        return f"{value.dtype} {tuple(value.shape)}"
    return type(value).__name__


def _write_folder(path: Path, contents: Mapping[str, bytes]) -> None:
    for left in path.parent.glob(f".{path.name}.*"):  # of a process that was killed while here
        shutil.rmtree(left)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    aside.mkdir(parents=True)
    for name, data in contents.items():
        write_flushed(aside / name, data)
    flush_folder(aside)
    if path.exists():
        # Resuming writes an epoch again only where its checkpoint was found to be damaged.
        CheckpointFolder().remove_checkpoint(path)
    aside.replace(path)
    flush_folder(path.parent)
