"""The command that looks at this machine and at what was installed."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from lamina.cli.common import Json, require_kernels
from lamina.errors import RunError


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
        require_kernels("calibrate")
        before = calibration.current().measured
        if calibration.calibrate().measured in (None, before):
            raise RunError("calibrate: the machine is too busy, its times say nothing; try again")
    diagnosis = diagnose()
    if as_json:
        print(json.dumps(asdict(diagnosis)))
    else:
        show(diagnosis, Console())
