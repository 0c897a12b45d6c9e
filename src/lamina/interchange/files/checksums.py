"""Whether a file of weights still holds what was written, or a word that it cannot tell.

Every kind that lamina writes can: a zip archive (``.keras``, ``.pt``, ``.pth``, ``.pt2``) has a
CRC-32 of each member; HDF5 (``.h5``) keeps Fletcher-32 sums where it is asked to; ``.safetensors``
has room for a SHA-256 of each tensor. Where a stranger's file has no sums, damage shows only
in numbers that are none any more: those are refused, and `remark` says that nothing else would be
noticed.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lamina.errors import InputError
from lamina.interchange.files.hdf5 import items_of

__all__ = ["add_to_hdf5", "check_archive", "check_hdf5", "check_tensors", "metadata_of", "remark"]

_KEY = "sha256"


def check_archive(path: Path, where: str, what: str, largest: int) -> None:
    """Raise unless a zip archive's members are what was written, and no more than they may be.

    Args:
        path: the file.
        where: what it is, for the message.
        what: the kind of file that it should be.
        largest: bytes that its members, unpacked, may take.

    Raises:
        InputError: it is none, is damaged, or unpacks to more than ``largest``.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > largest:
                raise InputError(f"{where}: unpacks to {size:,} bytes, allowed are {largest:,}")
            damaged = archive.testzip()
    except InputError:
        raise
    except Exception as error:  # whatever a damaged one makes of it
        raise InputError(f"{where}: no {what}, or a damaged one: {error}") from error
    if damaged is not None:
        raise InputError(f"{where}: damaged: {damaged!r} is not what was written")


# ---- HDF5 ---------------------------------------------------------------------------------------


def add_to_hdf5(path: Path) -> None:
    """Have an HDF5 file carry checksums, which whatever reads it checks.

    Args:
        path: a file of groups and arrays of numbers; it is written anew.
    """
    import h5py

    bare = path.with_name(f"{path.name}.bare")
    path.rename(bare)
    # The format of HDF5 1.10 has sums of its structure too, and so of what stands in it.
    with h5py.File(bare) as old, h5py.File(path, "w", libver=("v110", "v110")) as new:
        within = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        within.set_layout(h5py.h5d.COMPACT)
        for name, item in items_of(old):
            if isinstance(item, h5py.Group):
                made = new.create_group(name)
            elif item.shape and item.size:
                made = new.create_dataset(name, data=item[()], chunks=True, fletcher32=True)
            else:  # nothing to cut into chunks
                made = new.create_dataset(name, data=item[()], dcpl=within)
            made.attrs.update(item.attrs)
        new.attrs.update(old.attrs)
    bare.unlink()


def check_hdf5(path: Path) -> None:
    """Raise unless an HDF5 file's arrays are what was written, as far as it can tell.

    Raises:
        InputError: an array, by its name, is not; or is not finite where the file has no sums.
    """
    import h5py

    where = f"weights {str(path)!r}"
    with h5py.File(path) as file:
        has_sums = _has_sums(file)
        for name, item in items_of(file):
            if not isinstance(item, h5py.Dataset):
                continue
            try:
                values = item[()]
            except Exception as error:  # whatever HDF5 calls it
                raise InputError(f"{where}: damaged: {name!r} is not what was written") from error
            is_float = np.issubdtype(item.dtype, np.floating)
            if not has_sums and is_float and not np.isfinite(values).all():
                raise _not_finite(where, name)


def _has_sums(file: Any) -> bool:  # noqa: ANN401 - an h5py.File
    arrays = [item for _, item in items_of(file) if getattr(item, "size", 0) and item.shape]
    return all(item.fletcher32 for item in arrays)


# ---- safetensors --------------------------------------------------------------------------------


def metadata_of(state: Mapping[str, Tensor]) -> dict[str, str]:
    """What a ``.safetensors`` file says of its tensors beside their shapes.

    Example:
        >>> list(metadata_of({"bias": torch.zeros(3)}))
        ['format', 'sha256']
    """
    sums = {name: _sum(tensor) for name, tensor in state.items()}
    return {"format": "pt", _KEY: json.dumps(sums)}


def check_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Raise unless a ``.safetensors`` file's tensors are what was written, as far as it can tell.

    Args:
        path: the file.
        tensors: what was read from it.

    Raises:
        InputError: a tensor, by its name, is not; or is not finite where the file has no sums.
    """
    where = f"weights {str(path)!r}"
    sums = _stated(path)
    if sums is None:
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not torch.isfinite(tensor).all():
                raise _not_finite(where, name)
        return
    for name in sorted({*sums, *tensors}):
        if name not in tensors or sums.get(name) != _sum(tensors[name]):
            raise InputError(f"{where}: damaged: {name!r} is not what was written")


def _stated(path: Path) -> dict[str, str] | None:
    """The sums of a file, none of them right where they cannot be read; None where it has none."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        text = (file.metadata() or {}).get(_KEY)
    if text is None:
        return None
    try:
        sums = json.loads(text)
    except ValueError:
        return {}
    return sums if isinstance(sums, dict) else {}


def _sum(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
    digest = hashlib.sha256(f"{tensor.dtype} {list(tensor.shape)} ".encode())
    digest.update(data.numpy().data)
    return digest.hexdigest()


# ---- what has none ------------------------------------------------------------------------------


def remark(path: Path) -> str:
    """A sentence where a file of weights has no checksums; empty where it has.

    Args:
        path: a file that could be read.
    """
    match path.suffix.lower():
        case ".h5":
            import h5py

            with h5py.File(path) as file:
                has_sums = _has_sums(file)
        case ".safetensors":
            has_sums = _stated(path) is not None
        case _:
            has_sums = True
    if has_sums:
        return ""
    return f"{path} carries no checksums: finite numbers that were damaged would not be noticed"


def _not_finite(where: str, name: str) -> InputError:
    return InputError(
        f"{where}: {name!r} holds numbers that are not finite, and the file no checksums that "
        "would say whether they were written so"
    )
