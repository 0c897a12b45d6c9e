"""The command line: arguments only; what they do stands on the floors below.

A command imports what it needs when it runs: ``lamina --help`` waits for no floor, and a command
for no other's packages.
"""

import sys
from typing import Annotated, NoReturn

import typer

from lamina.cli import checking, conversion, explanation, inspection, laboratory, timing, training
from lamina.cli.common import warn
from lamina.errors import InputError, MissingExtraError, RunError, closest

app = typer.Typer(
    name="lamina",
    help="Train image classifiers from fast layers, and have every layer account for itself.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def _settings(
    numerics: Annotated[
        str,
        typer.Option(
            help="fast, or strict: no Winograd convolution, the error of the plain sum alone."
        ),
    ] = "fast",
) -> None:
    if numerics not in ("fast", "strict"):
        hint = closest(numerics, ["fast", "strict"])
        raise InputError(f"numerics: expected fast or strict, got {numerics!r}{hint}")
    if numerics == "strict":
        from lamina.ops import set_numerics

        set_numerics("strict")


app.command()(training.train)
app.command()(training.predict)
app.command()(inspection.inspect)
app.command()(explanation.explain)
app.command()(conversion.convert)
app.command()(laboratory.lab)
app.add_typer(timing.bench, name="bench")
app.command()(checking.doctor)


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


def _leave(code: int, line: str) -> NoReturn:
    warn(f"error: {line}")
    sys.exit(code)
