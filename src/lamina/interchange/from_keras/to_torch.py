"""A Keras model, or its file, as a torch module."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from lamina.interchange.from_keras.constructor import Flavour
from lamina.interchange.from_keras.cross import cross
from lamina.interchange.keras_file import load_keras_file

__all__ = ["to_torch"]


def to_torch(model: Any, *, flavour: Flavour = "torch") -> nn.Module:  # noqa: ANN401
    """Make a torch module of a Keras model, with its weights.

    Args:
        model: a ``keras.Model`` on the torch backend, or the path of a ``.keras`` file.
        flavour: ``"torch"`` for torch.nn's layers alone, ``"lamina"`` for lamina.nn's.

    Returns:
        A module in evaluation that takes images as (N, C, H, W). Its attributes are called as the
        Keras layers are; it can be trained, traced, exported, copied and pickled.

    Raises:
        InputError: a file that cannot be read, or a layer that has no equal, by its name.
        MissingExtraError: Keras is not installed.

    Example:
        >>> from lamina import layers
        >>> import keras
        >>> to_torch(keras.Sequential([keras.Input((4,)), layers.Dense(2, name="head")])).head
        Linear(in_features=4, out_features=2, bias=True)
    """
    if isinstance(model, str | Path):
        model = load_keras_file(model)
    return cross(model, flavour=flavour).torch_model
