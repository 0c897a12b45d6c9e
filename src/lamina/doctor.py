"""What lamina found on this machine, what it uses, and what falls back to PyTorch's ops."""

from __future__ import annotations

import platform
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from lamina._version import __version__
from lamina.extras import EXTRAS, missing, require, version
from lamina.ops.runtime import memory, native
from lamina.ops.tuning import calibration
from lamina.ops.tuning.machine import processor
from lamina.report.table import Column, Table, to_terminal
from lamina.report.units import binary_bytes, percent, si

if TYPE_CHECKING:
    from rich.console import Console

KINDS = (
    "conv2d",
    "depthwise_conv2d",
    "separable_conv2d",
    "batch_norm2d",
    "pool2d",
    "dropout",
    "dense",
    "activation",
    "squeeze_excite",
)
_MADE_OF = {
    "dense": "conv2d's pointwise kernel, PyTorch's product where that is faster",
    "squeeze_excite": "pool2d, then dense and activation",
}
_DISTRIBUTIONS = ("torch", "numpy", *sorted(set().union(*EXTRAS.values())))


@dataclass(frozen=True)
class Diagnosis:
    """The facts of one machine.

    Args:
        versions: by name; "not installed" where absent.
        extras: for each extra, the packages that it lacks here.
        processor: its name.
        instruction_set: the one in use, None without kernels.
        instruction_sets: compiled ones, and whether this processor runs each.
        kinds: for each kind of layer, what runs it, and why.
        openmp: the OpenMP runtimes in this process, by file.
        threads: of PyTorch, which the kernels use too.
        memory: the pool that outputs come from; None where there is none.
        convolutions: when the choice of their algorithm was calibrated, where that is kept, the
            machine's limits, and what share of them each stage reaches, by pass.
        remarks: what should be looked at.
    """

    versions: dict[str, str]
    extras: dict[str, list[str]]
    processor: str
    instruction_set: str | None
    instruction_sets: dict[str, bool]
    kinds: dict[str, str]
    openmp: list[str]
    threads: int
    memory: memory.MemoryStatistics | None
    convolutions: dict[str, Any]
    remarks: list[str]


def diagnose() -> Diagnosis:
    """Look at this process and this machine.

    Raises:
        MissingExtraError: without ``lamina[cli]``, whose packages look for OpenMP runtimes.
    """
    require("cli", "lamina.doctor")
    from threadpoolctl import threadpool_info

    openmp = sorted(
        {pool["filepath"] for pool in threadpool_info() if pool["user_api"] == "openmp"}
    )
    remarks = []
    if native.reason_for_absence:
        remarks.append(f"native kernels {native.reason_for_absence}")
    if len(openmp) > 1:
        remarks.append(
            f"{len(openmp)} OpenMP runtimes in one process: their threads compete for the cores"
        )
    return Diagnosis(
        versions={"lamina": __version__, "Python": platform.python_version()}
        | {name: version(name) for name in _DISTRIBUTIONS},
        extras={extra: missing(extra) for extra in EXTRAS},
        processor=processor(),
        instruction_set=native.instruction_set(),
        instruction_sets=native.instruction_sets(),
        kinds={kind: _served_by(kind) for kind in KINDS},
        openmp=openmp,
        threads=torch.get_num_threads(),
        memory=memory.statistics(),
        convolutions=_convolutions(calibration.current()),
        remarks=remarks,
    )


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Print the facts as tables."""

    def pairs(title: str, name: str, value: str, rows: dict[str, Any]) -> None:
        columns = (Column("name", name), Column("value", value))
        lines = [{"name": key, "value": fact} for key, fact in rows.items()]
        console.print(to_terminal(Table(columns, lines, title=title)))

    pairs("Versions", "Package", "Version", diagnosis.versions)
    absent = {
        f"lamina[{extra}]": f"without {', '.join(packages)}" if packages else "installed"
        for extra, packages in diagnosis.extras.items()
    }
    pairs("Extras", "Extra", "State", absent)
    runs = {
        name: ("in use" if name == diagnosis.instruction_set else "runs here")
        if here
        else "not on this processor"
        for name, here in diagnosis.instruction_sets.items()
    }
    pairs(
        "Machine",
        "Fact",
        "Value",
        {
            "processor": diagnosis.processor,
            "threads": diagnosis.threads,
            "OpenMP": "\n".join(map(_within_the_path, diagnosis.openmp)) or "none loaded",
        }
        | {f"instruction set {name}": fact for name, fact in runs.items()},
    )
    pairs("Memory for outputs", "Fact", "Value", _memory_facts(diagnosis.memory))
    pairs("Choice of a convolution's algorithm", "Fact", "Value", _choice(diagnosis.convolutions))
    console.print(to_terminal(_shares(diagnosis.convolutions)))
    pairs("Layers, float32 on the CPU", "Kind", "Run by", diagnosis.kinds)
    console.print(
        "Other types, other devices, function transforms and forward-mode differentiation run on "
        "PyTorch's ops, with the same results."
    )
    for remark in diagnosis.remarks:
        console.print(f"warning: {remark}", style="yellow", markup=False)


def _memory_facts(pool: memory.MemoryStatistics | None) -> dict[str, str]:
    if pool is None:
        return {"allocator": "PyTorch's: this system offers no huge pages, or there are no kernels"}
    return {
        "allocator": "lamina's pool, for 64 KiB and more; of huge pages above 512 KiB",
        "in use": binary_bytes(pool.in_use),
        "waiting for reuse": f"{binary_bytes(pool.cached)}, at most {binary_bytes(pool.limit)}",
        "requests": f"{pool.hits} found a block waiting, {pool.misses} took fresh memory",
    }


def _convolutions(found: calibration.Calibration) -> dict[str, Any]:
    return {
        "measured": found.measured,
        "failed": found.failed,
        "file": str(found.file) if found.file else None,
        "limits": {
            "peak_flops": found.machines["forward"].peak_flops,
            "bandwidth": found.machines["forward"].bandwidth,
            "exchange": found.machines["forward"].exchange,
        },
        "shares": {pass_: dict(machine.efficiency) for pass_, machine in found.machines.items()},
        "overheads": {pass_: dict(machine.overhead) for pass_, machine in found.machines.items()},
    }


def _choice(convolutions: dict[str, Any]) -> dict[str, str]:
    if convolutions["measured"]:
        limits = convolutions["limits"]
        return {
            "calibrated": convolutions["measured"],
            "peak": si(limits["peak_flops"], "FLOP/s"),
            "bandwidth": si(limits["bandwidth"], "B/s"),
            "between cores": si(limits["exchange"], "B/s"),
            "kept in": convolutions["file"] or "this process: the cache folder is not writable",
        }
    if convolutions["failed"]:
        return {
            "calibrated": f"the machine was too busy on {convolutions['failed']}: by the figures "
            "that are shipped, until lamina doctor --calibrate finds it idle"
        }
    return {
        "calibrated": "not yet: a large convolution does it, or lamina doctor --calibrate; "
        "until then by the figures that are shipped"
    }


def _shares(convolutions: dict[str, Any]) -> Table:
    """A row for each stage, and one for what a call of the algorithm takes beside them."""
    passes = tuple(convolutions["shares"])
    rows: dict[tuple[str, str], dict[str, str]] = {}
    for pass_ in passes:
        for algorithm, seconds in convolutions["overheads"][pass_].items():
            rows.setdefault((algorithm, "a call"), {})[pass_] = f"{1e6 * seconds:.1f} µs"
            for name, share in convolutions["shares"][pass_].items():
                owner, _, stage = name.partition(".")
                if owner == algorithm:
                    rows.setdefault((algorithm, stage), {})[pass_] = percent(share, 0)
    columns = (
        Column("algorithm", "Algorithm"),
        Column("stage", "Stage"),
        *(Column(pass_, pass_.replace("_", " "), align="right") for pass_ in passes),
    )
    lines = [
        {"algorithm": algorithm, "stage": stage.replace("_", " "), **cells}
        for (algorithm, stage), cells in rows.items()
    ]
    return Table(columns, lines, title="Its stages: share of the machine's limit")


def _served_by(kind: str) -> str:
    if kind in native.kinds():
        return f"lamina's kernel ({native.instruction_set()})"
    if native.reason_for_absence:
        return "PyTorch's op: no kernels are loaded"
    if kind in _MADE_OF:
        return f"made of {_MADE_OF[kind]}"
    return "PyTorch's op: no kernel for this kind"


def _within_the_path(file: str) -> str:
    """A file as it is called where Python finds it; whole if it lies elsewhere."""
    folders = [folder for folder in sys.path if folder and file.startswith(f"{folder}/")]
    return file[len(max(folders, key=len)) + 1 :] if folders else file
