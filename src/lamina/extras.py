"""What ``pip install lamina`` leaves out: the packages of each extra, and which are here."""

import importlib.metadata
import importlib.util

from lamina.errors import MissingExtraError

EXTRAS = {
    "cli": ("rich", "threadpoolctl", "typer"),
    "train": (
        "kornia",
        "lightning",
        "pillow",
        "rich",
        "safetensors",
        "scikit-learn",
        "tensorboard",
    ),
    "keras": ("keras", "h5py"),
    "convert": ("onnx", "onnxscript", "safetensors"),
}
"""The packages of each extra; ``lamina[all]`` is these together."""

_IMPORTED_AS = {"pillow": "PIL", "scikit-learn": "sklearn"}  # where the names differ


def missing(extra: str) -> list[str]:
    """The packages of an extra that are not installed.

    Args:
        extra: a key of `EXTRAS`.
    """
    return [
        package
        for package in EXTRAS[extra]
        if importlib.util.find_spec(_IMPORTED_AS.get(package, package)) is None
    ]


def require(extra: str, feature: str) -> None:
    """Raise unless every package of an extra is installed.

    Args:
        extra: a key of `EXTRAS`.
        feature: what asks for it, as the message's first words.

    Raises:
        MissingExtraError: a package is missing; one line that says what to install.
    """
    if absent := missing(extra):
        raise MissingExtraError(
            f"{feature} needs {', '.join(absent)}: pip install 'lamina[{extra}]'"
        )


def version(distribution: str) -> str:
    """Return the installed version of a distribution, or ``"not installed"``."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"
