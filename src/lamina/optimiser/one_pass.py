"""Every Sequential of a model made to normalise and activate in one pass over memory.

A normalisation and the activation beside it in a Sequential are a pair by structure: between them
stands nothing but the container's own forward. What a model's own forward calls one after the other
is left: it may keep, or use elsewhere, what goes between.
"""

from __future__ import annotations

import itertools
from typing import Any, ClassVar

import torch

from lamina import nn
from lamina.nn.sequential import NORMS, pair
from lamina.optimiser.exchange import has_hooks

_ACTIVATIONS = ("lamina.nn.activation", "torch.nn.modules.activation")
_PASSES_ON = (torch.nn.Identity, torch.nn.Dropout, torch.nn.Dropout2d)

_HOW_IT_RUNS = ("forward", "__call__", "__iter__", "__reduce__", "__reduce_ex__")
"""A subclass of Sequential with one of these of its own is left alone."""


class OnePass(nn.Sequential):
    """What `join` mixes into the user's own subclass of Sequential."""

    plain: ClassVar[type[torch.nn.Sequential]]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:  # noqa: ANN401 - as object's
        """Made anew from the user's own class, which has a name to be found by."""
        made = super().__reduce_ex__(max(protocol, 2))
        return (_empty, (self.plain,), *made[2:])


def join(model: torch.nn.Module) -> dict[torch.nn.Module, torch.nn.Module]:
    """Let every Sequential that holds pairs run them in one pass; the pairs."""
    pairs: dict[torch.nn.Module, torch.nn.Module] = {}
    for container in model.modules():
        here = _pairs_in(container)
        if here and not isinstance(container, nn.Sequential):
            container.__class__ = _mixed(type(container))  # type: ignore[arg-type]
        pairs |= here
    return pairs


def part(model: torch.nn.Module) -> None:
    """Make every Sequential the plain one that it was."""
    for container in model.modules():
        if isinstance(container, OnePass):
            container.__class__ = container.plain  # type: ignore[assignment]
        elif type(container) is nn.Sequential:
            container.__class__ = torch.nn.Sequential  # type: ignore[assignment]


def why_apart(model: torch.nn.Module) -> dict[torch.nn.Module, str]:
    """What keeps a normalisation and an activation from being one pass, where it can be seen."""
    notes: dict[torch.nn.Module, str] = {}
    for container in model.modules():
        children = list(container.children())
        for place, norm in enumerate(children):
            if type(norm) not in NORMS or norm in notes:
                continue
            if not _runs_in_order(container):
                kind = type(container).__name__
                notes[norm] = f"no fusion: what follows it is up to the forward of its {kind}"
            elif why := _why_not(norm, children[place + 1 :]):
                notes[norm] = f"no fusion: {why}"
    return notes


def _why_not(norm: torch.nn.Module, rest: list[torch.nn.Module]) -> str | None:
    between = list(itertools.takewhile(lambda layer: isinstance(layer, _PASSES_ON), rest))
    after = next(iter(rest[len(between) :]), None)
    if after is None or type(after).__module__ not in _ACTIVATIONS:
        return None
    if between:
        return f"a {type(between[0]).__name__} stands between it and the {type(after).__name__}"
    if has_hooks(norm) or has_hooks(after):
        return "it has hooks, or the activation behind it has"
    return None if pair(norm, after) else f"no kernel normalises and applies {after!r}"


def _pairs_in(container: torch.nn.Module) -> dict[torch.nn.Module, torch.nn.Module]:
    if not _runs_in_order(container):
        return {}
    children = list(container.children())
    return {norm: after for norm, after in itertools.pairwise(children) if pair(norm, after)}


def _runs_in_order(module: torch.nn.Module) -> bool:
    kind = type(module)
    return isinstance(module, torch.nn.Sequential) and any(
        all(getattr(kind, name) is getattr(known, name) for name in _HOW_IT_RUNS)
        for known in (torch.nn.Sequential, nn.Sequential, OnePass)
    )


_mixtures: dict[type[torch.nn.Sequential], type[nn.Sequential]] = {
    torch.nn.Sequential: nn.Sequential
}


def _mixed(kind: type[torch.nn.Sequential]) -> type[nn.Sequential]:
    """This kind of Sequential with the forward of ours, under its own name."""
    if kind not in _mixtures:
        body = {"plain": kind, "__module__": kind.__module__, "__qualname__": kind.__qualname__}
        _mixtures[kind] = type(kind.__name__, (OnePass, kind), body)
    return _mixtures[kind]


def _empty(plain: type[torch.nn.Sequential]) -> nn.Sequential:
    kind = _mixed(plain)
    return kind.__new__(kind)
