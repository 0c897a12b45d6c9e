"""What ``lamina inspect`` needs beside ``inspect``: sizes typed by hand, and formats."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from lamina.errors import InputError, closest
from lamina.inspector.trace.inputs import Sizes
from lamina.report.account import Account

__all__ = ["FORMATS", "check_out", "format_of", "parse_sizes", "written"]

FORMATS = ("table", "json", "csv", "markdown", "html")
_SUFFIXES = {".txt": "table", ".json": "json", ".csv": "csv", ".md": "markdown", ".html": "html"}


def parse_sizes(texts: Sequence[str]) -> Sizes:
    """Read input sizes, each ``1,3,224,224`` or ``name=1,3,224,224``.

    Raises:
        InputError: something that is no size, or named and unnamed ones together.

    Example:
        >>> parse_sizes(["1,3,32,32"]), parse_sizes(["a=1,4", "b=1,2"])
        ([(1, 3, 32, 32)], {'a': (1, 4), 'b': (1, 2)})
    """
    named: dict[str, tuple[int, ...]] = {}
    unnamed: list[tuple[int, ...]] = []
    for text in texts:
        name, equals, sizes = text.rpartition("=")
        try:
            size = tuple(int(part) for part in sizes.split(","))
        except ValueError:
            size = ()
        if not size or any(extent < 0 for extent in size) or (equals and not name):
            raise InputError(
                f"--input: expected whole numbers such as 1,3,224,224 or name=1,3,224,224, "
                f"got {text!r}"
            )
        if equals:
            named[name] = size
        else:
            unnamed.append(size)
    if named and unnamed:
        raise InputError("--input: give every input a name or none")
    return named or unnamed


def format_of(given: str | None, path: Path | None) -> str:
    """The format that was asked for, or the one that the path's suffix stands for.

    Raises:
        InputError: an unknown format, or no format and a suffix that stands for none.

    Example:
        >>> format_of(None, Path("report.html")), format_of(None, None)
        ('html', 'table')
    """
    if given is None:
        if path is None:
            return "table"
        if path.suffix.lower() not in _SUFFIXES:
            raise InputError(
                f"--out: expected a name that ends in {', '.join(_SUFFIXES)}, or --format beside "
                f"it, got {str(path)!r}"
            )
        return _SUFFIXES[path.suffix.lower()]
    if given not in FORMATS:
        raise InputError(
            f"--format: expected one of {', '.join(FORMATS)}, got {given!r}"
            f"{closest(given, list(FORMATS))}"
        )
    return given


def check_out(*paths: Path | None) -> None:
    """Raise before the work rather than after it if a file cannot be written there.

    Args:
        paths: files to be; None for one that nobody asked for.

    Raises:
        InputError: a folder, or a place that does not exist or must not be written to.
    """
    for path in filter(None, paths):
        if path.is_dir():
            raise InputError(f"out: cannot write {path}: it is a folder")
        if not path.parent.is_dir():
            raise InputError(f"out: cannot write {path}: there is no folder {path.parent}")
        if not os.access(path if path.exists() else path.parent, os.W_OK):
            raise InputError(f"out: cannot write {path}: permission denied")


def written(account: Account, form: str) -> str:
    """The account as text in one of ``FORMATS``."""
    match form:
        case "json":
            return account.to_json()
        case "csv":
            return account.to_csv()
        case "markdown":
            return account.to_markdown()
        case "html":
            return account.to_html()
    return str(account)
