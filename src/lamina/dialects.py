"""Whose a module is, asked without importing that framework."""

__all__ = ["is_keras"]


def is_keras(module: object) -> bool:
    """Whether a module is a Keras layer or model.

    Example:
        >>> is_keras("no module at all")
        False
    """
    return any(base.__module__.startswith("keras.") for base in type(module).__mro__)
