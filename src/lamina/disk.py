"""What the disk must have before the next step: a file's data, the names in a folder."""

import os
from pathlib import Path


def write_flushed(path: Path, data: bytes) -> None:
    """Write a file and wait until the disk has it."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def flush_folder(path: Path) -> None:
    """Wait until the disk has the names that a folder holds."""
    # The name of a file is in its folder: without this a rename can be lost with the power.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
