"""The commands that time layers and algorithms on this machine."""

from pathlib import Path
from typing import Annotated

import typer

from lamina.cli.common import require_kernels, warn, write
from lamina.errors import InputError

bench = typer.Typer(help="Time layers and networks on this machine; leave it idle meanwhile.")


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
        write(out, layer_rows.to_json(machine, rows))
    if markdown is not None:
        write(markdown, to_markdown(layer_rows.table(machine, rows)))


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
    require_kernels("algorithms")
    if growth:
        from lamina.bench.figures import growth_figure

        found = measure_growth(
            measure_machine(), seconds=seconds, on_growth=lambda one: print(line(one), flush=True)
        )
        if figure is not None:
            conditions = ("processor", "threads", "instruction set")
            known = facts()
            where = ", ".join(f"{name} {known[name]}" for name in conditions)
            write(figure, growth_figure(found, where))
        return
    machine, rows = lab.benchmark_algorithms(
        lab.GRID if grid else lab.NETWORKS,
        layout=layout,
        seconds=seconds,
        on_row=lambda row: print(lab.line(row), flush=True),
    )
    print(lab.summary(rows))
    if out is not None:
        write(out, lab.to_json(machine, rows))
    if markdown is not None:
        write(markdown, to_markdown(lab.table(machine, rows)))


@bench.command()
def networks(
    chosen: Annotated[
        str | None, typer.Option("--networks", help="Some alone, with commas: resnet18,vgg16.")
    ] = None,
    cases: Annotated[
        str | None, typer.Option(help="Of inference-16, inference-1 and training.")
    ] = None,
    sides: Annotated[
        str | None, typer.Option(help="Some alone: torch-compile,lamina-optimize,openvino say.")
    ] = None,
    rounds: Annotated[int, typer.Option(help="Turns of each side in a case.")] = 9,
    threads: Annotated[
        int | None, typer.Option(help="Of each side.  [default: the processor's cores]")
    ] = None,
    peers: Annotated[
        Path | None,
        typer.Option(
            help="An environment's python that has ONNX Runtime and OpenVINO.", metavar="PYTHON"
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file.")] = None,
    markdown: Annotated[
        Path | None, typer.Option("--markdown", help="Write the tables to this file.")
    ] = None,
    figure: Annotated[Path | None, typer.Option(help="Draw them to this SVG file.")] = None,
) -> None:
    """Time whole networks against PyTorch, torch.compile, ONNX Runtime and OpenVINO."""
    from lamina.bench import network_rows
    from lamina.bench.network_cases import plan
    from lamina.bench.network_figure import network_figure
    from lamina.bench.networks import benchmark_networks
    from lamina.inspector.command import check_out
    from lamina.report.table import to_markdown, to_text

    asked = plan(chosen, cases, sides, rounds, threads, peers)
    check_out(out, markdown, figure)
    known, rows = benchmark_networks(
        asked, on_row=lambda row: print(network_rows.line(row), flush=True), say=warn
    )
    tables = network_rows.table(known, rows), network_rows.means_table(rows)
    print("", *map(to_text, tables), sep="\n\n")
    if out is not None:
        write(out, network_rows.to_json(known, rows))
    if markdown is not None:
        write(markdown, "\n\n".join(map(to_markdown, tables)) + "\n")
    if figure is not None:
        write(figure, network_figure(known, rows))
