"""Is training healthy? Rules over what was seen: pure functions of numbers.

Every rule names its measured value and its threshold. The thresholds are starting points; each
was tried on a planted fault and on healthy controls.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Protocol

from lamina.report.confusion import wilson_interval
from lamina.report.records import Diagnosis, Health

__all__ = ["Epoch", "diagnose", "diagnose_epochs", "diagnose_layers", "diagnose_losses"]

VANISHING = 1e-7
"""Mean absolute gradient below which a layer does not learn in float32."""
EXPLODING = 1e3
"""Mean absolute gradient above which a step of any usual learning rate destroys the weights."""
LARGEST_UPDATE = 10.0
SMALLEST_UPDATE = 1e-8
"""Bounds of the norm of an update over the norm of its weights."""
RECKLESS_UPDATE = 0.1
"""Update over weight above which a loss that does not fall is laid to the learning rate."""
DEAD = 0.5
"""Share of channels that never fire."""
STATISTICS = 3.0
"""Distance of running and batch mean, in batch deviations."""
GAP = 0.15
"""Training accuracy above validation accuracy."""
LEARNT = 0.9
"""Accuracy that a network large enough reaches."""
PLATEAU = 0.05
"""Relative fall of the training loss over the last third of the epochs."""
CONVERGED = 0.01
"""Loss below which there is nothing left to learn: small gradients and updates are no fault."""
FAINT = 0.01
"""Gradient over the largest of all layers' above which a small one is small everywhere."""

Key = tuple[str, int]


class Epoch(Protocol):
    """Means over an epoch, such as ``report.training.EpochMetrics``; accuracies are shares of 1."""

    @property
    def train_loss(self) -> float:
        """Mean loss of the training images."""

    @property
    def validation_loss(self) -> float:
        """Mean loss of the validation images."""

    @property
    def train_accuracy(self) -> float:
        """Share of the training images that were classified right."""

    @property
    def validation_accuracy(self) -> float:
        """Share of the validation images that were classified right."""


def diagnose(
    health: Mapping[Key, Health],
    order: Sequence[Key],
    losses: Sequence[float] = (),
    epochs: Sequence[Epoch] = (),
    *,
    validation_images: int | None = None,
    batch_statistics: float | None = None,
) -> list[Diagnosis]:
    """All findings, the gravest first; of a cause and what follows from it the cause alone.

    Args:
        health: of each layer, by name and call index.
        order: the layers from input to output.
        losses: the training loss of each step.
        epochs: what each epoch reached.
        validation_images: how many there are: a gap that chance explains is none.
        batch_statistics: validation accuracy of the last weights where batch norm takes the
            batch's statistics and not the running ones.
    """
    of_losses = diagnose_losses(losses, health)
    of_layers = diagnose_layers(health, order, losses, blamed=bool(of_losses))
    if any(finding.rule == "exploding_gradient" for finding in of_layers):
        of_losses = []  # it was there before the first step: no learning rate is the cause
    found = [*of_losses, *of_layers]
    of_epochs = diagnose_epochs(
        epochs, validation_images=validation_images, batch_statistics=batch_statistics
    )
    lags = any(finding.rule == "statistics_lag" for finding in found)
    stuck = any(finding.rule != "statistics_lag" for finding in found)
    explained = {"over_fitting": lags, "statistics_lag": lags, "under_fitting": stuck}
    return [*found, *(finding for finding in of_epochs if not explained[finding.rule])]


def diagnose_losses(losses: Sequence[float], health: Mapping[Key, Health]) -> list[Diagnosis]:
    """A loss that is not finite, that large updates keep from falling, or that nothing moves."""
    updates = [h.update_ratio for h in health.values() if h.update_ratio is not None]
    finite = [ratio for ratio in updates if math.isfinite(ratio)]
    broken = next((step for step, loss in enumerate(losses) if not math.isfinite(loss)), None)
    if broken is not None:
        return [
            Diagnosis("loss_not_finite", "loss", float(broken), 0.0,
                      f"the loss is not finite from step {broken} on: lower the learning rate, or "
                      "clip the gradients")
        ]  # fmt: skip
    if not updates or _converged(losses):
        return []
    third = max(1, len(losses) // 3)
    end = fmean(losses[-third:]) if losses else 0.0
    # Weights that begin at nearly nothing move by many times their size, and that is right.
    fell = len(losses) > 1 and end < losses[0]
    if not finite:  # beyond float32, or of weights that were all nothing
        is_lost = len(losses) > 1 and end > _LOST * losses[0]
        return [_too_fast(math.inf, LARGEST_UPDATE)] if is_lost else []
    largest, typical = max(finite), median(finite)
    if largest > LARGEST_UPDATE and not fell:
        return [_too_fast(largest, LARGEST_UPDATE)]
    if typical > RECKLESS_UPDATE and not fell and len(losses) >= 6:
        return [_too_fast(typical, RECKLESS_UPDATE)]
    if largest < SMALLEST_UPDATE:
        return [
            Diagnosis("learning_rate_too_low", "optimiser", largest, SMALLEST_UPDATE,
                      f"no update is larger than {largest:.1e} of the weights that it changes: "
                      "less than float32 resolves; raise the learning rate (0.001 is usual)")
        ]  # fmt: skip
    return []


_LOST = 10.0  # times the first loss


def _converged(losses: Sequence[float]) -> bool:
    return bool(losses) and losses[-1] < CONVERGED


def _too_fast(ratio: float, threshold: float) -> Diagnosis:
    return Diagnosis(
        "learning_rate_too_high",
        "optimiser",
        ratio,
        threshold,
        f"an update is {ratio:.2g} times as large as the weights that it changes: lower the "
        "learning rate (0.001 is usual)",
    )


def diagnose_layers(
    health: Mapping[Key, Health],
    order: Sequence[Key],
    losses: Sequence[float] = (),
    *,
    blamed: bool = False,
) -> list[Diagnosis]:
    """Gradients that vanish or explode, channels that died, statistics that lag behind.

    Args:
        health: of each layer, by name and call index.
        order: the layers from input to output.
        losses: the training loss of each step.
        blamed: the loss has a finding already: gradients that broke later follow from it.
    """
    found = [*_exploding(health, order, blamed=blamed)]
    if not found and not _converged(losses):
        found = _vanishing(health, order)
    for key in order:
        seen, where = health.get(key, Health()), _label(key)
        if seen.dead is not None and seen.dead > DEAD:
            found.append(
                Diagnosis("dead_channels", where, seen.dead, DEAD,
                          f"{seen.dead:.0%} of its channels are zero for every image seen: the "
                          "bias before it is too low or an update was too large; a leaky "
                          "activation or a lower learning rate keeps them alive")
            )  # fmt: skip
        if seen.statistics_gap is not None and seen.statistics_gap > STATISTICS:
            found.append(
                Diagnosis("statistics_lag", where, seen.statistics_gap, STATISTICS,
                          f"its running mean is {seen.statistics_gap:.2g} deviations away from the "
                          "batch's: evaluation will differ from training; raise the momentum or "
                          "train longer")
            )  # fmt: skip
    return found


def _exploding(
    health: Mapping[Key, Health], order: Sequence[Key], *, blamed: bool
) -> list[Diagnosis]:
    # Gradients come from the output: the layer nearest to it, the last, is where each fault starts.
    learning = _learning(health, order)
    measured = {
        key: seen.gradient_start if blamed and seen.gradient_start is not None
        else seen.gradient_mean or 0.0
        for key, seen in learning
    }  # fmt: skip
    broken = [key for key, mean in measured.items() if not math.isfinite(mean)]
    if broken:
        return [
            Diagnosis("exploding_gradient", _label(broken[-1]), math.inf, EXPLODING,
                      f"from here towards the input the gradient of {len(broken)} of "
                      f"{len(learning)} layers with weights is not finite: lower the learning "
                      "rate, clip the gradients, or normalise")
        ]  # fmt: skip
    exploded = [key for key, mean in measured.items() if mean > EXPLODING]
    if not exploded:
        return []
    key = exploded[-1]
    return [
        Diagnosis("exploding_gradient", _label(key), measured[key], EXPLODING,
                  f"its mean |gradient| is {measured[key]:.1e}, and {len(exploded)} of "
                  f"{len(learning)} layers with weights, towards the input, are no better: "
                  "normalise, start from smaller weights, or clip the gradients")
    ]  # fmt: skip


def _vanishing(health: Mapping[Key, Health], order: Sequence[Key]) -> list[Diagnosis]:
    # Nothing passes an activation whose every channel is dead: that is the cause before it.
    dead = [place for place, key in enumerate(order) if health.get(key, Health()).dead == 1.0]
    learning = _learning(health, order[dead[-1] + 1 :] if dead else order)
    largest = max((seen.gradient_mean or 0.0 for _, seen in learning), default=0.0)
    limit = min(VANISHING, FAINT * largest) if largest else VANISHING
    vanished = [(key, seen) for key, seen in learning if (seen.gradient_mean or 0.0) < limit]
    if not vanished:
        return []
    key, seen = vanished[-1]
    return [
        Diagnosis("vanishing_gradient", _label(key), seen.gradient_mean or 0.0, limit,
                  f"its mean |gradient| is {seen.gradient_mean:.1e}, and {len(vanished)} of "
                  f"{len(learning)} layers with weights, towards the input, learn nothing: batch "
                  "normalisation or residual connections carry the gradient through")
    ]  # fmt: skip


def _learning(health: Mapping[Key, Health], order: Sequence[Key]) -> list[tuple[Key, Health]]:
    return [(key, health[key]) for key in order if key in health
            and health[key].gradient_mean is not None]  # fmt: skip


def _label(key: Key) -> str:
    return f"{key[0]}#{key[1]}" if key[1] else key[0]


def diagnose_epochs(
    epochs: Sequence[Epoch],
    *,
    validation_images: int | None = None,
    batch_statistics: float | None = None,
) -> list[Diagnosis]:
    """Over-fitting and under-fitting, by the gap between training and validation.

    Args:
        epochs: what each epoch reached.
        validation_images: see `diagnose`.
        batch_statistics: see `diagnose`.
    """
    if len(epochs) < 3:
        return []
    last = epochs[-1]
    seen = last.validation_accuracy
    gap = last.train_accuracy - seen
    if gap > GAP:
        if batch_statistics is not None and batch_statistics - seen > gap / 2:
            return [
                Diagnosis("statistics_lag", "model", batch_statistics - seen, gap / 2,
                          f"with the batch's statistics the same weights are right on "
                          f"{batch_statistics:.0%} of the validation images, with the running "
                          f"ones on {seen:.0%}: batch normalisation has not seen enough steps; "
                          "train longer, take smaller batches or raise the momentum")
            ]  # fmt: skip
        if validation_images is not None:
            _, likely = wilson_interval(round(seen * validation_images), validation_images)
            if last.train_accuracy <= likely:
                return []
        best = min(epoch.validation_loss for epoch in epochs)
        rose = last.validation_loss / best - 1 if best > 0 else 0.0
        rises = f"; the validation loss is {rose:.0%} above its best" if rose > 0.05 else ""
        return [
            Diagnosis("over_fitting", "model", gap, GAP,
                      f"training accuracy is {gap:.0%} above validation accuracy{rises}: more "
                      "images, augmentation, weight decay, dropout, or fewer parameters")
        ]  # fmt: skip
    third = max(1, len(epochs) // 3)
    earlier = fmean(e.train_loss for e in epochs[-2 * third : -third])
    fall = 1 - fmean(e.train_loss for e in epochs[-third:]) / earlier if earlier > 0 else 0.0
    # Dropout and augmentation make the training images harder than the others.
    reached = max(last.train_accuracy, seen)
    if reached < LEARNT and fall < PLATEAU:
        return [
            Diagnosis("under_fitting", "model", reached, LEARNT,
                      f"accuracy stays at {reached:.0%}, on the images that it learns from as on "
                      "others: the network is too small for this task, or held back by its "
                      "regularisation or learning rate")
        ]  # fmt: skip
    return []
