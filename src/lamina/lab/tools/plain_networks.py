"""Plain networks, one block behind the other, and what they make of signals and of gradients.

A block is a 3×3 convolution, batch normalisation or none, and ReLU; behind the last comes a dense
layer over all that it gives.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from lamina.lab.tools.data import Images, Part
from lamina.nn import AdaptiveAvgPool2d, BatchNorm2d, Conv2d, Flatten, Linear, ReLU

WIDTH = 16
"""Channels of a block."""
LAWS = {"PyTorch's law": 1 / 3, "He's law": 2.0, "twice He's": 4.0}
"""Inputs of a unit times the variance of a weight, for each initial law. PyTorch's is uniform in
±1/√inputs; twice He's has twice the variance of He's."""
GROWTH = math.sqrt(math.pi / (math.pi - 1))
"""Growth of gradients per block with batch normalisation, in a wide network at its start.

ReLU passes on half of their square. The normalisation divides by the variance that ReLU leaves of
1, which is less than half of it: 1/2 - 1/2π, for the mean is taken off.
"""


def network(
    images: Images, depth: int, law: str, normalised: bool, seed: int, width: int = WIDTH
) -> torch.nn.Module:
    """Build a network for images; equal seeds draw equal weights but for the law's scale.

    Args:
        images: whose channels and classes it takes.
        depth: blocks, at least 1.
        law: one of `LAWS`.
        normalised: batch normalisation in each block.
        seed: of the weights.
        width: channels of a block.
    """
    torch.manual_seed(seed)
    blocks = []
    for channels in [images.channels, *[width] * (depth - 1)]:
        # A bias before a normalisation would be subtracted again with the mean.
        convolution = Conv2d(channels, width, 3, padding=1, bias=False)
        with torch.no_grad():
            convolution.weight.mul_(math.sqrt(LAWS[law] / LAWS["PyTorch's law"]))
        norm = [BatchNorm2d(width)] if normalised else []
        blocks.append(torch.nn.Sequential(convolution, *norm, ReLU()))

    head = Linear(4 * width, len(images.classes))
    return torch.nn.Sequential(*blocks, AdaptiveAvgPool2d(2), Flatten(), head)


def flow(model: torch.nn.Module, part: Part) -> tuple[list[float], list[float]]:
    """Root mean square of each block's output, and of the loss's gradient there, in training."""
    x, outputs = part.x, []
    for layer in model.train().children():
        x = layer(x)
        outputs.append(x)
    outputs = outputs[:-3]
    return _sizes(outputs), _sizes(torch.autograd.grad(cross_entropy(x, part.y), outputs))


def _sizes(tensors: Sequence[Tensor]) -> list[float]:
    return [x.detach().double().square().mean().sqrt().item() for x in tensors]


def expected(law: str, normalised: bool, size: tuple[int, int], blocks: int) -> float:
    """What so many blocks make of a gradient on its way back; without batch norm, of a signal too.

    In a wide network at its start a block multiplies the mean square by half of the law's number,
    for ReLU passes on half; of that, zero padding takes a share at the borders of the image.

    Args:
        law: one of `LAWS`.
        normalised: with batch normalisation, where neither law nor borders matter.
        size: height and width in pixels.
        blocks: how many, at least 0.

    Source: He et al., "Delving Deep into Rectifiers" (2015), section 2.2; with normalisation Yang
    et al., "A Mean Field Theory of Batch Normalization" (2019).

    Example:
        >>> expected("He's law", False, (1, 1), 1) == 1 / 3  # one of nine weights meets a pixel
        True
        >>> round(expected("He's law", True, (8, 8), 12), 1)
        10.0
    """
    if normalised:
        return GROWTH**blocks
    square = (LAWS[law] / 2) ** blocks
    for side in size:
        profile = np.ones(side)
        for _ in range(blocks):
            padded = np.pad(profile, 1)
            profile = (padded[:-2] + padded[1:-1] + padded[2:]) / 3
        square *= float(profile.mean())
    return math.sqrt(square)
