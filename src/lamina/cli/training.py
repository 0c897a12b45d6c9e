"""The commands that train a classifier and ask it."""

import json
from collections.abc import Callable
from dataclasses import asdict, fields
from functools import partial
from inspect import Parameter, Signature, signature
from pathlib import Path
from typing import Annotated, Any, Literal, get_origin, get_type_hints

import typer

from lamina.cli.common import Json, warn, writing
from lamina.errors import InputError
from lamina.settings import TrainConfig, described, may_be_anew, option_of


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
        with writing(run):
            result = start(console=console)
    except KeyboardInterrupt as error:
        if (run / "config.json").is_file():
            warn(f"interrupted; lamina train --resume {run} continues from the last checkpoint")
        raise typer.Exit(130) from error
    if as_json and rank() == 0:
        print(json.dumps(asdict(result)))


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

    answers = classify(run, images, model=model, skip_bad=skip_bad, warn=warn)
    if as_json:
        print(json.dumps([asdict(answer) for answer in answers]))
        return
    for answer in answers:
        share = percent(answer.probability)
        print(f"{printable(answer.image)}\t{printable(answer.label)}\t{share}")


def _word(name: str) -> str:
    """Return a name for a folder: the last part of a path or target, nothing but plain letters."""
    last = name.rstrip("/").rpartition("/")[2].replace(".py:", "-")
    return "".join(c if c.isalnum() or c in "-_" else "-" for c in last).strip("-") or "run"
