"""Train a copy of a model for a few steps and look at its health."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lamina.dialects import is_keras
from lamina.inspector.health.observer import Key, Observer
from lamina.inspector.trace.untouched import untouched
from lamina.report.records import Health

__all__ = ["Examination", "examine"]

Batch = tuple[Any, Tensor]


@dataclass
class Examination:
    """What a few steps of training showed.

    Args:
        health: of each layer, by name and call index.
        order: the layers from input to output.
        losses: the loss of each step.
    """

    health: dict[Key, Health] = field(default_factory=dict)
    order: list[Key] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


def examine(
    model: nn.Module,
    batches: Iterable[Batch],
    *,
    loss: Callable[[Tensor, Tensor], Tensor] = F.cross_entropy,
    optimizer: Callable[[Iterable[Tensor]], torch.optim.Optimizer] = torch.optim.AdamW,
    every: int = 1,
) -> Examination:
    """Train a copy of a model on batches and watch it; the model itself is not touched.

    Args:
        model: the module; it is copied, which takes its memory once more.
        batches: (input, target) pairs; a tuple or list as input is several arguments.
        loss: of the output and the target.
        optimizer: makes the optimiser from the parameters.
        every: watch one step in so many.
    """
    subject = copy.deepcopy(model).train()
    optimiser = optimizer(subject.parameters())
    observer, result = Observer(subject), Examination()
    mode = {"training": True} if is_keras(model) else {}  # Keras asks its call, not the flag
    with untouched(model, data=False), torch.enable_grad():
        for step, (data, target) in enumerate(batches):
            watched = step % every == 0
            optimiser.zero_grad()
            try:
                if watched:
                    observer.begin()
                arguments: Sequence[Any] = data if isinstance(data, tuple | list) else (data,)
                value = loss(subject(*arguments, **mode), target)
            finally:
                observer.abandon()
            value.backward()  # type: ignore[no-untyped-call]
            if watched:
                observer.gradients()
            optimiser.step()
            if watched:
                observer.finish()
            result.losses.append(float(value.detach()))
    result.health, result.order = observer.health(), observer.order()
    return result
