"""HDF5 files, in which Keras keeps weights: what a stranger's may not hold."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lamina.errors import InputError

__all__ = ["check_links", "items_of"]


def check_links(path: Path, weights: bytes, largest: int) -> None:
    """Raise if weights lead out of their file, or claim more than they may.

    Args:
        path: the file, for the message.
        weights: the content of an HDF5 file.
        largest: bytes that they may take, unpacked.

    Raises:
        InputError: a link, a dataset that lies elsewhere, too many bytes, or no HDF5 file.
    """
    import h5py

    total = 0
    try:
        with h5py.File(io.BytesIO(weights), "r") as file:
            for name, item in items_of(file):
                if item is None:
                    raise InputError(f"model {str(path)!r}: its weights hold a link, {name!r}")
                if not isinstance(item, h5py.Dataset):
                    continue
                if item.is_virtual or item.external:
                    raise InputError(f"model {str(path)!r}: its weights {name!r} lie elsewhere")
                total += (item.size or 0) * item.dtype.itemsize
    except InputError:
        raise
    except Exception as error:  # whatever HDF5 makes of a damaged one
        raise InputError(f"model {str(path)!r}: its weights cannot be read: {error}") from error
    if total > largest:
        raise InputError(
            f"model {str(path)!r}: its weights unpack to {total:,} bytes, allowed are {largest:,}"
        )


def items_of(file: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - an h5py.File
    """Every group and dataset once, by its path; ``None`` for a link that is not a plain one."""
    import h5py

    pending, seen = [file], set()
    while pending:
        group = pending.pop()
        for name in group:
            where = f"{group.name.rstrip('/')}/{name}"
            if not isinstance(group.get(name, getlink=True), h5py.HardLink):
                yield where, None
                continue
            item = group[name]
            if item.id in seen:
                continue
            seen.add(item.id)
            yield where, item
            if isinstance(item, h5py.Group):
                pending.append(item)
