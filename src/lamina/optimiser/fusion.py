"""Which batch normalisations can take in the activation behind them, and why others cannot.

A pair is fused where every traced call of the normalisation hands its output to the activation and
to nothing else. The normalisation has to be called once in a pass and from one place: then nobody
else can have asked for what it returned before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.fx import Node

from lamina import nn
from lamina.optimiser.calls import Calls, called_module, input_of, sole_user
from lamina.optimiser.exchange import has_hooks
from lamina.optimiser.fused import NORMS, SHARED

_FORMULAS: Mapping[type[torch.nn.Module], str] = {
    nn.ReLU: "relu",
    nn.ReLU6: "relu6",
    nn.SiLU: "silu",
    nn.Hardswish: "hardswish",
}
_FUNCTIONS = ("relu", "relu_", "relu6", "leaky_relu", "leaky_relu_", "silu", "hardswish")


@dataclass(frozen=True)
class Pair:
    """A normalisation and the activation that it takes in.

    Args:
        norm: name of the normalisation.
        activation: name of the module behind it.
        formula: the activation, as ``nn.BatchNorm2d`` calls it.
        shared: the module is called elsewhere too.
    """

    norm: str
    activation: str
    formula: str
    shared: bool


def formula_of(module: torch.nn.Module) -> str | None:
    """The activation that a kernel can apply in this module's place; None for others."""
    if has_hooks(module):
        return None
    if type(module) is nn.LeakyReLU:
        return "leaky_relu" if module.negative_slope == 0.01 else None
    return _FORMULAS.get(type(module))


def find_pairs(modules: Mapping[str, torch.nn.Module], calls: Calls) -> list[Pair]:
    """The pairs to fuse among ``modules``, whose layers are lamina.nn's by now."""
    partners = {
        name: partner
        for name, module in modules.items()
        if _can_take_in(module) and (partner := _partner(name, modules, calls)) is not None
    }
    pairs = []
    for norm, activation in partners.items():
        sources = {input_of(node) for nodes in calls.graphs[activation] for node in nodes}
        shared = activation in calls.exposed or not all(
            source is not None and partners.get(source) == activation for source in sources
        )
        formula = formula_of(modules[activation])
        if formula is not None and (not shared or type(modules[activation]) in SHARED):
            pairs.append(Pair(norm, activation, formula, shared))
    return pairs


def why_not(name: str, modules: Mapping[str, torch.nn.Module], calls: Calls) -> str | None:
    """What kept a normalisation from taking in an activation; None where none was in sight."""
    if type(modules[name]) not in NORMS:
        return None
    failed = [part for part in calls.failures if part == "" or f"{name}.".startswith(f"{part}.")]
    if name not in calls.graphs:
        if not failed:
            return None
        part = max(failed, key=len)
        return f"no fusion: {_forward_of(part)} cannot be traced: {calls.failures[part]}"
    users = [user for nodes in calls.graphs[name] for node in nodes for user in node.users]
    functions = [function for user in users if (function := _function(user))]
    followers = [m for user in users if (m := called_module(user)) and _is_activation(modules[m])]
    if not functions and not followers:
        return None
    if functions:
        return f"no fusion: the {functions[0]} behind it is a call in forward, not a module"
    module, follower = modules[name], modules[followers[0]]
    if has_hooks(module) or has_hooks(follower):
        return "no fusion: it has hooks, or the activation behind it has"
    if calls.times(name) > 1:
        return "no fusion: it is called more than once"
    if name in calls.exposed:
        part = max(failed, key=len, default="")
        caller = _forward_of(part) if failed else "the layer around it"
        why = f": {calls.failures[part]}" if failed else ""
        return f"no fusion: {caller} may call it alone and cannot be traced{why}"
    if len(set(users)) > len(calls.graphs[name]):
        return "no fusion: its output goes elsewhere too"
    if formula_of(follower) is None:
        return f"no fusion: a {type(follower).__name__} with these arguments has no fused kernel"
    return f"no fusion: the {type(follower).__name__} behind it is called elsewhere too"


def _can_take_in(module: torch.nn.Module) -> bool:
    return type(module) in NORMS and not has_hooks(module) and module.activation is None


def _partner(name: str, modules: Mapping[str, torch.nn.Module], calls: Calls) -> str | None:
    """The activation behind every call of this normalisation, where there is one."""
    if name in calls.exposed or calls.times(name) != 1:
        return None
    users = [sole_user(node) for nodes in calls.graphs[name] for node in nodes]
    followers = {None if user is None else called_module(user) for user in users}
    follower = followers.pop()
    if followers or follower is None or formula_of(modules[follower]) is None:
        return None
    return follower


def _function(node: Node) -> str | None:
    """The activation that a node computes without a module."""
    target = node.target if isinstance(node.target, str) else getattr(node.target, "__name__", "")
    return target if node.op != "call_module" and target in _FUNCTIONS else None


def _is_activation(module: torch.nn.Module) -> bool:
    return type(module).__module__ in ("lamina.nn.activation", "torch.nn.modules.activation")


def _forward_of(part: str) -> str:
    return f"the forward of {part!r}" if part else "the model's forward"
