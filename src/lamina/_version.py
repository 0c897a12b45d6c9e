"""The version, on the ground: every floor may name it."""

__version__ = "0.1.0"
