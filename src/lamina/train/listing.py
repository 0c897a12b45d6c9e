"""Which files are images of which class, and for what: a folder of classes, of parts, or a table.

photos/cat/1.jpg           photos/train/cat/1.jpg         path,class,split
photos/dog/2.jpg           photos/val/cat/2.jpg           cat/1.jpg,cat,train
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from lamina.errors import InputError
from lamina.train.images import files_under, is_image

PARTS = ("train", "validation", "test")
"""What an image may be for."""
NAMED = 20
"""Files that one line names at most."""
MAX_TABLE_BYTES = 256 * 2**20
"""Bytes that a table may have."""

_CALLED = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}
_COLUMNS = {
    "path": ("path", "file", "filename", "image"),
    "class": ("class", "label"),
    "split": ("split", "part", "set"),
}


@dataclass(frozen=True)
class Entry:
    """An image that training may use.

    Args:
        path: its file.
        label: its class.
        part: one of `PARTS`; None where nothing says.
    """

    path: Path
    label: str
    part: str | None = None


def entries_of(root: Path, warn: Callable[[str], None]) -> list[Entry]:
    """Return the images of a folder or of a table.

    Args:
        root: a folder with one sub-folder per class; one with ``train`` and ``val`` or ``test``,
            each with one sub-folder per class; or a ``.csv`` file with a line of heads, ``path``
            and ``class`` and, if it says so, ``split``. Paths are relative to the file's folder.
        warn: gets one line about what was left aside.

    Raises:
        InputError: a table without these columns, with a path that leaves its folder or is no
            file, a class that is never trained, a link that leaves the folder.
    """
    entries = list(_table(root) if root.is_file() else _folder(root, warn))
    parts = {entry.part for entry in entries}
    if None in parts and len(parts) > 1:
        bare = next(entry for entry in entries if entry.part is None)
        raise InputError(f"data: {bare.path}: expected a split as the others have, got none")
    if parts - {None} and "train" not in parts:
        raise InputError(f"data: {str(root)!r} has no images for train, only for {_said(parts)}")
    if "train" in parts:
        trained = {entry.label for entry in entries if entry.part == "train"}
        strange = next((entry for entry in entries if entry.label not in trained), None)
        if strange is not None:
            raise InputError(
                f"data: the class {strange.label!r} of {strange.path} has no image for train"
            )
    return entries


def _said(parts: set[str | None]) -> str:
    return ", ".join(sorted(part for part in parts if part is not None))


# ---- folders ------------------------------------------------------------------------------------


def _folder(root: Path, warn: Callable[[str], None]) -> Iterator[Entry]:
    folders = [path for path in sorted(root.iterdir()) if path.is_dir() and path.name[0] != "."]
    if not folders or not {folder.name.lower() for folder in folders} <= _CALLED.keys():
        for label, files in class_files(root, warn).items():
            yield from (Entry(file, label) for file in files)
        return
    for folder in folders:
        part = _CALLED[folder.name.lower()]
        for label, files in class_files(folder, warn, root).items():
            yield from (Entry(file, label, part) for file in files)


def class_files(
    root: Path, warn: Callable[[str], None], top: Path | None = None
) -> dict[str, list[Path]]:
    """Return each class of an image folder with its files, both in alphabetical order.

    A class is a sub-folder; the folders in it belong to it.

    Args:
        root: the folder.
        warn: gets one line about what was left aside: other files, files beside the sub-folders,
            sub-folders without an image. Names that begin with a dot are passed over in silence.
        top: the folder that no link may leave, where it is not ``root``.

    Raises:
        InputError: a file or sub-folder is a link that leaves ``root``.
    """
    seen = [path for path in sorted(root.iterdir()) if not path.name.startswith(".")]
    folders = [path for path in seen if path.is_dir()]
    classes: dict[str, list[Path]] = {}
    others: Counter[str] = Counter()
    empty = []
    for folder in folders:
        files = list(files_under(folder, top or root))
        images = [file for file in files if is_image(file)]
        others.update(file.suffix.lower() or "no suffix" for file in files if not is_image(file))
        if images:
            classes[folder.name] = images
        else:
            empty.append(folder.name)
    aside = []
    if others:
        kinds = ", ".join(f"{count} of {suffix}" for suffix, count in sorted(others.items()))
        aside.append(f"{others.total()} files that are no images ({kinds})")
    if beside := len(seen) - len(folders):
        aside.append(f"{beside} files beside the sub-folders")
    if empty:
        aside.append(f"the sub-folders without an image {', '.join(map(repr, empty[:NAMED]))}")
    if aside:
        warn(f"left aside in {root}: {'; '.join(aside)}")
    return classes


# ---- tables -------------------------------------------------------------------------------------


def _table(path: Path) -> Iterator[Entry]:
    where = f"data: {path}"
    if path.suffix.lower() != ".csv":
        raise InputError(f"data: expected a folder or a .csv file, got {str(path)!r}")
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise InputError(f"{where}: over {MAX_TABLE_BYTES // 2**20} MiB")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: expected text in UTF-8") from error
    rows = csv.reader(text.splitlines())
    heads = [head.strip().lower() for head in next(rows, [])]
    at = {
        column: next((heads.index(name) for name in names if name in heads), None)
        for column, names in _COLUMNS.items()
    }
    if at["path"] is None or at["class"] is None:
        raise InputError(f"{where}: expected the columns path and class, got {', '.join(heads)}")
    root = path.parent.resolve()
    for number, row in enumerate(rows, start=2):
        if not any(row):
            continue
        line = f"{where}, line {number}"
        if len(row) != len(heads):
            raise InputError(f"{line}: expected {len(heads)} columns, got {len(row)}")
        named = row[at["path"]]
        file = (root / named).resolve()
        if not file.is_relative_to(root):
            raise InputError(f"{line}: {named!r} leaves the table's folder")
        if not file.is_file():
            raise InputError(f"{line}: no file {named!r}")
        label = row[at["class"]].strip()
        if not label:
            raise InputError(f"{line}: expected a class, got nothing")
        yield Entry(file, label, _part(row, at["split"], line))


def _part(row: list[str], place: int | None, where: str) -> str | None:
    if place is None or not row[place].strip():
        return None
    part = _CALLED.get(row[place].strip().lower())
    if part is None:
        raise InputError(f"{where}: expected a split {', '.join(_CALLED)}, got {row[place]!r}")
    return part
