"""The command that tries claims about layers."""

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.common import warn, writing
from lamina.errors import InputError


def lab(
    names: Annotated[
        list[str] | None, typer.Argument(help="Experiments; none lists them.", metavar="[NAME]...")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every experiment.")] = False,
    seed: Annotated[int, typer.Option(min=0, help="The first of five.")] = 0,
    fast: Annotated[
        bool, typer.Option("--fast", help="Smaller sizes: all in four minutes, not forty.")
    ] = False,
    data: Annotated[str, typer.Option(help="digits or a folder of images.")] = "digits",
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the findings.")] = Path(
        "runs/lab"
    ),
) -> None:
    """Try claims about layers: prediction, measurement, figure, and a verdict by a rule."""
    import os

    from lamina import lab as laboratory
    from lamina.lab import folder
    from lamina.lab.several import run_several
    from lamina.lab.tools.data import load

    if names and everything:
        raise InputError("lab: give names or --all, not both")
    wanted = list(laboratory.NAMES) if everything else names or []
    experiments = [laboratory.experiment(name) for name in wanted or laboratory.NAMES]
    if not wanted:
        for one in experiments:
            print(f"{one.name:21} {one.title}")
        return
    load(data, warn)  # what is wrong with it is said before the work
    with writing(out):
        folder.prepare(out)
    done = 0
    names = [one.name for one in experiments]
    print(f"trying {', '.join(names)}", flush=True)
    findings = run_several(names, seed=seed, fast=fast, data=data, processes=os.cpu_count() or 1)
    try:
        for finding in findings:
            with writing(out):
                folder.keep(finding, out)
            done += 1
            print(f"{finding.name:21} {finding.verdict} ({finding.seconds:.0f} s)", flush=True)
    except KeyboardInterrupt:
        warn(f"stopped: {done} of {len(names)} findings stand in {out}")
        raise typer.Exit(130) from None
    print(f"{out / folder.INDEX}")
