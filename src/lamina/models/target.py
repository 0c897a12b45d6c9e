"""Build a model from what a person types: a name, ``pkg.mod:factory`` or ``file.py:factory``."""

import importlib
import importlib.util
import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from lamina import models
from lamina.errors import InputError, closest

_FORMS = "a name of lamina.models, pkg.mod:factory or file.py:factory"
_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")


def is_code(target: str) -> bool:
    """Tell whether ``target`` names code outside of lamina, which building the model would run."""
    return ":" in target


def load_model(target: str, **arguments: Any) -> torch.nn.Module:
    """Build the model that ``target`` names.

    Args:
        target: a name of `lamina.models`, ``pkg.mod:factory`` or ``file.py:factory``. The factory
            is a function or a class that returns a `torch.nn.Module`.
        **arguments: handed to the factory by name as far as it has such parameters: a factory
            without ``num_classes`` is built without.

    Raises:
        InputError: the name is unknown, the module cannot be imported, it has no such factory, the
            factory raises, or it returns no `torch.nn.Module`; one line that says which.

    Example:
        >>> load_model("torch.nn:Identity")
        Identity()
    """
    factory = _factory(target)
    try:
        model = factory(**_accepted(factory, arguments))
    except Exception as error:
        raise InputError(f"model {target!r}: the factory raised {_brief(error)}") from error
    if isinstance(model, torch.nn.Module):
        return model
    raise InputError(
        f"model {target!r}: the factory must return a torch.nn.Module, "
        f"it returned {type(model).__name__}"
    )


def _factory(target: str) -> Callable[..., Any]:
    place, colon, name = target.rpartition(":")
    if not colon:
        if name in models.names():
            return models.factory(name)
        raise InputError(
            f"model: expected {_FORMS}, got {target!r}{closest(name, models.names())}"
            f" (known: {', '.join(models.names())})"
        )
    if not place or not name.isidentifier():
        raise InputError(f"model: expected {_FORMS}, got {target!r}")
    module = _file_module(place) if place.endswith(".py") else _named_module(place)
    factory = getattr(module, name, None)
    if factory is None:
        public = [key for key, value in vars(module).items() if callable(value)]
        raise InputError(f"model: {place} has no factory {name!r}{closest(name, public)}")
    if not callable(factory):
        raise InputError(
            f"model: {name!r} in {place} must be a function or a class, it is "
            f"{type(factory).__name__}"
        )
    return factory  # type: ignore[no-any-return]


def _named_module(place: str) -> ModuleType:
    if not _DOTTED.fullmatch(place):
        raise InputError(f"model: expected {_FORMS}, got the module {place!r}")
    # A console script's path lacks the working directory, where a user's module usually lies.
    sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(place)
    except Exception as error:
        raise InputError(f"model: importing {place} failed: {_brief(error)}") from error
    finally:
        sys.path.remove(str(Path.cwd()))


def _file_module(place: str) -> ModuleType:
    path = Path(place)
    if not path.is_file():
        raise InputError(f"model: no file {place!r}")
    spec = importlib.util.spec_from_file_location(f"_lamina_target_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise InputError(f"model: {place!r} cannot be imported as a Python file")
    module = importlib.util.module_from_spec(spec)
    # Registered while it runs, as an import would: dataclasses and pickle look modules up.
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise InputError(f"model: running {place} failed: {_brief(error)}") from error
    return module


def _accepted(factory: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    if getattr(factory, "__init__", None) is torch.nn.Module.__init__:
        return {}  # it has **kwargs in its signature, and refuses them
    try:
        parameters = inspect.signature(factory).parameters
    except ValueError:  # a factory written in C has none to show
        return {}
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters.values()):
        return arguments
    return {name: value for name, value in arguments.items() if name in parameters}


def _brief(error: BaseException) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}".rstrip(": ")
