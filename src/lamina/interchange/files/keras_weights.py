"""Keras weights in ``.h5`` files: written with checksums; checked, then read into a given model."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

from torch import nn

from lamina.errors import InputError
from lamina.interchange.files import checksums
from lamina.interchange.files.hdf5 import check_links
from lamina.interchange.keras_file import LARGEST
from lamina.interchange.traps import TRAPS

__all__ = ["load_keras_weights", "save_keras_weights"]

_SHAPES = re.compile(
    r"<\w+ name=(?P<layer>[^,>]+).*?variable\.shape=\((?P<ours>[\d, ]*)\), "
    r"Received: value\.shape=(?:torch\.Size\(\[|\()(?P<theirs>[\d, ]*)",
    re.DOTALL,
)


def save_keras_weights(model: nn.Module, path: Path) -> None:
    """Write a ``.weights.h5`` file whose damage every reader notices, Keras's own too.

    Args:
        model: a built Keras model.
        path: the file.
    """
    model.save_weights(path)  # type: ignore[operator]
    checksums.add_to_hdf5(path)


def load_keras_weights(model: nn.Module, path: str | Path, *, largest: int = LARGEST) -> None:
    """Load a ``.h5`` file, of Keras 3's ``save_weights`` or of Keras 2's, into a model.

    Args:
        model: a built Keras model.
        path: the file.
        largest: bytes that it may take, unpacked too.

    Raises:
        InputError: it is damaged, leads elsewhere, is too large, or is of another model; where
            shapes differ the layer and both are named.
    """
    path = Path(path)
    size = path.stat().st_size
    if size > largest:
        raise InputError(f"weights {str(path)!r}: has {size:,} bytes, allowed are {largest:,}")
    check_links(path, path.read_bytes(), largest)
    checksums.check_hdf5(path)
    before = [weight.numpy() for weight in model.weights]  # type: ignore[union-attr]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of groups that older versions did not write
            model.load_weights(path)  # type: ignore[operator]
    except Exception as error:
        model.set_weights(before)  # type: ignore[operator]
        raise InputError(f"weights {str(path)!r}: {_said(str(error))}") from error


def _said(error: str) -> str:
    """What differs, in one line."""
    shapes = _SHAPES.search(error)
    if shapes is None:
        first = (error.strip().splitlines() or ["Keras gives no reason"])[0]
        return f"do not fit the model: {first[:200]}"
    theirs, ours = shapes["theirs"], shapes["ours"]
    said = f"layer {shapes['layer']!r}: the file has ({theirs}), the model ({ours})"
    if sorted(theirs.split(", ")) == sorted(ours.split(", ")):
        trap = TRAPS["conv-weight" if theirs.count(",") > 1 else "dense-weight"]
        said += f"; likely a {trap.topic} in PyTorch's order, {trap.torch}, not {trap.keras}"
    return said
