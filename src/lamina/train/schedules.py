"""How weights are moved: the optimiser, and the learning rate from step to step.

Source: Loshchilov and Hutter, "Decoupled weight decay" (2019), AdamW; Sutskever et al. (2013),
Nesterov's momentum; Tan and Le (2019), section 5, RMSprop; Smith and Topin, "Super-convergence"
(2018), one cycle; Loshchilov and Hutter, "SGDR" (2017), equation 5, cosine.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from functools import partial
from typing import Any

from torch.optim import SGD, AdamW, Optimizer, RMSprop
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, OneCycleLR

from lamina.settings import Schedule, TrainConfig

_FALLS = 3  # of a schedule by steps, evenly
_FACTOR = 0.1  # of each


def make_optimizer(groups: Iterable[dict[str, Any]], config: TrainConfig) -> Optimizer:
    """Return the optimiser of a run.

    Args:
        groups: parameters, each with its learning rate and weight decay.
        config: says which.
    """
    chosen = list(groups)
    if config.optimizer == "sgd":
        return SGD(chosen, momentum=0.9, nesterov=True)
    if config.optimizer == "rmsprop":
        return RMSprop(chosen, momentum=0.9, alpha=0.9, eps=1e-3)
    return AdamW(chosen)


def make_schedule(
    optimizer: Optimizer, config: TrainConfig, steps: int, steps_per_epoch: int
) -> LRScheduler:
    """Return the learning rate from step to step.

    Args:
        optimizer: whose groups have their highest learning rates.
        config: says which.
        steps: from its beginning to its end.
        steps_per_epoch: to count ``warmup`` by.
    """
    rates = [group["lr"] for group in optimizer.param_groups]
    if config.schedule == "one-cycle":
        has_momentum = config.optimizer != "rmsprop"
        return OneCycleLR(optimizer, rates, total_steps=steps, cycle_momentum=has_momentum)
    warm = round(config.warmup * steps_per_epoch)
    return LambdaLR(optimizer, partial(share, config.schedule, steps=steps, warm=warm))


def share(schedule: Schedule, step: int, *, steps: int, warm: int = 0) -> float:
    """The share of the highest learning rate at a step.

    Example:
        >>> [round(share("cosine", step, steps=4), 3) for step in range(5)]
        [1.0, 0.854, 0.5, 0.146, 0.0]
        >>> [share("constant", step, steps=9, warm=2) for step in range(4)]
        [0.3333333333333333, 0.6666666666666666, 1.0, 1.0]
    """
    if step < warm:
        return (step + 1) / (warm + 1)
    done = min(1.0, (step - warm) / max(1, steps - warm))
    if schedule == "cosine":
        return (1 + math.cos(math.pi * done)) / 2
    if schedule == "step":
        return _FACTOR ** min(_FALLS - 1, int(done * _FALLS))
    return 1.0
