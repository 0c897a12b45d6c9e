"""Names and state of a model's modules, in torch.nn's dialect and in Keras's.

A Keras model on the torch backend is a module, but its layers are not registered under it by
name, and its weights lie in one list. Keras is asked by its own attributes; it is not imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from torch import Tensor, nn

__all__ = ["is_keras", "module_names", "state_of"]

Part = Literal["parameter", "buffer"]


def is_keras(module: nn.Module) -> bool:
    """Whether a module is a Keras layer or model."""
    return any(base.__module__.startswith("keras.") for base in type(module).__mro__)


def _keras_layers(model: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - a Keras model
    if is_keras(model) and hasattr(model, "_flatten_layers"):
        for layer in model._flatten_layers(include_self=False):
            path = getattr(layer, "path", None) or layer.name
            yield path.removeprefix(f"{model.name}/").replace("/", "."), layer


def module_names(model: nn.Module) -> dict[int, str]:
    """The qualified name of every module, by identity."""
    names = {id(module): name for name, module in model.named_modules()}
    for name, layer in _keras_layers(model):
        names[id(layer)] = name
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
