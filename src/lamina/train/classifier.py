"""The Lightning module: a network, its loss, its optimiser, and what is counted meanwhile."""

import math
from collections.abc import Iterator, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.nn import functional

from lamina.errors import InputError, RunError
from lamina.settings import TrainConfig
from lamina.train.batches import Batch
from lamina.train.fine_tuning import settle_norms, thaw
from lamina.train.schedules import make_optimizer, make_schedule
from lamina.train.state import random_state, set_random_state, under_names_of, unsaved_buffers


class NonFiniteLossError(RunError):
    """The loss became infinite or NaN; no step was taken with it."""


class Tally:
    """Sums over the batches of an epoch, in float64 and without waiting for a device."""

    def __init__(self, device: torch.device) -> None:
        self.sums = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch with its mean loss; of blended images the larger share is the label."""
        classes = labels if labels.dim() == 1 else labels.argmax(dim=1)
        right = (logits.argmax(dim=1) == classes).sum()
        count = torch.as_tensor(len(labels), device=loss.device)
        self.sums += torch.stack((loss.detach().double() * count, right.double(), count.double()))

    def means(self) -> tuple[float, float]:
        """Return mean loss and accuracy over the images of all ranks; NaN where there are none."""
        sums = self.sums
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            sums = sums.clone()
            torch.distributed.all_reduce(sums)
        loss, right, count = sums.tolist()
        return (loss / count, right / count) if count else (math.nan, math.nan)


class Classifier(pl.LightningModule):
    """Train a network to tell classes apart by cross-entropy.

    Args:
        model: the network, (N, C, H, W) to (N, classes).
        config: optimiser, schedule and label smoothing; the validation loss is without smoothing.
        steps: optimiser steps of the schedule.
        steps_per_epoch: of them.
        begin: epoch at which the schedule begins, above 0 where a run was extended.
        head: name of the layer that answers, whose learning rate is ``head_lr``.
        frozen: names of parameters that do not train, or not from the beginning.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        config: TrainConfig,
        steps: int,
        steps_per_epoch: int = 1,
        begin: int = 0,
        head: str = "",
        frozen: Sequence[str] = (),
    ) -> None:
        super().__init__()
        self.head, self.frozen = head, list(frozen)
        self.model, self.config, self.steps = model, config, steps
        self.steps_per_epoch, self.begin = steps_per_epoch, begin
        self.train_tally = Tally(torch.device("cpu"))
        self.validation_tally = Tally(torch.device("cpu"))
        self._resumed_random_state: list[dict[str, Any]] | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Return the logits (N, classes)."""
        return self.model(x)  # type: ignore[no-any-return]

    def on_train_epoch_start(self) -> None:
        """Start counting anew; after a resume, take the generators up where they were left."""
        self.train_tally = Tally(self.device)
        if self.config.unfreeze_every is not None:
            thaw(self.model, self.frozen, self.current_epoch // self.config.unfreeze_every)
        settle_norms(self.model, self.frozen)
        if self._resumed_random_state is not None:
            states = self._resumed_random_state
            set_random_state(states[self.global_rank])
            self._resumed_random_state = None

    def training_step(self, batch: Batch, _: int) -> Tensor:
        """Return the loss of one batch.

        Raises:
            NonFiniteLossError: on every rank, where any rank's loss is not finite.
            RunError: the network refuses the batch, as batch normalisation does one of one value.
        """
        images, labels = batch
        try:
            logits = self(images)
        except Exception as error:
            reason = str(error).strip().splitlines() or [type(error).__name__]
            raise RunError(
                f"model: fails in training for a batch of shape {tuple(images.shape)}: {reason[0]}"
            ) from error
        loss = functional.cross_entropy(logits, labels, label_smoothing=self.config.label_smoothing)
        self._agree_on_finite(loss)
        self.train_tally.add(loss, logits, labels)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Start counting anew."""
        self.validation_tally = Tally(self.device)

    def validation_step(self, batch: Batch, _: int) -> None:
        """Count one batch."""
        images, labels = batch
        logits = self(images)
        self.validation_tally.add(functional.cross_entropy(logits, labels), logits, labels)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's union of twelve types
        """Return the optimiser, without decay on what has one dimension, and its schedule."""
        optimizer = make_optimizer(self._groups(), self.config)
        schedule = make_schedule(optimizer, self.config, self.steps, self.steps_per_epoch)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]

    def _groups(self) -> Iterator[dict[str, Any]]:
        """Parameters that train, now or after a thaw, by learning rate and decay."""
        later = self.frozen if self.config.unfreeze_every is not None else ()
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad or n in later]
        config = self.config
        for is_head, lr in ((False, config.lr), (True, config.head_lr or config.lr)):
            parameters = [p for n, p in named if (n.rpartition(".")[0] == self.head) == is_head]
            # Biases and batch-norm scales do not over-fit by growing; decay only misplaces them.
            for decays, decay in ((True, config.weight_decay), (False, 0.0)):
                group = [p for p in parameters if (p.dim() > 1) == decays]
                if group:
                    yield {"params": group, "lr": lr, "weight_decay": decay}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what steers training beside the weights, of every rank; called on all of them."""
        checkpoint["random_state"] = self._of_every_rank(random_state())
        # PyTorch saves some buffers with no model; such as count calls, say, steer the next one.
        checkpoint["buffers"] = self._of_every_rank(
            {name: buffer.detach().cpu() for name, buffer in unsaved_buffers(self.model)}
        )

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the generators until the first epoch starts: setting up draws numbers too.

        Raises:
            InputError: another number of processes wrote the checkpoint, or another model.
        """
        states, world = checkpoint["random_state"], self.trainer.world_size
        if len(states) != world:
            raise InputError(
                f"resume: expected {len(states)} processes, as the run was begun with, got {world}"
            )
        self._resumed_random_state = states
        if self.begin and checkpoint["epoch"] + 1 == self.begin:
            checkpoint["lr_schedulers"] = []  # the schedule that begins now is another one
        checkpoint["state_dict"] = under_names_of(checkpoint["state_dict"], self.state_dict())
        saved = checkpoint["buffers"][self.global_rank]
        for name, buffer in unsaved_buffers(self.model):
            if name not in saved or saved[name].shape != buffer.shape:
                raise InputError(f"resume: the run was begun with another model: {name!r} differs")
            buffer.copy_(saved[name])

    def _of_every_rank(self, state: dict[str, Any]) -> list[dict[str, Any]]:
        if self.trainer.world_size == 1:
            return [state]
        states: list[dict[str, Any]] = [{}] * self.trainer.world_size
        torch.distributed.all_gather_object(states, state)
        return states

    def _agree_on_finite(self, loss: Tensor) -> None:
        worst = loss.detach()
        if self.trainer.world_size > 1:
            # One rank stopping alone would leave the others waiting for its gradients.
            flag = (~torch.isfinite(worst)).float()
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            worst = torch.where(flag > 0, torch.nan, worst)
        if not torch.isfinite(worst):
            raise NonFiniteLossError(
                f"the loss is {worst.item()} at epoch {self.current_epoch + 1}, "
                f"step {self.global_step + 1}"
            )
