"""Other layers in the place of one: the nearest separable convolution, our layer for torch.nn's."""

from __future__ import annotations

from inspect import signature

import torch
from torch import Tensor, nn

from lamina import nn as ours

__all__ = ["exchanged", "kept_energy", "separated"]


def kept_energy(weight: Tensor) -> float:
    """Share of a kernel's squared weights that a depthwise separable one can keep.

    For each input channel the best depthwise kernel is the first singular vector of its
    (output channels, taps) matrix; the share is that of the first singular values.

    Args:
        weight: (out_channels, in_channels, height, width).

    Example:
        >>> rank_one = torch.ones(4, 2, 3, 3)
        >>> round(kept_energy(rank_one), 4)
        1.0
    """
    matrices = weight.flatten(2).transpose(0, 1).double()
    squares = torch.linalg.svdvals(matrices) ** 2
    return float(squares[:, 0].sum() / squares.sum()) if squares.sum() > 0 else 1.0


def separated(conv: nn.Conv2d) -> tuple[nn.Conv2d, nn.Conv2d]:
    """The depthwise and the pointwise convolution nearest to a convolution without groups."""
    depthwise = nn.Conv2d(
        conv.in_channels, conv.in_channels, conv.kernel_size, conv.stride,  # type: ignore[arg-type]
        conv.padding, conv.dilation, conv.in_channels, bias=False,  # type: ignore[arg-type]
    )  # fmt: skip
    pointwise = nn.Conv2d(conv.in_channels, conv.out_channels, 1, bias=conv.bias is not None)
    matrices = conv.weight.detach().flatten(2).transpose(0, 1)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    with torch.no_grad():
        depthwise.weight.copy_(right[:, 0].view_as(depthwise.weight))
        pointwise.weight.copy_((left[:, :, 0] * values[:, :1]).t()[..., None, None])
        if conv.bias is not None and pointwise.bias is not None:
            pointwise.bias.copy_(conv.bias)
    return depthwise, pointwise


def exchanged(module: nn.Module) -> nn.Module | None:
    """Our layer with the state of one of torch.nn's; ``None`` where we have no counterpart."""
    if not type(module).__module__.startswith("torch.nn."):
        return None
    kind = getattr(ours, type(module).__name__, None)
    weighty = nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d | nn.AvgPool2d | nn.Dropout | nn.Linear
    if kind is None or not isinstance(module, weighty):
        return None
    # Our constructors take torch.nn's arguments, and torch.nn keeps them as attributes.
    arguments = {
        name: getattr(module, name)
        for name in signature(kind).parameters
        if hasattr(module, name) and name != "bias"
    }
    if hasattr(module, "bias") and "bias" in signature(kind).parameters:
        arguments["bias"] = module.bias is not None
    other: nn.Module = kind(**arguments).train(module.training)
    other.load_state_dict(module.state_dict())
    return other
