"""The plain loop that experiments train small networks with: one place, one set of habits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from lamina.lab.tools.data import Part

Optimizer = Callable[[Iterable[nn.Parameter]], torch.optim.Optimizer]


@dataclass
class History:
    """What was seen, an entry per epoch.

    Args:
        loss: mean training loss.
        train: accuracy on the training images, in evaluation mode, where it was watched.
        validation: accuracy on the images that were watched.
        steps: loss of every step.
    """

    loss: list[float] = field(default_factory=list)
    train: list[float] = field(default_factory=list)
    validation: list[float] = field(default_factory=list)
    steps: list[float] = field(default_factory=list)


def fit(
    model: nn.Module,
    part: Part,
    *,
    epochs: int,
    seed: int,
    batch: int = 64,
    optimizer: Optimizer | None = None,
    watched: Part | None = None,
    most_watched: int = 500,
    on_step: Callable[[int], None] | None = None,
) -> History:
    """Train a network on cross-entropy; the order of the images is drawn from ``seed``.

    Args:
        model: (N, C, H, W) to (N, classes); it ends in evaluation mode.
        part: images to learn from.
        epochs: passes over them.
        seed: of the order, and of dropout's masks.
        batch: images of a step.
        optimizer: makes the optimiser; AdamW at 3e-3 by default.
        watched: images whose accuracy is taken after each epoch, beside the training images'.
        most_watched: how many of the training images are watched at most.
        on_step: called before each optimiser step, gradients in place, with the step's number.

    Returns:
        The history; a loss that is not finite ends the training there.
    """
    torch.manual_seed(seed)
    order = torch.Generator().manual_seed(seed)
    make = optimizer or (lambda parameters: torch.optim.AdamW(parameters, lr=3e-3))
    steps = make(model.parameters())
    history = History()
    for _ in range(epochs):
        model.train()
        total = 0.0
        for index in torch.randperm(len(part), generator=order).split(batch):  # type: ignore[no-untyped-call]
            loss = cross_entropy(model(part.x[index]), part.y[index])
            history.steps.append(loss.item())
            if not math.isfinite(history.steps[-1]):
                model.eval()
                return history
            steps.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            if on_step is not None:
                on_step(len(history.steps) - 1)
            steps.step()
            total += history.steps[-1] * len(index)
        history.loss.append(total / len(part))
        model.eval()
        if watched is not None:
            history.train.append(accuracy(model, part.first(most_watched)))
            history.validation.append(accuracy(model, watched))
    return history


def logits(model: nn.Module, x: Tensor, batch: int = 256) -> Tensor:
    """Outputs (N, classes) in the model's present mode, without gradients."""
    with torch.no_grad():
        return torch.cat([model(part) for part in torch.split(x, batch)])


def accuracy(model: nn.Module, part: Part) -> float:
    """Share of the images that the model tells rightly, in its present mode."""
    return (logits(model, part.x).argmax(1) == part.y).double().mean().item()
