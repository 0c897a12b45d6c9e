"""Layers one after the other, a normalisation and the activation behind it in one pass over memory.

Both stay layers of their own: whether they are a pair is asked in every call, so that one that was
exchanged, hooked, cut out or called by itself meanwhile does what it does anywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.nn.activation import Hardswish, LeakyReLU, ReLU, ReLU6, SiLU
from lamina.nn.batch_norm2d import BatchNorm1d, BatchNorm2d
from lamina.nn.children import is_untouched
from lamina.ops.runtime.torch_private import hooks_on_every_module

NORMS = (BatchNorm1d, BatchNorm2d)
ACTIVATIONS: Mapping[type[torch.nn.Module], str] = {
    ReLU: "relu",
    ReLU6: "relu6",
    SiLU: "silu",
    Hardswish: "hardswish",
    LeakyReLU: "leaky_relu",
}
"""What a normalisation can apply in its pass, by the name that the op has for it."""

_SLOPE = 0.01
"""Of the LeakyReLU among them."""


class Sequential(torch.nn.Sequential):
    """Layers one after the other; ``torch.nn.Sequential``.

    A batch normalisation and an activation beside it run in one pass over memory: ``ReLU``,
    ``ReLU6``, ``SiLU``, ``Hardswish`` and ``LeakyReLU`` with its own slope.

    Args:
        args: the layers, or one ordered dictionary of them by name.

    Shape:
        The first layer's input to the last one's output.

    Parameters:
        The layers'.

    Differs from:
        Keras's Sequential, which is a model.

    Example:
        >>> model = Sequential(BatchNorm2d(1), ReLU())
        >>> model(torch.tensor([-1.0, 1.0]).reshape(2, 1, 1, 1)).flatten()
        tensor([0.0000, 1.0000], grad_fn=<ViewBackward0>)
    """

    def forward(self, input: Any) -> Any:  # noqa: ANN401 - what its layers take and give
        """What the layers make of ``input``, one after the other."""
        return run([*self._modules.values()], input)


def run(layers: Sequence[torch.nn.Module], x: Any) -> Any:  # noqa: ANN401
    """The layers one after the other, each normalisation and its activation in one pass.

    Example:
        >>> run([BatchNorm1d(1), ReLU()], torch.tensor([[-1.0], [1.0]])).flatten()
        tensor([0.0000, 1.0000], grad_fn=<ViewBackward0>)
    """
    at = 0
    while at < len(layers):
        layer = layers[at]
        if type(layer) in NORMS and at + 1 < len(layers):
            x = normalize(x, layer, layers[at + 1])
            at += 2
        else:
            x = layer(x)
            at += 1
    return x


def normalize(x: Tensor, norm: torch.nn.Module, activation: torch.nn.Module) -> Tensor:
    """``activation(norm(x))``, in one pass over memory where both are plainly ours.

    Args:
        x: what the normalisation takes.
        norm: any layer.
        activation: any layer.

    Example:
        >>> normalize(torch.tensor([[-1.0], [1.0]]), BatchNorm1d(1), ReLU()).flatten()
        tensor([0.0000, 1.0000], grad_fn=<ViewBackward0>)
    """
    name = pair(norm, activation)
    if name is None or hooks_on_every_module():
        y: Tensor = activation(norm(x))
        return y
    assert isinstance(norm, NORMS)
    return norm.activated(x, name)


def pair(norm: torch.nn.Module, activation: torch.nn.Module | None) -> str | None:
    """The activation as an op calls it, where one pass can do both; else None."""
    name = None if activation is None else ACTIVATIONS.get(type(activation))
    if activation is None or name is None or not is_untouched(norm, NORMS):
        return None
    if name == "leaky_relu" and activation.negative_slope != _SLOPE:
        return None
    return name if is_untouched(activation, (type(activation),)) else None


def flattened(module: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers that a Sequential calls one after the other, those of Sequentials in it as well.

    One that has to be called itself, for its hooks say, stands for its layers; what is no
    Sequential stands for itself.

    Example:
        >>> [type(layer).__name__ for layer in flattened(Sequential(Sequential(ReLU()), SiLU()))]
        ['ReLU', 'SiLU']
    """
    if not is_untouched(module, (Sequential, torch.nn.Sequential)):
        return [module]
    return [
        layer
        for child in module._modules.values()
        if child is not None
        for layer in flattened(child)
    ]
