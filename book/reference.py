"""Writes the pages of the reference, a heading for each public name: `python -m book.reference`.

The site fills in the docstrings.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).parents[1] / "docs/reference/api"

MODULES = {
    "lamina": "A model as a whole: made fast, accounted for, followed through.",
    "lamina.nn": "torch.nn's dialect: the same constructors, the same names of weights.",
    "lamina.layers": "Keras's dialect: real Keras layers on its torch backend.",
    "lamina.ops": "What both dialects call: one function per kind.",
    "lamina.models": "The classic networks, and what their published weights expect.",
    "lamina.theory": "Shapes, cost, limits and numerics by formula, without a framework.",
    "lamina.inspector": "What an account of a model holds.",
    "lamina.interchange": "Between Keras and PyTorch.",
    "lamina.lab": "Claims about layers, tried.",
    "lamina.train": "Training, resuming and asking from Python.",
}
"""A page each, with what it is about."""


def public_names(module: ModuleType) -> list[str]:
    """What a module offers that is lamina's own, in its own order."""
    names = [name for name in module.__all__ if not name.startswith("_")]
    return [name for name in names if _is_ours(getattr(module, name))]


def _is_ours(value: object) -> bool:
    home = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
    return str(home).partition(".")[0] == "lamina"


def page(name: str) -> str:
    """A page of the reference."""
    module = import_module(name)
    parts = [f"# {name}", MODULES[name]]
    for one in public_names(module):
        value = getattr(module, one)
        if not isinstance(value, ModuleType):
            parts.append(f"::: {name}.{one}")
        elif value.__name__ not in MODULES:
            parts.append(f"::: {value.__name__}\n    options:\n      show_root_toc_entry: true")
    return "\n\n".join(parts) + "\n"


def path_of(name: str) -> Path:
    """Where a module's page lies."""
    return FOLDER / f"{name.rpartition('.')[2]}.md"


if __name__ == "__main__":
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in MODULES:
        path_of(name).write_text(page(name))
