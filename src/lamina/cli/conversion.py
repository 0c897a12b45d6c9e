"""The command that takes a model from one framework's files to another's."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, cast

import typer

from lamina.cli.common import warn, write
from lamina.errors import InputError


def convert(
    source: Annotated[
        str,
        typer.Argument(
            help="A .keras, .h5, .safetensors, .pt, .pth or .pt2 file, a trained run's folder, "
            "a name of lamina.models, pkg.mod:factory or file.py:factory.",
            metavar="SRC",
        ),
    ],
    target: Annotated[
        Path,
        typer.Argument(
            help="A .keras, .weights.h5, .safetensors, .pt, .pth, .pt2, .onnx or .py file.",
            metavar="DST",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(help="The code of the model that SRC are the weights of, or of the run."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Run both sides, compare every layer and a training step; see docs."
        ),
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Write a page on what became of every layer.")
    ] = None,
    sizes: Annotated[
        list[str] | None,
        typer.Option("--input", help="Size with the batch, 1,3,224,224; one for every input."),
    ] = None,
    flavour: Annotated[
        str | None,
        typer.Option(help="Whose layers DST gets: torch, keras or lamina.  [default: the plain]"),
    ] = None,
    keep_layout: Annotated[
        bool, typer.Option("--keep-layout", help="Have a Keras model take (N, C, H, W).")
    ] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Write even where --verify finds a difference.")
    ] = False,
    allow_custom_code: Annotated[
        bool,
        typer.Option(
            "--allow-custom-code",
            help="Run what a .keras or .pt2 file holds or names; only if you trust it.",
        ),
    ] = False,
) -> None:
    """Convert a model between Keras, PyTorch and ONNX, and prove that it is the same."""
    import os

    from rich.console import Console

    # A factory may build a Keras model; only one on the torch backend is made of modules.
    os.environ.setdefault("KERAS_BACKEND", "torch")
    # Keras imports TensorFlow where it can, which then speaks of itself.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

    from lamina import interchange
    from lamina.inspector.command import check_out, parse_sizes
    from lamina.report.conversion import conversion_page, render, to_plain

    check_out(report)
    parsed = parse_sizes(sizes) if sizes else None
    if isinstance(parsed, Mapping):
        raise InputError("input: expected sizes in the order of the inputs, without names")
    given = cast("list[tuple[int, ...]] | None", parsed)
    write_as = partial(
        interchange.convert,
        target=target,
        verify=verify,
        force=force,
        flavour=flavour,
        keep_layout=keep_layout,
    )
    if Path(source).is_dir():
        from lamina.train.predict import load_run

        if allow_custom_code:
            raise InputError("allow-custom-code: speaks of a file, SRC is a run's folder")
        network, facts = load_run(Path(source), model=model, warn=warn)
        done = write_as(network, name=source, sizes=given or [facts.input_shape])
    else:
        done = write_as(source, model=model, sizes=given, allow_custom_code=allow_custom_code)
    console = Console()
    if console.is_terminal:
        console.print(render(done))
    else:
        print(to_plain(done))
    if report is not None:
        write(report, conversion_page(done))
    if done.proof is not None and not done.proof.holds:
        if not done.written:
            warn(f"{target} is not written; --force writes it all the same")
        raise typer.Exit(1)
