"""A training run from configuration to report."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import lightning.pytorch as pl
import torch
from rich.console import Console
from torch.utils.data import DataLoader

from lamina._version import __version__
from lamina.errors import InputError, RunError
from lamina.graph import without_a_clock
from lamina.inspector import inspect
from lamina.optimiser import optimize
from lamina.report.account import Account
from lamina.report.inspection.table import as_table
from lamina.report.table import to_terminal
from lamina.report.training import TrainingReport, training_page
from lamina.report.units import duration, percent
from lamina.settings import TrainConfig
from lamina.train.batches import Batch, FixedBatches, train_loader
from lamina.train.callbacks import Checkpointing, History, Patience, ProgressBar
from lamina.train.checkpoints import (
    answering,
    checkpoints,
    copy_weights,
    epochs_of,
    model_state,
    newest_good,
)
from lamina.train.choices import Choices
from lamina.train.classifier import Classifier
from lamina.train.config import RunDocument, read_config
from lamina.train.data import Facts, ImageData, load_data
from lamina.train.environment import describe
from lamina.train.evaluation import (
    Evaluation,
    accuracy_by_batch_statistics,
    evaluate,
    examples,
    learnt,
)
from lamina.train.explained import explain_tests
from lamina.train.files import write_file
from lamina.train.fine_tuning import freeze, head_of, take_weights
from lamina.train.health import HealthMonitor
from lamina.train.model import build_model, chosen_model, is_worth_compiling
from lamina.train.quiet import quiet_lightning
from lamina.train.ranks import join, rank, ranks, restarted
from lamina.train.synchronised import leave, synchronise
from lamina.train.trainer import accelerator_of, backend_of, make_trainer

_Named = TypeVar("_Named", str, str | None)


@dataclass(frozen=True)
class RunResult:
    """What came of a training run.

    Args:
        accuracy: on the test images, in [0, 1].
        loss: on the test images.
        epochs: passes over the training images, those before a resume included.
        seconds: of training, those before a resume included.
        parameters: trainable elements.
        run: the run folder.
    """

    accuracy: float
    loss: float
    epochs: int
    seconds: float
    parameters: int
    run: str


def train(
    config: TrainConfig,
    out: Path,
    *,
    console: Console | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> RunResult:
    """Train a model and leave a run folder.

    Args:
        config: data, model and how the one learns the other.
        out: the run folder; must not exist, or be empty.
        console: where progress, table and result are shown.
        callbacks: further Lightning callbacks.

    Raises:
        InputError: the folder exists, the data or the model cannot be used; nothing is written.
        NonFiniteLossError: the loss became infinite or NaN; the last checkpoint stands.
        OSError: the run folder cannot be written, as on a full disk; the last checkpoint stands.
    """
    console = console or Console()
    if restarted() and checkpoints(out):
        return resume(out, model=config.model, console=console, callbacks=callbacks)
    # One rank looks: another may be late, and see what the first has written by then.
    if rank() == 0 and not restarted():
        _check_new(out)
    data = load_data(
        config.data,
        image_size=config.image_size,
        on_bad_image=config.on_bad_image,
        statistics=config.statistics,
        warn=lambda line: console.print(line, style="yellow", markup=False),
    )
    # Whoever resumes may stand elsewhere.
    config = replace(config, data=_absolute(config.data), weights=_absolute(config.weights))
    return _Run(config, data, config.model, out, console, callbacks).go()


def resume(
    run: Path,
    *,
    data: str | None = None,
    model: str | None = None,
    workers: int | None = None,
    epochs: int | None = None,
    console: Console | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> RunResult:
    """Continue a run where its newest whole checkpoint was written, to the same end.

    A run that was lost before its first checkpoint begins again. One that is at its end is given
    more epochs, over which the schedule of the learning rate runs once more.

    Args:
        run: the run folder.
        data: where the run's images are now, if they were moved.
        model: ``pkg.mod:factory`` or ``file.py:factory`` again, if the run has such a model: a run
            folder may come from somebody else, and code is run only if it is named here.
        workers: processes that prepare batches from here on.
        epochs: passes over the training images in all, if they are to be more.
        console: where progress, table and result are shown.
        callbacks: further Lightning callbacks.

    Raises:
        InputError: no run folder, no whole checkpoint, other data than the run's, or more epochs
            for a run that is not at its end.
        NonFiniteLossError: the loss became infinite or NaN; the last checkpoint stands.
        OSError: the run folder cannot be written, as on a full disk; the last checkpoint stands.
    """
    console = console or Console()
    document = read_config(run / "config.json")
    target = chosen_model(run, document.config, model)

    def warn(line: str) -> None:
        console.print(line, style="bold red", markup=False)

    anew: dict[str, Any] = {} if data is None else {"data": _absolute(data)}
    anew |= {} if workers is None else {"workers": workers}
    config, extended = replace(document.config, **anew), document.extended
    checkpoint = newest_good(run, warn) if checkpoints(run) else None
    done = 0 if checkpoint is None else epochs_of(checkpoint)
    if done < max(extended, default=0):
        raise InputError(
            f"{run}: its newest whole checkpoint, of epoch {done}, is of before it was "
            f"extended after {max(extended)}"
        )
    if epochs is not None and epochs != config.epochs:
        if epochs < config.epochs or done != config.epochs:
            raise InputError(
                f"epochs: expected more than its {config.epochs} for a run that is at its end; "
                f"{run} has {done} of them, got {epochs}"
            )
        config, extended = replace(config, epochs=epochs), (*extended, done)
    images = load_data(
        config.data,
        image_size=config.image_size,
        on_bad_image=config.on_bad_image,
        statistics=config.statistics,
        warn=warn,
    )
    if images.facts != Facts.from_dict(document.data):
        raise InputError(f"data: {config.data!r} has changed since {run} was begun")
    choices = None if document.choices is None else Choices.from_dict(document.choices)
    if choices is not None and not choices.made_here:
        warn(
            "the run was begun on another machine or with other versions: from here on its "
            "numbers agree with those to rounding"
        )
        choices = None
    return _Run(config, images, target, run, console, callbacks, checkpoint, choices, extended).go()


def _absolute(named: _Named) -> _Named:
    """A path as it is called from anywhere; what is none stays as it is."""
    return named if named is None or not Path(named).exists() else str(Path(named).absolute())


def _check_new(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        hint = f"; --resume {out} continues the run in it" if (out / "config.json").exists() else ""
        raise InputError(f"out: expected a new or empty folder, {str(out)!r} has files in it{hint}")
    if out.exists() and not out.is_dir():
        raise InputError(f"out: expected a folder, {str(out)!r} is a file")


@dataclass(frozen=True)
class _Run:
    """A run that is about to start: what was asked for, and what was read of it so far."""

    config: TrainConfig
    data: ImageData
    target: str
    out: Path
    console: Console
    callbacks: Sequence[pl.Callback] = ()
    checkpoint: Path | None = None
    choices: Choices | None = None
    extended: tuple[int, ...] = ()

    def go(self) -> RunResult:
        quiet_lightning()
        accelerator = accelerator_of(self.config.device)
        join(backend_of(accelerator))
        choices = self.choices
        if choices is None:
            # The kernels whose algorithms are chosen run on the CPU alone.
            choices = Choices.here(settle=False) if accelerator == "cuda" else Choices.agreed()
        # Evaluation's figures, too, are the same after a resume.
        with choices.in_force(), without_a_clock():
            return self._train(choices, accelerator)

    def _train(self, choices: Choices, accelerator: str) -> RunResult:
        config, data, out = self.config, self.data, self.out
        pl.seed_everything(config.seed, verbose=False)
        model = build_model(self.target, data.facts)
        if not any(parameter.requires_grad for parameter in model.parameters()):
            raise InputError(f"model: expected parameters to train, {self.target!r} has none")
        head, frozen = self._fine_tuned(model)
        if config.sync_norm and ranks() > 1:
            synchronise(model)
        if self._optimizes(model):
            optimize(model)
        else:
            model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        # From here on chance is a rank's own: the same weights, but other features dropped.
        torch.manual_seed(config.seed + rank())
        begin = 0 if self.checkpoint is None else epochs_of(self.checkpoint)
        loader = train_loader(data, config, rank(), ranks(), begin)
        first = max((epoch for epoch in self.extended if epoch <= begin), default=0)
        per_epoch = -(-len(loader) // config.accumulate)
        steps = (config.epochs - first) * per_epoch
        classifier = Classifier(model, config, steps, per_epoch, first, head, frozen)
        history = History(out / "metrics.csv")
        monitor = HealthMonitor(model)
        own = [
            history,
            Checkpointing(out, history, keeps_best=config.select == "best"),
            ProgressBar(self.console, history),
            monitor,
        ]
        if config.patience is not None:
            own.append(Patience(history, config.patience))
        trainer = make_trainer(config, accelerator, out, [*own, *self.callbacks])
        if rank() == 0:
            document = RunDocument(config, data.facts.to_dict(), choices.to_dict(), self.extended)
            self._begin(document)
        # Every rank watches all validation images: no image twice, and no rank disagrees.
        validation: DataLoader[Batch] = DataLoader(
            FixedBatches(data, data.validation, config.batch_size), batch_size=None
        )
        with _nothing_left_without_a_checkpoint(out):
            try:
                trainer.fit(classifier, loader, validation, ckpt_path=self.checkpoint)
            except SystemExit as error:
                # Lightning turns Ctrl-C into an exit; whoever calls should be able to tell.
                raise KeyboardInterrupt from error
        leave(model)  # one rank alone reports
        if config.select == "best":
            chosen = answering(out, "best", lambda line: self.console.print(line, style="yellow"))
            copy_weights(model, model_state(chosen), str(chosen))
        test = evaluate(model, data, data.test, config.batch_size)
        result = RunResult(
            accuracy=test.accuracy,
            loss=test.loss,
            epochs=len(history.rows),
            seconds=sum(row.seconds for row in history.rows),
            parameters=sum(p.numel() for p in model.parameters() if p.requires_grad),
            run=str(out),
        )
        if rank() == 0:
            self._report(model, history, monitor, test, result)
        return result

    def _fine_tuned(self, model: torch.nn.Module) -> tuple[str, list[str]]:
        """Take weights and freeze what is asked for; return the head and what is frozen."""
        config, classes = self.config, len(self.data.facts.classes)
        if config.unfreeze_every is not None and ranks() > 1:
            raise InputError("unfreeze_every: expected one process, ranks agree on gradients once")
        if config.weights is not None and self.checkpoint is None:
            taken = take_weights(model, classes, config.weights)
            if rank() == 0:
                self.console.print(str(taken), markup=False, highlight=False, soft_wrap=True)
        frozen = [] if config.freeze is None else freeze(model, classes, config.freeze)
        needs_head = config.head_lr is not None
        return (head_of(model, classes) if needs_head else ""), frozen

    def _optimizes(self, model: torch.nn.Module) -> bool:
        asked, data = self.config.optimize, self.data
        if asked != "auto" or self.config.sync_norm:
            return asked == "on"
        images = 3 * self.config.epochs * len(data.train)  # a step is about three forward passes
        return is_worth_compiling(model, data.facts.input_shape, images)

    def _begin(self, document: RunDocument) -> None:
        new = not self.out.exists()
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            write_file(self.out / "config.json", document.text(__version__).encode())
        except OSError:
            if new:
                with contextlib.suppress(OSError):
                    self.out.rmdir()
            raise

    def _report(
        self,
        model: torch.nn.Module,
        history: History,
        monitor: HealthMonitor,
        test: Evaluation,
        result: RunResult,
    ) -> None:
        data, out = self.data, self.out
        account = _account(model, data.facts.input_shape, self.console)
        if account is not None:
            monitor.add_to(
                account,
                history.rows,
                validation_images=len(data.validation),
                batch_statistics=accuracy_by_batch_statistics(
                    model, data, data.validation, self.config.batch_size
                ),
            )
        report = TrainingReport(
            title=f"{self.config.model} on {data.name}",
            accuracy=result.accuracy,
            loss=result.loss,
            seconds=result.seconds,
            parameters=result.parameters,
            images=(len(data.train), len(data.validation), len(data.test)),
            history=history.rows,
            input_shape=data.facts.input_shape,
            classes=data.facts.classes,
            confusion=test.confusion(),
            examples=examples(test, data),
            config=asdict(self.config),
            environment=describe(),
            skipped=data.skipped,
            account=account,
            learnt=learnt(data, self.config),
            followed=self._explain(model, test),
        )
        write_file(out / "report.html", training_page(report).encode())
        write_file(out / "result.json", (json.dumps(asdict(result), indent=2) + "\n").encode())
        if account is not None:
            shown = as_table(account, tree=True)
            narrow = [column for column in shown.columns if column.key in _SHOWN]
            self.console.print(to_terminal(replace(shown, columns=narrow)))
        said = _summary(result, test, out)
        self.console.print(said, markup=False, highlight=False, soft_wrap=True)

    def _explain(self, model: torch.nn.Module, test: Evaluation) -> dict[str, str]:
        """Leave pages that follow test images; where there can be none, the run is not lost.

        Returns:
            What each page follows, by its file.
        """
        try:
            pages = explain_tests(model, self.data, test, self.config.model)
        except (InputError, RunError) as error:
            said = f"report: without pages that follow an image: {error}"
            self.console.print(said, style="yellow", markup=False)
            return {}
        for file, page in pages.items():
            write_file(self.out / file, page.html.encode())
        return {file: page.record.picture.name for file, page in pages.items()}


_SHOWN = ("layer", "kind", "output", "parameters", "macs")
"""Of an account's columns, those that a terminal of 80 characters has room for."""


@contextlib.contextmanager
def _nothing_left_without_a_checkpoint(out: Path) -> Iterator[None]:
    """Take a run folder away that never reached a checkpoint: there is nothing to resume."""
    try:
        yield
    except BaseException:
        if rank() == 0 and not checkpoints(out):
            shutil.rmtree(out, ignore_errors=True)
        raise


def _account(
    model: torch.nn.Module, input_shape: tuple[int, ...], console: Console
) -> Account | None:
    """Have the layers account for a training step; where they cannot, the run is not lost for it.

    Of one image; of two where batch normalisation refuses one value per channel.
    """
    for images in (1, 2):
        try:
            return inspect(model, (images, *input_shape[1:]), training=True)
        except InputError as error:
            reason = error
    console.print(f"report: without accounts of the layers: {reason}", style="yellow", markup=False)
    return None


def _summary(result: RunResult, test: Evaluation, out: Path) -> str:
    total = len(test.labels)
    right = round(test.accuracy * total)
    return (
        f"test accuracy {percent(result.accuracy, 2)} ({right} of {total} images), "
        f"loss {result.loss:.4f}, {result.epochs} epochs in {duration(result.seconds)}\n"
        f"report: {out / 'report.html'}"
    )
