"""Training in few steps: the learning rate falls to zero in a straight line."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import nn

from lamina.lab.tools.data import Part
from lamina.lab.tools.training import History, fit


def fit_annealed(
    model: nn.Module, part: Part, *, epochs: int, seed: int, batch: int = 50, rate: float = 0.02
) -> History:
    """Train as `fit` does, with AdamW from a high rate down to none.

    Args:
        model: (N, C, H, W) to (N, classes), with batch normalisation, which bears the rate.
        part: images to learn from.
        epochs: passes over them.
        seed: as for `fit`.
        batch: images of a step.
        rate: of the first step.
    """
    made: list[torch.optim.Optimizer] = []
    steps = epochs * math.ceil(len(part) / batch)

    def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        made.append(torch.optim.AdamW(parameters, lr=rate))
        return made[0]

    def anneal(step: int) -> None:
        for group in made[0].param_groups:
            group["lr"] = rate * (1 - step / steps)

    return fit(
        model, part, epochs=epochs, seed=seed, batch=batch, optimizer=optimizer, on_step=anneal
    )
