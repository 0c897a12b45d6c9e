"""Watch the health of a training run: a Lightning callback for anyone's Trainer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch

from lamina.inspector.health.observer import Observer
from lamina.inspector.health.rules import Epoch, diagnose
from lamina.inspector.limits import add_health
from lamina.report.account import Account
from lamina.report.records import Diagnosis
from lamina.train.data import ImageData

__all__ = ["HealthMonitor", "sample_batches"]


def sample_batches(
    data: ImageData, steps: int = 20, size: int = 32, *, channels_last: bool = False
) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Batches of training images as a network sees them, the same at every call.

    Args:
        data: images and labels.
        steps: batches at most.
        size: images in each.
        channels_last: images as (N, H, W, C), as Keras has them, rather than (N, C, H, W).
    """
    order = np.random.default_rng(0).permutation(data.train)[: steps * size]
    batches = []
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        images = data.facts.normalise(data.images[chosen])
        labels = torch.from_numpy(data.labels[chosen]).long()
        batches.append((images.permute(0, 2, 3, 1) if channels_last else images, labels))
    return batches


class HealthMonitor(pl.Callback):
    """Look at activations, gradients and updates in one training step of ``every``, and the last.

    The steps between run without a hook, so that at the default the whole costs far less than a
    twentieth of the training time.

    Args:
        model: the module to watch; names in findings are relative to it. By default the
            LightningModule itself.
        every: steps from one watched step to the next, 1 or more; the first is always watched.

    Raises:
        ValueError: ``every`` below 1.

    Example:
        >>> monitor = HealthMonitor(every=20)
        >>> trainer = pl.Trainer(callbacks=[monitor], logger=False, enable_checkpointing=False)
        >>> monitor.diagnoses()
        []
    """

    def __init__(self, model: torch.nn.Module | None = None, every: int = 50) -> None:
        if every < 1:
            raise ValueError(f"every must be 1 or more, got {every}")
        self.every = every
        self.losses: list[float] = []
        self._model = model
        self._observer: Observer | None = None if model is None else Observer(model)
        self._restored: dict[str, Any] | None = None
        self._steps = 0
        self._total: float = 0
        self._watching = False

    def on_train_batch_start(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, batch: object, batch_idx: int
    ) -> None:
        """Begin to watch, if it is this step's turn."""
        last = self._steps + 1 == self._total
        self._watching = self._steps % self.every == 0 or last
        self._steps += 1
        if self._watching and self._observer is not None:
            self._observer.begin()

    def on_before_backward(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, loss: torch.Tensor
    ) -> None:
        """The forward pass is over; note the loss of a watched step."""
        if self._watching and self._observer is not None:
            self._observer.forward_done()
            self.losses.append(float(loss.detach()))

    def on_before_optimizer_step(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, optimizer: torch.optim.Optimizer
    ) -> None:
        """The gradients are there, the weights not yet changed."""
        if self._watching and self._observer is not None:
            self._observer.gradients()

    def on_train_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: object,
        batch: object,
        batch_idx: int,
    ) -> None:
        """Compare the weights with those before."""
        if self._watching and self._observer is not None:
            self._observer.forward_done()
            self._observer.finish()
        self._watching = False

    def state_dict(self) -> dict[str, Any]:
        """Return what was seen, for the checkpoint."""
        seen = None if self._observer is None else self._observer.state()
        return {"steps": self._steps, "losses": list(self.losses), "seen": seen}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up what the checkpoint's run had seen."""
        self._steps, self.losses = state_dict["steps"], list(state_dict["losses"])
        self._restored = state_dict["seen"]

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Make the observer of the module that is trained."""
        if self._observer is None:
            self._observer = Observer(self._model or pl_module)
        if self._restored is not None:
            self._observer.restore(self._restored)
            self._restored = None
        self._total = trainer.estimated_stepping_batches

    def on_exception(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException
    ) -> None:
        """Leave no hook behind."""
        if self._observer is not None:
            self._observer.abandon()

    def diagnoses(
        self,
        epochs: Sequence[Epoch] = (),
        *,
        validation_images: int | None = None,
        batch_statistics: float | None = None,
    ) -> list[Diagnosis]:
        """The findings so far.

        Args:
            epochs: what each epoch reached, for over- and under-fitting.
            validation_images: how many there are.
            batch_statistics: validation accuracy where batch norm takes the batch's statistics.
        """
        if self._observer is None:
            return []
        return diagnose(
            self._observer.health(),
            self._observer.order(),
            self.losses,
            epochs,
            validation_images=validation_images,
            batch_statistics=batch_statistics,
        )

    def add_to(
        self,
        account: Account,
        epochs: Sequence[Epoch] = (),
        *,
        validation_images: int | None = None,
        batch_statistics: float | None = None,
    ) -> None:
        """Put what was seen, and the `diagnoses`, into the account of the watched model."""
        if self._observer is not None:
            add_health(account.rows, self._observer.health())
        account.diagnoses = self.diagnoses(
            epochs, validation_images=validation_images, batch_statistics=batch_statistics
        )
