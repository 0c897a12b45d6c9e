"""Whole networks by name, built from `lamina.nn`; in Keras's definition, from `lamina.layers`."""

import inspect
from collections.abc import Callable
from typing import Any

import torch

from lamina.errors import InputError, closest
from lamina.models.digits_cnn import digits_cnn
from lamina.models.efficientnet_b0 import EfficientNetB0
from lamina.models.keras_networks import keras_network
from lamina.models.mobilenet_v1 import MobileNetV1
from lamina.models.mobilenet_v2 import MobileNetV2
from lamina.models.mobilenet_v3 import mobilenet_v3_large, mobilenet_v3_small
from lamina.models.preprocessing import preprocess
from lamina.models.resnet import resnet18, resnet50
from lamina.models.vgg16 import VGG16
from lamina.theory.validation import one_of

__all__ = ["factory", "get", "names", "preprocess"]

_FACTORIES: dict[str, Callable[..., torch.nn.Module]] = {
    "digits_cnn": digits_cnn,
    "efficientnet_b0": EfficientNetB0,
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v3_large": mobilenet_v3_large,
    "mobilenet_v3_small": mobilenet_v3_small,
    "resnet18": resnet18,
    "resnet50": resnet50,
    "vgg16": VGG16,
}


def names() -> list[str]:
    """Return the names that `get` knows, in alphabetical order."""
    return sorted(_FACTORIES)


def factory(name: str) -> Callable[..., torch.nn.Module]:
    """Return the function that builds the network called ``name``.

    Raises:
        InputError: no network has this name.
    """
    if name not in _FACTORIES:
        known = ", ".join(names())
        raise InputError(f"model: expected one of {known}; got {name!r}{closest(name, names())}")
    return _FACTORIES[name]


def get(name: str, *, flavour: str = "torch", **arguments: Any) -> torch.nn.Module:
    """Build the network called ``name``, one of `names`, with its factory's arguments.

    Args:
        name: of the network.
        flavour: ``"torch"`` for torchvision's definition in `lamina.nn`, ``"keras"`` for that of
            keras.applications in `lamina.layers`, see `keras_networks.keras_network`.
        **arguments: of the network, such as ``num_classes``.

    Raises:
        InputError: no network has this name, or it has no such argument.
        ValueError: an argument out of its range, or an unknown flavour.

    Example:
        >>> model = get("mobilenet_v2", num_classes=10, width=0.5)
        >>> model(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    if one_of(flavour, "flavour", ("torch", "keras")) == "keras":
        model: torch.nn.Module = keras_network(name, **arguments)
        return model
    build = factory(name)
    known = inspect.signature(build).parameters
    for argument in arguments:
        if argument not in known:
            raise InputError(
                f"{name}: no argument {argument!r}; it has {', '.join(known)}"
                f"{closest(argument, list(known))}"
            )
    return build(**arguments)
