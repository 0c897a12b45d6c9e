"""The layers of the user's own model exchanged for lamina's, and the plain model back.

``lamina.optimize(model)`` exchanges every layer of torch.nn that lamina has, lets a batch
normalisation apply the activation behind it, and says what it left and why.
``lamina.restore(model)`` undoes it.
"""

from __future__ import annotations

import copy as _copy
from collections.abc import Sequence
from typing import TypeVar

import torch

from lamina.optimiser.calls import calls_of
from lamina.optimiser.exchange import (
    EXCHANGES,
    PLAIN,
    exchange,
    inexpressible,
    is_candidate,
    obstacle,
)
from lamina.optimiser.fused import fuse as _fuse
from lamina.optimiser.fused import is_fused, unfuse
from lamina.optimiser.fusion import Pair, find_pairs, why_not
from lamina.optimiser.report import Report, Row

__all__ = ["Report", "Row", "optimize", "restore"]

Model = TypeVar("Model", bound=torch.nn.Module)

_REPORT = "lamina_report"


def optimize(
    model: Model, *, channels_last: bool = False, copy: bool = False, fuse: bool = True
) -> Model:
    """Exchange the layers of a torch model for lamina's: the same numbers in less time.

    Args:
        model: any module, on any device, in any mode: torchvision-style, timm-style, a
            Sequential, your own. The rules of what is exchanged are in Notes.
        channels_last: bring the convolutions' weights into the memory format in which they run
            fastest; the images follow them through the model.
        copy: False changes ``model`` itself and returns it, so that its parameters stay the same
            objects and an optimiser made before goes on; True leaves it and returns a changed
            copy with weights of its own.
        fuse: let a batch normalisation apply the activation behind it in the same pass over
            memory. The module of the activation stays under its name and passes its input on, so
            whoever asks for what the normalisation returned gets the activated value: hooks that
            are there already keep the pair from being fused; add others before, or say False.

    Returns:
        The model, its class and its state_dict unchanged. ``model.lamina_report`` is a `Report`:
        a row per layer with what it was, what it is and, where it was left, why.

    Notes:
        Exchanged are layers whose class is exactly torch.nn's. Left are subclasses, layers that
        are parametrized, quantised, without a size yet, changed after they were made or hooked.
        Fused are pairs that ``torch.fx`` shows to be one: see ``docs/optimize.md``. Outputs and
        gradients differ by rounding alone; dropout draws other masks of the same law.

    Raises:
        TypeError: ``model`` is no module.

    Example:
        >>> from torch import nn
        >>> layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.GroupNorm(2, 8)]
        >>> model = nn.Sequential(*layers)
        >>> model = optimize(model)
        >>> model.lamina_report.summary()
        'Sequential: 3 layers exchanged, 1 batch norms fused with activations, 1 left'
        >>> model.lamina_report.left[0].note
        'lamina has no GroupNorm'
    """
    _check(model)
    if copy:
        model = _copy.deepcopy(model)
    everything = dict(model.named_modules())
    layers = {name: module for name, module in everything.items() if is_candidate(module)}
    before = {name: type(module) for name, module in layers.items()}
    notes = {name: obstacle(module) for name, module in layers.items()}
    for name, module in layers.items():
        if notes[name] is None:
            exchange(module, EXCHANGES[type(module)])
    pairs: list[Pair] = []
    if fuse and len(everything) > 1:
        calls = calls_of(model)
        pairs = find_pairs(everything, calls)
        notes |= {name: notes[name] or why_not(name, everything, calls) for name in layers}
        notes |= _notes_on(pairs, before)
        for pair in pairs:
            _fuse(layers[pair.norm], layers[pair.activation], pair.formula, shared=pair.shared)
    if channels_last:
        model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    fused = {name for pair in pairs for name in (pair.norm, pair.activation)}
    rows = tuple(
        Row(
            name or "(model)",
            before[name].__name__,
            None if type(module) is before[name] else _shown(type(module)),
            notes[name] or "",
            name in fused,
        )
        for name, module in layers.items()
    )
    setattr(model, _REPORT, Report(type(model).__name__, rows, len(pairs), channels_last))
    return model


def restore(model: Model) -> Model:
    """Give a model its torch.nn layers back, in place: what `optimize` did, undone.

    Layers of lamina.nn that the model was built from become torch.nn's too. Parameters, buffers,
    hooks and the mode stay; the weights' memory format becomes what it was.

    Args:
        model: any module.

    Returns:
        The model.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: a layer of lamina.nn has no equal in torch.nn, such as a padding by
            TensorFlow's rule; the message names it, and nothing has changed.

    Example:
        >>> model = optimize(torch.nn.Sequential(torch.nn.BatchNorm2d(8), torch.nn.ReLU()))
        >>> restore(model)[1]
        ReLU()
    """
    _check(model)
    ours = {
        name: module
        for name, module in model.named_modules()
        if type(module).__module__.startswith(("lamina.nn.", "lamina.optimiser."))
    }
    for name, module in ours.items():
        if not is_fused(module) and (problem := inexpressible(module)):
            raise ValueError(f"restore: layer {name or '(model)'!r} cannot be plain: {problem}")
    for module in ours.values():
        unfuse(module)
        exchange(module, PLAIN[type(module)])
    report = vars(model).pop(_REPORT, None)
    if report is not None and report.channels_last:
        model.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return model


def _shown(kind: type[torch.nn.Module]) -> str:
    """A layer that anyone can make by its public name, one of ours by its own."""
    return f"lamina.nn.{kind.__name__}" if kind in PLAIN else kind.__name__


def _notes_on(pairs: Sequence[Pair], before: dict[str, type[torch.nn.Module]]) -> dict[str, str]:
    notes = {}
    for pair in pairs:
        notes[pair.norm] = f"applies the {before[pair.activation].__name__} {pair.activation!r}"
        names = ", ".join(repr(p.norm) for p in pairs if p.activation == pair.activation)
        rest = ", activates its other calls" if pair.shared else ""
        notes[pair.activation] = f"applied by {names}{rest}"
    return notes


def _check(model: object) -> None:
    if isinstance(model, type) and issubclass(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got the class {model.__name__} itself")
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
