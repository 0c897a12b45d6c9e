"""What happens around the loop: the history, the checkpoints, the progress bar."""

import csv
import io
import math
import time
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from lamina.report.training import EpochMetrics
from lamina.train.checkpoints import BEST, KEPT, LAST, CheckpointFolder, checkpoints
from lamina.train.classifier import Classifier
from lamina.train.files import write_file


class History(pl.Callback):
    """Keep a row per epoch, in ``metrics.csv``, in the loggers and in the checkpoint.

    The file is written from the rows and not appended to: after a resume it holds what the
    checkpoint held, without a row of an epoch that was lost.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[EpochMetrics] = []
        self._start = 0.0

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self._start = time.perf_counter()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the row; Lightning has validated by now."""
        assert isinstance(pl_module, Classifier)
        train_loss, train_accuracy = pl_module.train_tally.means()
        validation_loss, validation_accuracy = pl_module.validation_tally.means()
        row = EpochMetrics(
            epoch=trainer.current_epoch + 1,
            step=trainer.global_step,
            lr=trainer.optimizers[0].param_groups[0]["lr"],
            train_loss=train_loss,
            train_accuracy=train_accuracy,
            validation_loss=validation_loss,
            validation_accuracy=validation_accuracy,
            seconds=time.perf_counter() - self._start,
        )
        self.rows.append(row)
        for logger in trainer.loggers:
            logger.log_metrics(
                {
                    "loss/train": train_loss,
                    "loss/validation": validation_loss,
                    "accuracy/train": train_accuracy,
                    "accuracy/validation": validation_accuracy,
                    "lr": row.lr,
                },
                step=row.epoch,
            )
        if trainer.is_global_zero:
            write_file(self.path, metrics_csv(self.rows).encode())

    def state_dict(self) -> dict[str, Any]:
        """Return the rows for the checkpoint."""
        return {"rows": [asdict(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of the checkpoint."""
        self.rows = [EpochMetrics(**row) for row in state_dict["rows"]]


class Checkpointing(pl.Callback):
    """Write a checkpoint after every epoch and keep the last two, and the best where it is wanted.

    Args:
        run: the run folder.
        history: says which epoch is the best.
        keeps_best: whether it is wanted.
    """

    def __init__(self, run: Path, history: History, *, keeps_best: bool = False) -> None:
        self.run, self.history, self.keeps_best = run, history, keeps_best

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Write first, take the old away after: at no time is there none."""
        epoch = trainer.current_epoch + 1
        if self.keeps_best and best_epoch(self.history.rows) == epoch:
            self._write(trainer, BEST, epoch, 1)
        self._write(trainer, LAST, epoch, KEPT)

    def _write(self, trainer: pl.Trainer, kind: str, epoch: int, kept: int) -> None:
        trainer.save_checkpoint(self.run / kind / f"epoch-{epoch:04d}")
        if trainer.is_global_zero:
            for old in checkpoints(self.run, kind)[kept:]:
                CheckpointFolder().remove_checkpoint(old)


class Patience(pl.Callback):
    """Stop training some epochs after the best one.

    Args:
        history: the epochs so far.
        epochs: to wait for a better one.
    """

    def __init__(self, history: History, epochs: int) -> None:
        self.history, self.epochs = history, epochs

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """A run that had stopped goes on with its report."""
        self._look(trainer)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Every rank watches the same images, and comes to the same end."""
        self._look(trainer)

    def _look(self, trainer: pl.Trainer) -> None:
        rows = self.history.rows
        if rows and len(rows) - best_epoch(rows) >= self.epochs:
            trainer.should_stop = True


def best_epoch(rows: Sequence[EpochMetrics]) -> int:
    """The epoch with the highest accuracy in validation; of several the one with the lowest loss.

    A loss that is not a number is worse than any other.
    """

    def worth(row: EpochMetrics) -> tuple[float, float]:
        loss = row.validation_loss
        return row.validation_accuracy, -math.inf if math.isnan(loss) else -loss

    return max(rows, key=worth).epoch


class ProgressBar(pl.Callback):
    """One line for the whole training in a terminal; elsewhere a line per epoch.

    Args:
        console: where it is drawn.
        history: whose last row is shown.
    """

    def __init__(self, console: Console, history: History) -> None:
        self.console, self.history = console, history
        self._bar: Progress | None = None

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw the bar, as far as a resumed run has come."""
        if not trainer.is_global_zero or not self.console.is_terminal:
            return
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}/{task.fields[epochs]}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._bar.add_task(
            "training",
            total=trainer.estimated_stepping_batches,
            completed=trainer.global_step,
            epoch=trainer.current_epoch + 1,
            epochs=trainer.max_epochs,
            note="",
        )
        self._bar.start()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any
    ) -> None:
        """Move the bar on and show the running loss and accuracy."""
        if self._bar is None:
            return
        assert isinstance(pl_module, Classifier)
        loss, right, count = pl_module.train_tally.sums.tolist()
        note = f"loss {loss / count:.3f}  accuracy {right / count:6.1%}"
        if self.history.rows:
            note += f"  validation {self.history.rows[-1].validation_accuracy:6.1%}"
        epoch = trainer.current_epoch + 1
        self._bar.update(self._task, completed=trainer.global_step, epoch=epoch, note=note)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Print the epoch's line where there is no bar."""
        if self._bar is None and trainer.is_global_zero:
            row = self.history.rows[-1]
            self.console.print(
                f"epoch {row.epoch}/{trainer.max_epochs}  "
                f"loss {row.train_loss:.3f}  accuracy {row.train_accuracy:.1%}  "
                f"validation loss {row.validation_loss:.3f}  "
                f"accuracy {row.validation_accuracy:.1%}  {row.seconds:.1f} s",
                highlight=False,
                soft_wrap=True,
            )

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Leave the terminal as it was, also after an error."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def metrics_csv(rows: list[EpochMetrics]) -> str:
    """Return the rows as comma-separated values, every digit kept."""
    out = io.StringIO()
    writer = csv.DictWriter(out, [f.name for f in fields(EpochMetrics)], lineterminator="\n")
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return out.getvalue()
