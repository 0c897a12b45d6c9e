"""Files of a run: read under a limit and without links, written whole or not at all."""

import os
from pathlib import Path

from lamina.disk import flush_folder, write_flushed
from lamina.errors import InputError

MAX_TEXT_BYTES = 16 * 2**20
"""Bytes that a run's ``config.json`` or a manifest may have."""


def read_limited(path: Path, limit: int) -> bytes:
    """Return the content of a file that is no link and has at most ``limit`` bytes.

    Raises:
        InputError: it is a link, or larger.
        OSError: it cannot be read.
    """
    if path.is_symlink():
        raise InputError(f"{path}: a link; the files of a run lie in its folder")
    size = path.stat().st_size
    if size > limit:
        raise InputError(f"{path}: expected at most {limit:,} bytes, got {size:,}")
    with path.open("rb") as file:
        return file.read(size)


def write_file(path: Path, data: bytes) -> None:
    """Replace a file at once: a reader, or a crash, sees the old content or the new one."""
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write_flushed(aside, data)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    flush_folder(path.parent)
