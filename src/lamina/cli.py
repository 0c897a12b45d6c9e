"""The command line: arguments only; what they do stands on the floors below.

A command imports what it needs when it runs: ``lamina --help`` waits for no floor, and a command
for no other's packages.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn, get_origin, get_type_hints

import typer

from lamina.errors import InputError, MissingExtraError, RunError
from lamina.settings import TrainConfig, described, may_be_anew, option_of

app = typer.Typer(
    name="lamina",
    help="Train image classifiers from fast layers, and have every layer account for itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, on the last line.")]


def _with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command an option for each of a run's settings, in the place of ``**settings``."""
    hints = get_type_hints(TrainConfig)
    options = []
    for one in fields(TrainConfig):
        # Of Literals the text is taken: the setting's own check has the better message.
        kind = str if get_origin(hints[one.name]) is Literal else hints[one.name]
        said = described(one)
        # A word that is typed stays as it is.
        said = f"{said[0].upper()}{said[1:]}.".replace("`", "")
        option = typer.Option(option_of(one), help=said)
        options.append(
            Parameter(
                one.name,
                Parameter.KEYWORD_ONLY,
                default=None,
                annotation=Annotated[kind | None, option],
            )
        )
    own = [
        parameter.replace(kind=Parameter.KEYWORD_ONLY)
        for parameter in signature(command).parameters.values()
        if parameter.kind is not Parameter.VAR_KEYWORD
    ]
    command.__signature__ = Signature([*options, *own])  # type: ignore[attr-defined]
    return command


@app.command()
@_with_settings
def train(
    out: Annotated[
        Path | None, typer.Option(help="Run folder, new or empty.  (default: runs/DATA-MODEL)")
    ] = None,
    resume: Annotated[
        Path | None, typer.Option(help="Continue this run folder to its end.", metavar="RUN")
    ] = None,
    as_json: Json = False,
    **settings: Any,
) -> None:
    """Train a classifier and leave a run folder: checkpoint, metrics, report.html."""
    from rich.console import Console

    from lamina.train import resume as continue_run
    from lamina.train import train as begin_run
    from lamina.train.ranks import rank

    given = {name: value for name, value in settings.items() if value is not None}
    # With --json the result alone is on standard output, for whatever reads it.
    console = Console(stderr=as_json)
    if resume is None:
        config = TrainConfig(**given)
        run = out or Path("runs") / f"{_word(config.data)}-{_word(config.model)}"
        start = partial(begin_run, config, run)
    else:
        allowed = may_be_anew()
        others = sorted(given.keys() - set(allowed)) + ["out"] * (out is not None)
        if others:
            raise InputError(
                f"resume: the run has its own settings but {', '.join(allowed)}; "
                f"leave out {others[0]!r}"
            )
        run, start = resume, partial(continue_run, resume, **given)
    try:
        with _writing(run):
            result = start(console=console)
    except KeyboardInterrupt as error:
        if (run / "config.json").is_file():
            _warn(f"interrupted; lamina train --resume {run} continues from the last checkpoint")
        raise typer.Exit(130) from error
    if as_json and rank() == 0:
        print(json.dumps(asdict(result)))


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="Run folder of `lamina train`.", metavar="RUN")],
    images: Annotated[
        list[Path], typer.Argument(help="Image files, and folders of them.", metavar="IMAGE...")
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The run's pkg.mod:factory or file.py:factory, if it has one."),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Go on past files that cannot be read.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say the class of each image, and how probable it is."""
    from lamina.report.units import percent, printable
    from lamina.train import predict as classify

    answers = classify(run, images, model=model, skip_bad=skip_bad, warn=_warn)
    if as_json:
        print(json.dumps([asdict(answer) for answer in answers]))
        return
    for answer in answers:
        share = percent(answer.probability)
        print(f"{printable(answer.image)}\t{printable(answer.label)}\t{share}")


@app.command()
def inspect(
    target: Annotated[
        str,
        typer.Argument(
            help="A name of lamina.models, pkg.mod:factory, file.py:factory or a .keras file.",
            metavar="MODEL",
        ),
    ],
    sizes: Annotated[
        list[str] | None,
        typer.Option("--input", help="Size with the batch, 1,3,224,224; name=1,3,... for several."),
    ] = None,
    training: Annotated[
        bool, typer.Option("--train", help="Count a training step and judge its health.")
    ] = False,
    data: Annotated[
        str | None,
        typer.Option(help="With --train: digits or a folder of images, to train a copy on."),
    ] = None,
    measure: Annotated[
        bool, typer.Option("--measure", help="Time every row and the machine's limits.")
    ] = False,
    form: Annotated[
        str | None,
        typer.Option("--format", help="table, json, csv, markdown or html.  [default: by suffix]"),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write to this file.")] = None,
    fail_on: Annotated[
        str | None,
        typer.Option(help="Budgets; leave with 1 above them: macs<=600M,peak_memory<=200MB."),
    ] = None,
    allow_custom_code: Annotated[
        bool,
        typer.Option(
            "--allow-custom-code",
            help="Run what a .keras file holds or names; only if you trust it.",
        ),
    ] = False,
) -> None:
    """Have every layer of a model account for itself: what it is, does, costs and could cost."""
    import os

    from rich.console import Console

    from lamina.dialects import is_keras
    from lamina.inspector import inspect as account_for
    from lamina.inspector.budgets import exceeded, parse_budgets
    from lamina.inspector.command import check_out, format_of, parse_sizes, written
    from lamina.inspector.trace.dialect import own_inputs
    from lamina.interchange import load_keras_file
    from lamina.models.target import load_model
    from lamina.report.inspection.table import render

    # A factory may build a Keras model; only one on the torch backend is made of modules.
    os.environ.setdefault("KERAS_BACKEND", "torch")
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # Keras imports TensorFlow where it can

    check_out(out)
    wanted, budgets = format_of(form, out), parse_budgets(fail_on) if fail_on else []
    input_size = parse_sizes(sizes) if sizes else None
    is_file = target.endswith(".keras")
    if allow_custom_code and not is_file:
        raise InputError(f"allow-custom-code: speaks of a .keras file, the model is {target!r}")
    batches, arguments = None, {}
    if data is not None:
        from lamina.train.data import load_data
        from lamina.train.health import sample_batches

        if not training:
            raise InputError("data: judges training; say --train as well")
        images = load_data(data, warn=_warn)
        arguments = {"num_classes": len(images.facts.classes), "in_channels": images.facts.channels}
    if is_file:
        network = load_keras_file(target, allow_custom_code=allow_custom_code)
    else:
        network = load_model(target, **arguments)
    if data is not None:
        batches = sample_batches(images, channels_last=is_keras(network))
        if not is_keras(network):
            input_size = input_size or images.facts.input_shape
    if input_size is None and not own_inputs(network):
        raise InputError("input: expected a size such as --input 1,3,224,224")
    account = account_for(
        network,
        input_size,
        training=training,
        measure=measure,
        train_data=batches,
    )
    account.model = target  # one class, ResNet say, may be several models
    console = Console()
    if out is not None:
        _write(out, written(account, wanted))
    elif wanted == "table" and console.is_terminal:
        console.print(render(account))
    else:
        print(written(account, wanted))
    broken = exceeded(account, budgets)
    for line in broken:
        _warn(line)
    if broken:
        raise typer.Exit(1)


bench = typer.Typer(help="Time layers against PyTorch's on this machine; leave it idle meanwhile.")
app.add_typer(bench, name="bench")


@bench.command()
def layers(
    kind: Annotated[str | None, typer.Option(help="One kind alone, pool2d say.")] = None,
    seconds: Annotated[float, typer.Option(help="Per case and layout, about.")] = 1.0,
    compiled: Annotated[
        bool, typer.Option("--compile/--no-compile", help="Time torch.compile's modules too.")
    ] = True,
    huge_pages: Annotated[
        bool,
        typer.Option("--huge-pages/--no-huge-pages", help="Time PyTorch with huge pages too."),
    ] = True,
    out: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the table to this file.")
    ] = None,
) -> None:
    """Time every kind of layer: both layouts, forward and backward apart and together."""
    from lamina.bench import benchmark, layer_rows
    from lamina.inspector.command import check_out
    from lamina.report.table import to_markdown

    check_out(out, markdown)
    machine, rows = benchmark.benchmark_layers(
        kind,
        seconds=seconds,
        compiled=compiled,
        huge_pages=huge_pages,
        on_row=lambda row: print(layer_rows.line(row), flush=True),
    )
    if out is not None:
        _write(out, layer_rows.to_json(machine, rows))
    if markdown is not None:
        _write(markdown, to_markdown(layer_rows.table(machine, rows)))


@bench.command()
def algorithms(
    grid: Annotated[
        bool, typer.Option("--grid", help="94 shapes rather than a ResNet's four stages.")
    ] = False,
    layout: Annotated[str, typer.Option(help="channels_last or nchw.")] = "channels_last",
    seconds: Annotated[float, typer.Option(help="Per shape and pass, about.")] = 0.5,
    growth: Annotated[
        bool, typer.Option("--growth", help="Fit by what power time grows with each size.")
    ] = False,
    figure: Annotated[
        Path | None, typer.Option(help="Draw --growth's curves to this SVG file.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the table to this file.")
    ] = None,
) -> None:
    """Time convolutions by each algorithm, beside the time that the theory predicts."""
    from lamina.bench import algorithms as lab
    from lamina.bench.benchmark import LAYOUTS
    from lamina.bench.exponents import growth as measure_growth
    from lamina.bench.exponents import line
    from lamina.bench.layer_rows import facts
    from lamina.inspector.command import check_out
    from lamina.ops.tuning.machine import measure as measure_machine
    from lamina.report.table import to_markdown

    if layout not in LAYOUTS:
        raise InputError(f"layout: must be one of {', '.join(LAYOUTS)}, got {layout!r}")
    if figure and not growth:
        raise InputError("figure: draws what is fitted; say --growth as well")
    if growth and (grid or out or markdown):
        raise InputError("growth: a measurement of its own; leave out --grid, --json, --markdown")
    check_out(out, markdown, figure)
    _require_kernels("algorithms")
    if growth:
        from lamina.bench.figures import growth_figure

        found = measure_growth(
            measure_machine(), seconds=seconds, on_growth=lambda one: print(line(one), flush=True)
        )
        if figure is not None:
            conditions = ("processor", "threads", "instruction set")
            known = facts()
            where = ", ".join(f"{name} {known[name]}" for name in conditions)
            _write(figure, growth_figure(found, where))
        return
    machine, rows = lab.benchmark_algorithms(
        lab.GRID if grid else lab.NETWORKS,
        layout=layout,
        seconds=seconds,
        on_row=lambda row: print(lab.line(row), flush=True),
    )
    print(lab.summary(rows))
    if out is not None:
        _write(out, lab.to_json(machine, rows))
    if markdown is not None:
        _write(markdown, to_markdown(lab.table(machine, rows)))


@app.command()
def doctor(
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Time the convolutions' algorithms anew, in seconds."),
    ] = False,
    as_json: Json = False,
) -> None:
    """Show versions, instruction sets, OpenMP runtimes, threads, and what falls back."""
    from rich.console import Console

    from lamina.doctor import diagnose, show
    from lamina.ops.tuning import calibration

    if calibrate:
        _require_kernels("calibrate")
        before = calibration.current().measured
        if calibration.calibrate().measured in (None, before):
            raise RunError("calibrate: the machine is too busy, its times say nothing; try again")
    diagnosis = diagnose()
    if as_json:
        print(json.dumps(asdict(diagnosis)))
    else:
        show(diagnosis, Console())


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; what goes wrong is one line.

    Leaves with 2 for what a person must change: what was typed, what is not installed, a file or
    folder that the system refuses; with 1 for what failed although it was asked for rightly.
    """
    try:
        app(arguments, prog_name="lamina")
    except (InputError, MissingExtraError) as error:
        _leave(2, str(error))
    except RunError as error:
        _leave(1, str(error))
    except OSError as error:
        where = ", ".join(str(name) for name in (error.filename, error.filename2) if name)
        said = error.strerror or str(error)
        _leave(2, f"{where}: {said}" if where else said)


def _require_kernels(what: str) -> None:
    from lamina.ops.runtime import native

    if not native.kernels:
        raise RunError(f"{what}: there are no native kernels to choose from")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Name the place in an error of the system's that does not, such as a full disk's."""
    try:
        yield
    except OSError as error:
        error.filename = error.filename or str(path)
        raise


def _write(path: Path, text: str) -> None:
    with _writing(path):
        path.write_text(text, encoding="utf-8")


def _leave(code: int, line: str) -> NoReturn:
    _warn(f"error: {line}")
    sys.exit(code)


def _warn(line: str) -> None:
    print(line, file=sys.stderr)


def _word(name: str) -> str:
    """Return a name for a folder: the last part of a path or target, nothing but plain letters."""
    last = name.rstrip("/").rpartition("/")[2].replace(".py:", "-")
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in last).strip("-") or "run"
