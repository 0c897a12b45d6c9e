"""Files written whole or not at all: beside their place first, then by a rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

from lamina.disk import flush_folder
from lamina.errors import InputError

__all__ = ["Staging", "check_place"]


def check_place(path: Path) -> None:
    """Raise before the work rather than after it if a file cannot be written there.

    Raises:
        InputError: it is a folder, there is no folder for it, or it must not be written.
    """
    where = f"DST: cannot write {str(path)!r}"
    if path.is_dir():
        raise InputError(f"{where}: it is a folder")
    if not path.parent.is_dir():
        raise InputError(f"{where}: there is no folder {str(path.parent)!r}")
    if not os.access(path if path.exists() else path.parent, os.W_OK):
        raise InputError(f"{where}: permission denied")


class Staging:
    """A folder beside the files to be: what is written there takes its place when all is well.

    Args:
        parent: the folder that the files are to lie in.

    Example:
        >>> parent = Path(tempfile.mkdtemp())
        >>> with Staging(parent) as staging:
        ...     size = (staging.folder / "a.txt").write_text("whole")
        ...     staging.commit(["a.txt"])
        >>> [path.name for path in parent.iterdir()]
        ['a.txt']
    """

    def __init__(self, parent: Path) -> None:
        self.parent = parent
        self.folder = Path(tempfile.mkdtemp(prefix=".lamina-", dir=parent))

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def commit(self, names: Sequence[str]) -> None:
        """Have files take their places, once all of them are on the disk.

        Args:
            names: in the folder; what others refer to comes first.
        """
        for name in names:
            with (self.folder / name).open("rb+") as file:
                os.fsync(file.fileno())
        for name in names:
            (self.folder / name).replace(self.parent / name)
        flush_folder(self.parent)
