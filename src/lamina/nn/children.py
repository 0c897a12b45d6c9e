"""Whether a layer that is made of others may compute with their parameters instead of calling them.

One op for several layers is quicker than a call of each, and passes over whatever hangs on a child:
hooks, pruning, normalisations of its weight, adapters, another layer in its place.
"""

from __future__ import annotations

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
