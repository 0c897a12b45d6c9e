"""A batch normalisation that has taken in the activation behind it, and what is left of that.

The activation stays where the model's forward calls it, under its name, and passes its input on.
One that is called elsewhere too, as the ReLU of a ResNet's block is, has to know which calls the
normalisation has served: the normalisation marks its output, the activation takes the mark off.
Where marks are not seen, under torch.compile, it activates again, which changes nothing: only
activations with f(f(x)) = f(x) are shared in this way.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina import nn

_MARK = "_lamina_activated"


def _mark(x: Tensor) -> Tensor:
    if not torch.compiler.is_compiling():
        setattr(x, _MARK, True)
    return x


def _take_mark(x: Tensor) -> bool:
    return not torch.compiler.is_compiling() and vars(x).pop(_MARK, False) is True


class FusedBatchNorm1d(nn.BatchNorm1d):
    """A ``BatchNorm1d`` that applies the activation of another module of the model."""

    def forward(self, input: Tensor) -> Tensor:
        """``input`` normalised, scaled, shifted and activated."""
        return _mark(super().forward(input))


class FusedBatchNorm2d(nn.BatchNorm2d):
    """A ``BatchNorm2d`` that applies the activation of another module of the model."""

    def forward(self, input: Tensor) -> Tensor:
        """``input`` normalised, scaled, shifted and activated."""
        return _mark(super().forward(input))


class FusedActivation(torch.nn.Module):
    """An activation all of whose calls a batch normalisation has taken in: it does nothing."""

    replaces: type[torch.nn.Module]

    def forward(self, input: Tensor) -> Tensor:
        """``input`` itself."""
        _take_mark(input)
        return input

    def extra_repr(self) -> str:
        """What it was."""
        return f"{self.replaces.__name__}, in the batch norm before it"


class SharedReLU(nn.ReLU):
    """A ``ReLU`` some of whose calls a batch normalisation has taken in."""

    def forward(self, input: Tensor) -> Tensor:
        """max(input, 0), or ``input`` itself where that is done."""
        return input if _take_mark(input) else super().forward(input)


class SharedReLU6(nn.ReLU6):
    """A ``ReLU6`` some of whose calls a batch normalisation has taken in."""

    def forward(self, input: Tensor) -> Tensor:
        """min(max(input, 0), 6), or ``input`` itself where that is done."""
        return input if _take_mark(input) else super().forward(input)


NORMS: dict[type[torch.nn.Module], type[torch.nn.Module]] = {
    nn.BatchNorm1d: FusedBatchNorm1d,
    nn.BatchNorm2d: FusedBatchNorm2d,
}

SHARED: dict[type[torch.nn.Module], type[torch.nn.Module]] = {
    nn.ReLU: SharedReLU,
    nn.ReLU6: SharedReLU6,
}

_UNFUSED = {fused: plain for table in (NORMS, SHARED) for plain, fused in table.items()}


def fuse(norm: torch.nn.Module, activation: torch.nn.Module, name: str, *, shared: bool) -> None:
    """Let ``norm`` apply the activation called ``name`` in the place of the module."""
    norm.__class__ = NORMS[type(norm)]
    norm.activation = name  # type: ignore[assignment]
    if shared:
        activation.__class__ = SHARED.get(type(activation), type(activation))
    elif not isinstance(activation, FusedActivation):
        activation.replaces = type(activation)  # type: ignore[assignment]
        activation.__class__ = FusedActivation


def is_fused(module: torch.nn.Module) -> bool:
    """Whether `fuse` has changed this module."""
    return type(module) in _UNFUSED or isinstance(module, FusedActivation)


def unfuse(module: torch.nn.Module) -> None:
    """Give a module that `fuse` has changed its own class and work back; leave others."""
    kind = type(module)
    if kind in _UNFUSED:
        module.__class__ = _UNFUSED[kind]
        if kind in NORMS.values():
            module.activation = None  # type: ignore[assignment]
    elif isinstance(module, FusedActivation):
        module.__class__ = vars(module).pop("replaces")
