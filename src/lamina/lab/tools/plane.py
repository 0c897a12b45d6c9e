"""Two classes of points in the plane, the best rule that there is, and a model's regions."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from lamina.lab.tools.data import Part
from lamina.lab.tools.training import logits
from lamina.report.finding.chart import Mark, Panel, Points
from lamina.report.finding.pictures import signed

NOISE = 0.4
"""Deviation of points from an arc of radius 1, in both directions."""
FRAME = (-2.0, 3.0), (-1.6, 2.1)
"""What is shown of the plane: x, then y."""

_ANGLES = torch.linspace(0, math.pi, 60)
_ARCS = torch.stack(
    [
        torch.stack([_ANGLES.cos(), _ANGLES.sin()], -1),
        torch.stack([1 - _ANGLES.cos(), 0.5 - _ANGLES.sin()], -1),
    ]
)


def arcs(count: int, *seed: int) -> Part:
    """Draw points around two arcs that reach into each other, the classes in turn.

    Returns:
        x (count, 2) and y (count,).
    """
    draw = np.random.default_rng(seed)
    y = np.arange(count) % 2
    places = _ARCS.numpy()[y, draw.integers(0, len(_ANGLES), count)]
    x = places + NOISE * draw.standard_normal((count, 2))
    return Part(torch.from_numpy(x.astype(np.float32)), torch.from_numpy(y))


def best_answers(x: Tensor) -> Tensor:
    """The likelier class of each point under the law of `arcs`: no rule is right more often.

    Source: Bishop, "Pattern Recognition and Machine Learning" (2006), section 1.5.1.
    """
    squares = (x[:, None, None] - _ARCS).square().sum(-1)
    return torch.logsumexp(-squares / (2 * NOISE**2), -1).argmax(1)


def regions(title: str, model: nn.Module, part: Part) -> Panel:
    """Show the probability of each class over the plane, and the points that were learned from.

    Args:
        title: of the panel.
        model: (N, 2) to (N, 2), in evaluation mode.
        part: two classes of points.
    """
    (left, right), (bottom, top) = FRAME
    across, down = torch.linspace(left, right, 150), torch.linspace(top, bottom, 110)
    grid = torch.stack(torch.meshgrid(across, down, indexing="xy"), -1)
    first, second = logits(model, grid.reshape(-1, 2), 4096).unbind(1)
    # The scale beyond 1 leaves colours pale enough for points of the same colours.
    background = signed(torch.tanh((second - first) / 2).reshape(grid.shape[:2]), 2.5)
    marks: list[Mark] = []
    for label, name in enumerate(("class A", "class B")):
        shown = part.x[part.y == label].clamp(
            torch.tensor([left, bottom]), torch.tensor([right, top])
        )
        marks.append(Points(name, shown[:, 0].tolist(), shown[:, 1].tolist()))
    return Panel(title, marks, x_range=FRAME[0], y_range=FRAME[1], background=background)
