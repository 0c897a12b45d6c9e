"""What a call comes to, remembered by all that decides it.

To check a call's arguments, fit its window to the image and choose the fastest way takes longer
than a small layer's arithmetic. So an op plans: from its tensors and settings it makes a function
of the tensors, and the next call of the same kind goes there at once. Nobody has to say that
something has changed: whatever a plan may depend on is in the key that it is found by.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from torch import (
    FloatTensor,
    Tensor,
    get_num_threads,
    is_autocast_enabled,
    is_grad_enabled,
)
from torch.compiler import is_compiling, is_exporting

from lamina.ops.runtime.native import PLAIN, prefers_kernels
from lamina.ops.runtime.numerics import get_numerics
from lamina.ops.runtime.torch_private import (
    differentiates_forward,
    dispatch_modes,
    function_transform,
    script_tracer,
)
from lamina.ops.tuning import calibration

Run = Callable[..., Any]
"""From an op's tensors to its result."""

Tensors = tuple[Tensor | None, ...]

Settings = tuple[Any, ...]

MOST = 4096
"""Plans of an op that are kept; a network of a hundred layers has a few hundred."""


def planned(
    plan: Callable[..., Run],
) -> Callable[[tuple[Tensor | None, ...], tuple[Any, ...]], Any]:
    """The op that a plan makes, called with its tensors and its settings.

    Args:
        plan: ``(*tensors, *settings)``: checks them all and returns what computes the result. It
            may look at the tensors' sizes, strides and whether they want gradients, at nothing
            else, and what it returns must not hold one.

    Example:
        >>> import torch
        >>> plans = []
        >>> def plan(x, factor):
        ...     plans.append(factor)
        ...     return lambda x: x * factor
        >>> scale = planned(plan)
        >>> [scale((torch.ones(1),), (2,)).item() for _ in range(3)], plans
        ([2.0, 2.0, 2.0], [2])
    """
    known: dict[Hashable, tuple[Run, Settings]] = {}
    _of_all_ops.append(known)

    def call(tensors: Tensors, settings: Settings) -> Any:
        key = _key(tensors, settings)
        if key is None:
            return plan(*tensors, *settings)(*tensors)
        found = known.get(key)
        if found is not None:
            return found[0](*tensors)
        run = plan(*tensors, *settings)
        if all(map(_is_constant, settings)):
            if len(known) >= MOST:
                known.clear()
            known[key] = run, settings  # the settings too: their addresses are in the key
        return run(*tensors)

    return call


_of_all_ops: list[dict[Hashable, tuple[Run, Settings]]] = []


def forget() -> None:
    """Have every call planned anew: for who exchanges what plans are made by, as tests do."""
    for known in _of_all_ops:
        known.clear()


def _key(tensors: Tensors, settings: Settings) -> Hashable:
    """All that decides in plain eager execution on plain float32 tensors of the CPU; else None.

    Settings go by their identity: what equals something valid, 1.0 say, may be none.
    """
    if (
        is_compiling()
        or function_transform() is not None
        or dispatch_modes()
        or differentiates_forward()
        or script_tracer() is not None
        or is_exporting()
    ):
        return None
    threads = get_num_threads()
    key: list[Hashable] = [
        threads,
        is_grad_enabled(),
        is_autocast_enabled("cpu"),
        get_numerics(),
        calibration.in_force(threads),
        prefers_kernels(),
    ]
    for tensor in tensors:  # no function: this is most of what a small call of ours costs
        if tensor is None:
            key.append(None)
        elif type(tensor) in PLAIN and isinstance(tensor, FloatTensor):
            key += tensor.shape, tensor.stride(), tensor.requires_grad
        else:
            return None
    key += map(id, settings)
    return tuple(key)


def _is_constant(setting: object) -> bool:
    """Whether it stays what it is, so that its address stands for it."""
    if type(setting) is tuple:
        return all(map(_is_constant, setting))
    return setting is None or type(setting) in (int, bool, float, str)
