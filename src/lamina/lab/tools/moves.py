"""Images moved by a few pixels, and how steady a network's answer stays."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad

from lamina.lab.tools.training import logits

_DIRECTIONS = ((1, 0), (-1, 0), (0, 1), (0, -1))


def resized(x: Tensor, side: int) -> Tensor:
    """Scale images, smoothly, so that their longer edge has ``side`` pixels.

    Args:
        x: (N, C, H, W).
        side: pixels.

    Returns:
        (N, C, H', W'), channels-last.

    Example:
        >>> resized(torch.zeros(2, 3, 12, 10), 16).shape
        torch.Size([2, 3, 16, 13])
    """
    longer = max(x.shape[2:])
    size = [max(1, round(edge * side / longer)) for edge in x.shape[2:]]
    scaled = interpolate(x.contiguous(), size, mode="bilinear", antialias=True)
    return scaled.contiguous(memory_format=torch.channels_last)


def centred(x: Tensor, side: int, down: int = 0, right: int = 0) -> Tensor:
    """Put images in the middle of an empty square, or some pixels from it.

    Args:
        x: (N, C, H, W).
        side: height and width of the square in pixels.
        down: pixels below the middle; negative above it.
        right: pixels to the right of the middle.

    Returns:
        (N, C, side, side), channels-last; the ground has the images' least value.

    Example:
        >>> centred(torch.tensor([[[[0.0, 1.0]]]]), 4, right=1)[0, 0, 1]
        tensor([0., 0., 0., 1.])
    """
    top, left = (side - x.shape[2]) // 2 + down, (side - x.shape[3]) // 2 + right
    sides = (left, side - x.shape[3] - left, top, side - x.shape[2] - top)
    placed = pad(x, sides, value=float(x.min()))
    return placed.contiguous(memory_format=torch.channels_last)


def changed(model: nn.Module, x: Tensor, side: int, moves: Sequence[int]) -> list[float]:
    """Share of a network's answers that change when its images move; the mean of four directions.

    Args:
        model: (N, C, side, side) to (N, classes).
        x: (N, C, H, W), shown in the middle of a square first, then moved from it.
        side: of the square, in pixels.
        moves: distances in pixels.

    Returns:
        A share in [0, 1] for each distance.
    """
    before = logits(model, centred(x, side)).argmax(1)

    def share(move: int) -> float:
        if move == 0:
            return 0.0
        after = [
            logits(model, centred(x, side, move * down, move * right)).argmax(1)
            for down, right in _DIRECTIONS
        ]
        return (torch.stack(after) != before).double().mean().item()

    return [share(move) for move in moves]
