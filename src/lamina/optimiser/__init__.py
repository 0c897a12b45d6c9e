"""The layers of the user's own model exchanged for lamina's, and the plain model back.

``lamina.optimize(model)`` exchanges every layer of torch.nn that lamina has, lets a Sequential run
batch normalisation and activation in one pass, and says what it left and why.
``lamina.restore(model)`` undoes it.
"""

from __future__ import annotations

import copy as _copy
from typing import TypeVar

import torch

from lamina import nn
from lamina.dialects import is_keras
from lamina.optimiser import composite, one_pass
from lamina.optimiser.exchange import (
    EXCHANGES,
    PLAIN,
    exchange,
    inexpressible,
    is_candidate,
    obstacle,
)
from lamina.optimiser.layout import to_channels_last, to_contiguous
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
            fastest; the images follow them through the model. As with torch's own
            ``to(memory_format=...)``, a ``forward`` that takes a ``view`` of such an image raises,
            and an optimiser with ``fused=True`` has to be made afterwards.
        copy: False changes ``model`` itself and returns it, so that its parameters stay the same
            objects and an optimiser made before goes on; True leaves it and returns a changed
            copy with weights of its own.
        fuse: let every Sequential run a batch normalisation and the activation beside it in one
            pass over memory. Both stay what they are, for whoever calls, hooks or replaces them.

    Returns:
        The model, its state_dict unchanged. ``model.lamina_report`` is a `Report`: a row per layer
        with what it was, what it is and, where it was left, why.

    Notes:
        Exchanged are layers whose class is exactly torch.nn's. Left are subclasses, layers that
        are parametrized, quantised, without a size yet, changed after they were made or hooked.
        Outputs and gradients differ by rounding alone; dropout draws other masks of the same law.

    Raises:
        TypeError: ``model`` is no module, or holds Keras layers: build it of ``lamina.layers``.

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
    if keras := _keras_layers(model):
        raise TypeError(
            f"optimize: {type(keras[0]).__name__} is Keras's, and this exchanges torch.nn's layers "
            "alone; build the model of lamina.layers in the place of keras.layers"
        )
    if copy:
        model = _copy.deepcopy(model)
    layers = {name: module for name, module in model.named_modules() if is_candidate(module)}
    before = {module: type(module) for module in layers.values()}
    notes = {module: obstacle(module) for module in layers.values()}
    for module, note in notes.items():
        if note is None:
            exchange(module, EXCHANGES[type(module)])
    pairs = one_pass.join(model) if fuse else {}
    if fuse:
        notes |= {m: notes.get(m) or note for m, note in one_pass.why_apart(model).items()}
    partners = pairs | {activation: norm for norm, activation in pairs.items()}
    names = {module: repr(name) for name, module in layers.items()}
    notes |= {
        m: f"in one pass with the {before[p].__name__} {names[p]}" for m, p in partners.items()
    }
    previous: Report | None = vars(model).get(_REPORT)
    moved = to_channels_last(model) if channels_last else ()
    rows = tuple(
        Row(
            name or "(model)",
            before[module].__name__,
            None if type(module) is before[module] else f"lamina.nn.{type(module).__name__}",
            notes[module] or "",
            module in partners,
        )
        for name, module in layers.items()
    )
    moved += previous.channels_last if previous else ()
    setattr(model, _REPORT, Report(type(model).__name__, rows, len(pairs), moved))
    return model


def restore(model: Model) -> Model:
    """Give a model its torch.nn layers back, in place: what `optimize` did, undone.

    Layers of lamina.nn that the model was built from become torch.nn's too, those that torch.nn has
    in pieces their pieces: a ``SeparableConv2d`` is a ``Sequential`` with a depthwise and a
    pointwise convolution. Parameters, buffers, hooks, the mode and the entries of the state_dict
    stay; the weights' memory format becomes what it was. Layers of lamina.layers become
    keras.layers' own, see ``lamina.layers.to_keras``.

    Args:
        model: any module.

    Returns:
        The model.

    Raises:
        TypeError: ``model`` is no module.
        ValueError: a layer of lamina.nn has no equal in torch.nn, such as a padding by
            TensorFlow's rule, or one of lamina.layers none in keras.layers; the message names it,
            and nothing has changed.

    Example:
        >>> model = optimize(torch.nn.Sequential(torch.nn.BatchNorm2d(8), torch.nn.ReLU()))
        >>> restore(model)[1]
        ReLU()
    """
    _check(model)
    ours = {
        name: module
        for name, module in model.named_modules()
        if type(module).__module__.startswith("lamina.nn.") and type(module) is not nn.Sequential
    }
    for name, module in ours.items():
        is_composite = type(module) in composite.COMPOSITES
        problem = composite.why_not(module) if is_composite else inexpressible(module)
        if problem:
            raise ValueError(f"restore: layer {name or '(model)'!r} cannot be plain: {problem}")
    if _keras_layers(model):
        from lamina.layers import to_keras

        to_keras(model)
    for module in ours.values():
        if type(module) in composite.COMPOSITES:
            composite.take_apart(module)
        else:
            exchange(module, PLAIN[type(module)])
    one_pass.part(model)
    report: Report | None = vars(model).pop(_REPORT, None)
    if report is not None:
        to_contiguous(model, report.channels_last)
    return model


def _keras_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in model.modules() if is_keras(module)]


def _check(model: object) -> None:
    if isinstance(model, type) and issubclass(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got the class {model.__name__} itself")
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
