"""Keras models as PyTorch modules: a graph of torch.nn's layers, and its source."""

from lamina.interchange.from_keras.cross import cross
from lamina.interchange.from_keras.source import source

__all__ = ["cross", "source"]
