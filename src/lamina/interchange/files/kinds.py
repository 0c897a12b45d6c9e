"""Which kind of file a suffix stands for, and which framework's model it holds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lamina.errors import InputError, closest

__all__ = ["KINDS", "Kind", "Side", "kind_of", "kind_to_write"]

Side = Literal["keras", "torch", "other"]
"""Whose model it holds; other: the framework's that the source is not of."""


@dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        what: in words.
        side: whose model it holds.
        readable: whether it can be a source.
        needs_code: whether it holds weights alone.
    """

    what: str
    side: Side
    readable: bool = True
    needs_code: bool = False


KINDS = {
    ".keras": Kind("a Keras model", "keras"),
    ".h5": Kind("Keras weights", "keras", needs_code=True),
    ".safetensors": Kind("PyTorch weights", "torch", needs_code=True),
    ".pt": Kind("PyTorch weights", "torch", needs_code=True),
    ".pth": Kind("PyTorch weights", "torch", needs_code=True),
    ".pt2": Kind("an exported PyTorch model", "torch"),
    ".onnx": Kind("an ONNX model", "torch", readable=False),
    ".py": Kind("a model's source", "other", readable=False),
}
"""Every kind by its suffix."""


def kind_of(path: str | Path) -> Kind | None:
    """The kind of a file by its suffix, or None.

    Example:
        >>> kind_of("model.keras").what
        'a Keras model'
    """
    return KINDS.get(Path(path).suffix.lower())


def kind_to_write(path: str | Path) -> Kind:
    """The kind of a file that is to be written.

    Raises:
        InputError: an unknown suffix.

    Example:
        >>> kind_to_write("model.kears")
        Traceback (most recent call last):
        ...
        lamina.errors.InputError: DST: expected a name that ends in .keras, .h5, .safetensors, ...
    """
    kind = kind_of(path)
    if kind is None:
        suffix = Path(path).suffix
        raise InputError(
            f"DST: expected a name that ends in {', '.join(KINDS)}, got {str(path)!r}"
            f"{closest(suffix, list(KINDS))}"
        )
    return kind
