"""The user's own model at the speed of lamina's kernels, and the plain model back.

``lamina.optimize(model)`` has PyTorch capture what the model does at its next calls, and runs the
captured graphs through `lamina.graph`; of a Keras model the layers become ours. ``lamina.restore``
undoes it, and makes layers of lamina.nn torch.nn's own.
"""

from __future__ import annotations

import copy as _copy
from typing import TypeVar

import torch

from lamina.dialects import is_keras
from lamina.graph import Backend, Graph, Report, Row
from lamina.ops.runtime.torch_private import compile_calls, is_compiled, uncompile
from lamina.optimiser import composite
from lamina.optimiser.plain import inexpressible, make_plain

__all__ = ["optimize", "restore"]

Model = TypeVar("Model", bound=torch.nn.Module)

_REPORT = "lamina_report"


def optimize(model: Model, *, copy: bool = False) -> Model:
    """Have a model run by lamina: the same numbers in less time.

    Args:
        model: any torch module, on any device, in any mode: torchvision-style, timm-style, a
            Sequential, one of `lamina.nn`, your own; or a Keras model on the torch backend, built,
            loaded or of keras.applications.
        copy: False changes ``model`` itself and returns it; True leaves it and returns a changed
            copy with weights of its own.

    Returns:
        The model. Its class, its layers, its parameters and its state_dict are what they were: only
        what ``model(...)`` runs is another thing. ``model.lamina_report`` is a
        `lamina.graph.Report`: a line for each call with what runs it, what was joined, and what was
        left and why. It fills at the first call in each mode.

    Notes:
        It is ``torch.compile(model, backend="lamina")`` in place, with the report. The first call
        in each mode (train, eval, with or without gradients) captures the model, which takes
        seconds; it also chooses among algorithms by the clock, once for each shape. Weights,
        statistics, hooks and layers that change afterwards count at the next call. Where PyTorch
        cannot capture a part of the model, that part runs as it is. A copy or a pickle of the model
        is a plain model.
        Outputs and gradients differ by rounding alone; dropout draws other masks of the same law.

        A Keras model, or what holds one, is not captured: its layers become those of
        `lamina.layers`, see `lamina.layers.from_keras`, with ``fit``, ``predict``, saving and
        loading as before. What it is saved to names our layers; `restore` makes them Keras's own
        again. Its numbers are TensorFlow's where Keras's torch backend has others.

    Raises:
        TypeError: ``model`` is no module.
        ImportError: a Keras model on another backend than torch.

    Example:
        >>> from torch import nn
        >>> layers = [nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()]
        >>> model = optimize(nn.Sequential(*layers).eval())
        >>> with torch.no_grad():
        ...     model(torch.zeros(1, 3, 8, 8)).shape
        torch.Size([1, 8, 6, 6])
        >>> model.lamina_report.summary()
        'Sequential: inference: 3 calls run as 1: 1 conv2d'
    """
    _check(model)
    if copy:
        model = _copy.deepcopy(model)
    report = Report(type(model).__name__)
    if _keras_layers(model):
        report.graphs.append(_exchanged(model))
    else:
        compile_calls(model, Backend(report))
    setattr(model, _REPORT, report)
    return model


def _exchanged(model: torch.nn.Module) -> Graph:
    """Its Keras layers are ours from now on; which, and which stay."""
    from lamina.layers.exchange import from_keras, layers_of
    from lamina.layers.fusion import pairs_of

    from_keras(model)
    layers = layers_of(model)
    activated = {
        id(pair.norm): f" + {pair.what.name}"
        for layer in layers
        if hasattr(layer, "layers")
        for pair in pairs_of(layer)
    }
    rows = []
    for layer in layers:
        kind = type(layer)
        if kind.__module__.startswith("lamina."):
            what = kind.__name__ + activated.get(id(layer), "")
            fused = 1 + (id(layer) in activated)
            rows.append(Row(layer.name, what, f"lamina.layers.{kind.__name__}", fused=fused))
        elif not hasattr(layer, "layers") and layer.weights:
            note = "lamina.layers has none, or it is a subclass of Keras's layer"
            rows.append(Row(layer.name, kind.__name__, f"torch.{kind.__name__}", note))
    return Graph("Keras", rows)


def restore(model: Model) -> Model:
    """Give the plain torch model back, in place: what `optimize` did, undone.

    Layers of lamina.nn that the model was built from become torch.nn's, those that torch.nn has
    in pieces their pieces: a ``SeparableConv2d`` is a ``Sequential`` with a depthwise and a
    pointwise convolution. Parameters, buffers, hooks, the mode and the entries of the state_dict
    stay. Layers of lamina.layers become keras.layers' own, see ``lamina.layers.to_keras``.

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
        >>> from lamina import nn
        >>> restore(nn.Sequential(nn.BatchNorm2d(8), nn.ReLU()))[1]
        ReLU()
    """
    _check(model)
    ours = {
        name: module
        for name, module in model.named_modules()
        if type(module).__module__.startswith("lamina.nn.")
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
            make_plain(module)
    if isinstance(vars(model).pop(_REPORT, None), Report) and is_compiled(model):
        uncompile(model)
    return model


def _keras_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [module for module in model.modules() if is_keras(module)]


def _check(model: object) -> None:
    if isinstance(model, type) and issubclass(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got the class {model.__name__} itself")
    if not isinstance(model, torch.nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
