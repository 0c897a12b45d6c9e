"""A layer's own tensors, and whether a layer made of others may compute with those of its children.

One op for several layers is quicker than a call of each, and passes over whatever hangs on a child:
hooks, pruning, normalisations of its weight, adapters, another layer in its place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_METHODS = ("forward", "_conv_forward")
_TENSORS = (Tensor, torch.nn.Parameter)


def is_plain(child: torch.nn.Module, kinds: tuple[type[torch.nn.Module], ...]) -> bool:
    """Whether calling ``child`` does what its class says with a weight of its own, and no more.

    Args:
        child: a layer inside of another one, whatever the user has made of it.
        kinds: classes whose arithmetic the caller knows; a subclass may compute something else, as
            that of a parametrised layer does.

    Returns:
        False where the child has hooks, a method of its own on the instance, or parameters or
        buffers that were taken away or are of a tensor subclass: then it has to be called.
    """
    # Pruning and the older normalisations make the weight an attribute.
    return is_untouched(child, kinds) and "weight" in child._parameters


def is_untouched(child: torch.nn.Module, kinds: tuple[type[torch.nn.Module], ...]) -> bool:
    """``is_plain`` of a layer that may have no weight."""
    if type(child) not in kinds:
        return False
    state = vars(child)
    for name in _HOOKS:
        if state[name]:
            return False
    for name in _METHODS:
        if name in state:
            return False
    for tensors in (state["_parameters"], state["_buffers"]):
        for tensor in tensors.values():
            if tensor is not None and type(tensor) not in _TENSORS:
                return False
    return True


def weight_and_bias(layer: torch.nn.Module) -> tuple[Tensor, Tensor | None]:
    """``layer.weight`` and ``layer.bias``, without ``Module.__getattr__``, which is slow."""
    own: Any = layer._parameters
    try:
        return own["weight"], own["bias"]
    except KeyError:  # what prunes a module or reparametrizes it leaves plain attributes
        return layer.weight, layer.bias  # type: ignore[return-value]
