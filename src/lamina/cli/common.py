"""What the commands share: options, and how they write and speak."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from lamina.errors import RunError

CustomCode = Annotated[
    bool,
    typer.Option(
        "--allow-custom-code",
        help="Run what a .keras file holds or names; only if you trust it.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, on the last line.")]


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Name the place in an error of the system's that does not, such as a full disk's."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def write(path: Path, text: str) -> None:
    """Write a file that a user asked for."""
    with writing(path):
        path.write_text(text, encoding="utf-8")


def warn(line: str) -> None:
    """Say it beside the result."""
    print(line, file=sys.stderr)


def require_kernels(what: str) -> None:
    """Raise unless there are kernels to choose from."""
    from lamina.ops.runtime import native

    if not native.kernels:
        raise RunError(f"{what}: there are no native kernels to choose from")
