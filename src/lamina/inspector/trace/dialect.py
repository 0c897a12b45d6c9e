"""Names and state of a model's modules, in torch.nn's dialect and in Keras's.

A Keras model on the torch backend is a module, but its layers are not registered under it by
name, and its weights lie in one list. Keras is asked by its own attributes; it is not imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor, nn

from lamina.dialects import is_keras
from lamina.errors import InputError

__all__ = ["built_only", "has_channels_last", "is_leaf", "modules_of", "own_inputs", "state_of"]

Part = Literal["parameter", "buffer"]


def is_leaf(module: nn.Module) -> bool:
    """Whether a module holds no other module; Keras's layers hold a dictionary of weights."""
    if is_keras(module):
        return not any(_keras_layers(module))
    return not any(module.children())


def has_channels_last(module: nn.Module) -> bool:
    """Whether the images of a module are (N, H, W, C), as Keras's are unless it was asked not to.

    A Keras layer that does not say so itself, a model or an activation, is asked by the layers in
    it, and else goes by Keras's rule.
    """
    if not is_keras(module):
        return False
    layers = (module, *(layer for _, layer in _keras_layers(module)))
    said = (getattr(layer, "data_format", None) for layer in layers)
    return next((form for form in said if form is not None), "channels_last") == "channels_last"


def own_inputs(model: nn.Module) -> list[tuple[tuple[int, ...], torch.dtype]]:
    """Shapes and types of the inputs that a Keras model was defined with, for one sample.

    Empty for a model that does not say what it wants.

    Raises:
        InputError: an input leaves more open than the batch.
    """
    declared = getattr(model, "inputs", None) if is_keras(model) else None
    found = []
    for tensor in declared or []:
        shape = tuple(tensor.shape)
        if None in shape[1:]:
            written = ",".join("?" if extent is None else str(extent) for extent in shape)
            raise InputError(
                f"input: the model leaves the size of {tensor.name!r} open, {written}; give one"
            )
        dtype = getattr(torch, str(tensor.dtype), None)
        if not isinstance(dtype, torch.dtype):
            raise InputError(f"input: {tensor.name!r} is of type {tensor.dtype}, which torch lacks")
        found.append(((1 if shape[0] is None else shape[0], *shape[1:]), dtype))
    return found


def _keras_layers(model: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - a Keras model
    if is_keras(model) and hasattr(model, "_flatten_layers"):
        for layer in model._flatten_layers(include_self=False):
            path = getattr(layer, "path", None) or layer.name
            yield path.removeprefix(f"{model.name}/").replace("/", "."), layer


@contextmanager
def built_only(model: nn.Module) -> Iterator[None]:
    """Refuse to run a Keras layer that would make its weights: they cannot be unmade.

    To be used inside of `untouched`, which takes the refusals away again.

    Raises:
        InputError: a layer that was called is not built yet.
    """
    unbuilt: list[str] = []

    def refusing(name: str) -> Any:  # noqa: ANN401 - Keras asks for any callable
        def build(*args: object, **kwargs: object) -> None:
            unbuilt.append(name)
            raise InputError(name)

        return build

    for layer, name in modules_of(model).items():
        if is_keras(layer) and not layer.built:
            has_none = is_leaf(layer) and getattr(layer.build, "_is_default", False)
            if not has_none:
                vars(layer)["build"] = refusing(name or type(layer).__name__)
    try:
        yield
    except Exception:
        if not unbuilt:
            raise
        raise InputError(
            f"{unbuilt[0]} is not built yet: call the model on data or build it, then inspect it"
        ) from None


def modules_of(model: nn.Module) -> dict[nn.Module, str]:
    """Every module and its qualified name."""
    names = {module: name for name, module in model.named_modules()}
    names.update({layer: name for name, layer in _keras_layers(model)})
    return names


def state_of(model: nn.Module) -> Iterator[tuple[str, nn.Module, Tensor, Part]]:
    """Every parameter and buffer once: its owner's name, the owner, the tensor, what it is."""
    seen: set[int] = set()
    for name, layer in _keras_layers(model):
        for variable in [*layer._trainable_variables, *layer._non_trainable_variables]:
            if id(variable.value) not in seen:
                seen.add(id(variable.value))
                learns = any(variable is other for other in layer._trainable_variables)
                yield name, layer, variable.value, "parameter" if learns else "buffer"
    for name, module in model.named_modules():
        for tensor in [*module._parameters.values(), *module._buffers.values()]:
            if tensor is None or id(tensor) in seen:
                continue
            seen.add(id(tensor))
            if is_keras(model):
                # Beside its layers' weights a model keeps the state of random generators.
                yield "", model, tensor, "parameter" if tensor.is_floating_point() else "buffer"
            else:
                learns = isinstance(tensor, nn.Parameter)
                yield name, module, tensor, "parameter" if learns else "buffer"
