"""Layers of lamina.nn that torch.nn has only in pieces, made of those pieces.

The module stays the same object and keeps its children, and so its entries in the state_dict.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from lamina import nn


class SqueezeExcitation(torch.nn.Module):
    """Every channel scaled by a gate, which the means of all channels set, on torch.nn alone.

    Source: Hu, Shen and Sun, "Squeeze-and-Excitation Networks" (2018), section 3.
    """

    avgpool: torch.nn.Module
    fc1: torch.nn.Module
    activation: torch.nn.Module
    fc2: torch.nn.Module
    gate: torch.nn.Module

    def forward(self, input: Tensor) -> Tensor:
        """``input`` with every channel scaled by its gate."""
        hidden = self.activation(self.fc1(self.avgpool(input)))
        gates: Tensor = self.gate(self.fc2(hidden))
        return input * gates


class StochasticDepth(torch.nn.Module):
    """Whole samples of a residual branch set to zero in training, on torch's ops alone.

    Source: Huang et al., "Deep Networks with Stochastic Depth" (2016), section 3.
    """

    p: float

    def forward(self, input: Tensor) -> Tensor:
        """``input`` with some samples zero and the rest scaled; in eval ``input`` itself."""
        if not self.training:
            return input
        ones = input.new_ones(input.shape[0], *[1] * (input.dim() - 1))
        return input * torch.nn.functional.dropout(ones, self.p)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


_Pieces = Mapping[str, torch.nn.Module]
_Pool = nn.GlobalAvgPool2d | nn.GlobalMaxPool2d


def _squeeze_excite(layer: nn.SqueezeExcite) -> _Pieces:
    activations = {"activation": layer.activation, "gate": layer.gate}
    made = {name: _ACTIVATIONS[kind]() for name, kind in activations.items()}
    return {"avgpool": torch.nn.AdaptiveAvgPool2d(1), **layer._modules, **made}  # type: ignore[dict-item]


def _pool(
    kind: type[torch.nn.Module],
) -> Callable[[nn.GlobalAvgPool2d | nn.GlobalMaxPool2d], _Pieces]:
    def pieces(layer: nn.GlobalAvgPool2d | nn.GlobalMaxPool2d) -> _Pieces:
        flatten = {} if layer.keepdims else {"1": torch.nn.Flatten(-3)}
        return {"0": kind(1), **flatten}

    return pieces


_ACTIVATIONS: Mapping[str, type[torch.nn.Module]] = {
    "linear": torch.nn.Identity,
    "relu": torch.nn.ReLU,
    "relu6": torch.nn.ReLU6,
    "leaky_relu": torch.nn.LeakyReLU,
    "elu": torch.nn.ELU,
    "silu": torch.nn.SiLU,
    "hardswish": torch.nn.Hardswish,
    "hardsigmoid": torch.nn.Hardsigmoid,
    "gelu": torch.nn.GELU,
    "sigmoid": torch.nn.Sigmoid,
    "tanh": torch.nn.Tanh,
}

COMPOSITES: Mapping[type[torch.nn.Module], tuple[type[torch.nn.Module], Callable[..., _Pieces]]] = {
    nn.SeparableConv2d: (torch.nn.Sequential, lambda layer: layer._modules),
    nn.GlobalAvgPool2d: (torch.nn.Sequential, _pool(torch.nn.AdaptiveAvgPool2d)),
    nn.GlobalMaxPool2d: (torch.nn.Sequential, _pool(torch.nn.AdaptiveMaxPool2d)),
    nn.SqueezeExcite: (SqueezeExcitation, _squeeze_excite),
    nn.DropPath: (StochasticDepth, lambda layer: {}),
}
"""What each becomes, and of which pieces."""


def why_not(layer: torch.nn.Module) -> str | None:
    """What the pieces cannot say; None where they can all."""
    if isinstance(layer, nn.DropPath) and layer.key is not None:
        return f"torch.nn has no seed={layer.key!r}"
    if isinstance(layer, nn.SqueezeExcite):
        for name in (layer.activation, layer.gate):
            if name not in _ACTIVATIONS:
                return f"torch.nn has no {name} that knows its axis"
    return None


def take_apart(layer: torch.nn.Module) -> None:
    """Make it what torch.nn has in its place."""
    kind, pieces = COMPOSITES[type(layer)]
    modules = OrderedDict(pieces(layer))
    kept = {name: value for name, value in vars(layer).items() if name in vars(torch.nn.Module())}
    if isinstance(layer, nn.DropPath):
        kept |= {"p": layer.p, "_buffers": {}}
    layer.__class__ = kind
    layer.__dict__ = {**kept, "_modules": modules}
