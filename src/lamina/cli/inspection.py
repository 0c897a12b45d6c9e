"""The command that has a model account for itself."""

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.common import CustomCode, warn, write
from lamina.errors import InputError


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
    allow_custom_code: CustomCode = False,
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
        images = load_data(data, warn=warn)
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
        write(out, written(account, wanted))
    elif wanted == "table" and console.is_terminal:
        console.print(render(account))
    else:
        print(written(account, wanted))
    broken = exceeded(account, budgets)
    for line in broken:
        warn(line)
    if broken:
        raise typer.Exit(1)
