"""A training run from configuration to report."""

import contextlib
import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.strategies import DDPStrategy
from rich.console import Console
from torch.utils.data import DataLoader

from lamina._version import __version__
from lamina.errors import InputError
from lamina.inspector import inspect
from lamina.inspector.trace.dialect import is_keras
from lamina.models.target import is_code, load_model
from lamina.report.account import Account
from lamina.report.layers import layer_table
from lamina.report.table import to_terminal
from lamina.report.training import TrainingReport, training_page
from lamina.report.units import duration, percent
from lamina.train.batches import Batch, FixedBatches, train_loader
from lamina.train.callbacks import Checkpointing, History, ProgressBar
from lamina.train.checkpoints import CheckpointFolder, checkpoints, epochs_of, newest_good
from lamina.train.choices import Choices
from lamina.train.classifier import Classifier
from lamina.train.config import RunDocument, TrainConfig, read_config
from lamina.train.data import Facts, ImageData, load_data
from lamina.train.environment import describe
from lamina.train.evaluation import Evaluation, evaluate, examples
from lamina.train.files import write_file
from lamina.train.health import HealthMonitor
from lamina.train.quiet import event_logger, quiet_lightning
from lamina.train.ranks import TIMEOUT, join, rank, ranks, ranks_here, restarted
from lamina.train.trace import trace_layers


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
        warn=lambda line: console.print(line, style="yellow", markup=False),
    )
    return _run(config, data, config.model, out, None, None, console, callbacks)


def resume(
    run: Path,
    *,
    model: str | None = None,
    console: Console | None = None,
    callbacks: Sequence[pl.Callback] = (),
) -> RunResult:
    """Continue a run where its newest whole checkpoint was written, to the same end.

    Args:
        run: the run folder.
        model: ``pkg.mod:factory`` or ``file.py:factory`` again, if the run has such a model: a run
            folder may come from somebody else, and code is run only if it is named here.
        console: where progress, table and result are shown.
        callbacks: further Lightning callbacks.

    Raises:
        InputError: no run folder, no whole checkpoint, or other data than the run's.
        NonFiniteLossError: the loss became infinite or NaN; the last checkpoint stands.
    """
    console = console or Console()
    document = read_config(run / "config.json")
    config = document.config
    target = chosen_model(run, config, model)

    def warn(line: str) -> None:
        console.print(line, style="bold red", markup=False)

    checkpoint = newest_good(run, warn)
    data = load_data(
        config.data, image_size=config.image_size, on_bad_image=config.on_bad_image, warn=warn
    )
    if data.facts != Facts.from_dict(document.data):
        raise InputError(f"data: {config.data!r} has changed since {run} was begun")
    choices = None if document.choices is None else Choices.from_dict(document.choices)
    if choices is not None and not choices.made_here:
        warn(
            "the run was begun on another machine or with other versions: from here on its "
            "numbers agree with those to rounding"
        )
        choices = None
    return _run(config, data, target, run, checkpoint, choices, console, callbacks)


def chosen_model(run: Path, config: TrainConfig, model: str | None) -> str:
    """Return the target to build for a run, which runs no code that the caller has not named.

    Raises:
        InputError: the run's model is code, and the caller named none.
    """
    if model is None and is_code(config.model):
        raise InputError(
            f"{run}: its model is code outside of lamina; say --model {config.model} to run it"
        )
    return model or config.model


def _check_new(out: Path) -> None:
    if out.is_dir() and any(out.iterdir()):
        raise InputError(f"out: expected a new or empty folder, {str(out)!r} has files in it")
    if out.exists() and not out.is_dir():
        raise InputError(f"out: expected a folder, {str(out)!r} is a file")


def _create(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"out: cannot create {str(out)!r}: {error.strerror}") from error


def _run(
    config: TrainConfig,
    data: ImageData,
    target: str,
    out: Path,
    checkpoint: Path | None,
    choices: Choices | None,
    console: Console,
    callbacks: Sequence[pl.Callback],
) -> RunResult:
    quiet_lightning()
    accelerator = _accelerator(config.device)
    join("nccl" if accelerator == "cuda" else "gloo")
    if choices is None:
        choices = Choices.here(settle=False) if accelerator == "cuda" else Choices.agreed()
    with choices.in_force():
        return _run_by(
            choices, accelerator, config, data, target, out, checkpoint, console, callbacks
        )


def _run_by(
    choices: Choices,
    accelerator: str,
    config: TrainConfig,
    data: ImageData,
    target: str,
    out: Path,
    checkpoint: Path | None,
    console: Console,
    callbacks: Sequence[pl.Callback],
) -> RunResult:
    pl.seed_everything(config.seed, verbose=False)
    classes = len(data.facts.classes)
    model = load_model(target, num_classes=classes, in_channels=data.facts.channels)
    if is_keras(model):
        raise InputError(
            f"model: {target!r} is a Keras model, which trains with its own compile and fit; "
            "expected a torch.nn.Module that takes images (N, C, H, W)"
        )
    layers = trace_layers(model, data.facts.input_shape, classes)
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InputError(f"model: expected parameters to train, {target!r} has none")
    model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    # From here on chance is a rank's own: the same weights, but other features dropped.
    torch.manual_seed(config.seed + rank())
    begin = 0 if checkpoint is None else epochs_of(checkpoint)
    loader = train_loader(data, config, rank(), ranks(), begin)
    classifier = Classifier(model, config, steps=config.epochs * len(loader))
    history = History(out / "metrics.csv")
    bar = ProgressBar(console, history)
    monitor = HealthMonitor(model)
    trainer = _trainer(
        config.epochs,
        accelerator,
        out,
        [history, Checkpointing(out / "checkpoints"), bar, monitor, *callbacks],
    )
    if rank() == 0 and checkpoint is None:
        _create(out)
        document = RunDocument(config, data.facts.to_dict(), choices.to_dict())
        write_file(out / "config.json", document.text(__version__).encode())
    with _nothing_left_without_a_checkpoint(out):
        _fit(
            trainer,
            classifier,
            loader,
            # Every rank watches all validation images: no image twice, and no rank disagrees.
            DataLoader(FixedBatches(data, data.validation, config.batch_size), batch_size=None),
            checkpoint,
        )
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
        account = _account(model, data.facts.input_shape, console)
        if account is not None:
            monitor.add_to(account, history.rows)
        report = TrainingReport(
            title=f"{config.model} on {data.name}",
            accuracy=result.accuracy,
            loss=result.loss,
            seconds=result.seconds,
            images=(len(data.train), len(data.validation), len(data.test)),
            history=history.rows,
            input_shape=data.facts.input_shape,
            layers=layers,
            classes=data.facts.classes,
            confusion=test.confusion(),
            examples=examples(test, data),
            config=asdict(config),
            environment=describe(),
            skipped=data.skipped,
            account=account,
        )
        write_file(out / "report.html", training_page(report).encode())
        write_file(out / "result.json", (json.dumps(asdict(result), indent=2) + "\n").encode())
        console.print(to_terminal(layer_table(layers)))
        console.print(_summary(result, test, out), markup=False, highlight=False, soft_wrap=True)
    return result


def _trainer(epochs: int, accelerator: str, out: Path, callbacks: list[pl.Callback]) -> pl.Trainer:
    backend = "nccl" if accelerator == "cuda" else "gloo"
    together = DDPStrategy(process_group_backend=backend, timeout=TIMEOUT)
    return pl.Trainer(
        max_epochs=epochs,
        accelerator=accelerator,
        devices=ranks_here(),
        num_nodes=max(1, ranks() // ranks_here()),
        strategy=together if ranks() > 1 else "auto",
        logger=event_logger(out),
        callbacks=callbacks,
        plugins=[CheckpointFolder()],
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
    )


def _accelerator(device: str) -> str:
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError("device: expected cpu or auto, got 'cuda', and there is no CUDA device")
    return "cuda" if device != "cpu" and torch.cuda.is_available() else "cpu"


def _fit(
    trainer: pl.Trainer,
    classifier: Classifier,
    loader: DataLoader[Any],
    validation: DataLoader[Batch],
    checkpoint: Path | None,
) -> None:
    try:
        trainer.fit(classifier, loader, validation, ckpt_path=checkpoint)
    except SystemExit as error:
        # Lightning turns Ctrl-C into an exit; whoever calls should be able to tell.
        raise KeyboardInterrupt from error


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
