"""Models of other frameworks' files, as modules that the rest of the house can use."""

from lamina.interchange.keras_file import load_keras_file

__all__ = ["load_keras_file"]
