"""What lamina found on this machine, what it uses, and what falls back to PyTorch's ops."""

import platform
import sys
from dataclasses import dataclass
from typing import Any

import torch
from rich.console import Console
from threadpoolctl import threadpool_info

from lamina import __version__
from lamina.ops import memory, native
from lamina.report.table import Column, Table, to_terminal
from lamina.report.units import binary_bytes
from lamina.train.environment import processor, version

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
    "separable_conv2d": "depthwise_conv2d, then conv2d",
    "squeeze_excite": "pool2d, then dense and activation",
}
_DISTRIBUTIONS = ("torch", "lightning", "numpy", "keras", "safetensors", "scikit-learn", "pillow")


@dataclass(frozen=True)
class Diagnosis:
    """The facts of one machine.

    Args:
        versions: by name; "not installed" where absent.
        processor: its name.
        instruction_set: the one in use, None without kernels.
        instruction_sets: compiled ones, and whether this processor runs each.
        kinds: for each kind of layer, what runs it, and why.
        openmp: the OpenMP runtimes in this process, by file.
        threads: of PyTorch, which the kernels use too.
        memory: the pool that outputs come from; None where there is none.
        remarks: what should be looked at.
    """

    versions: dict[str, str]
    processor: str
    instruction_set: str | None
    instruction_sets: dict[str, bool]
    kinds: dict[str, str]
    openmp: list[str]
    threads: int
    memory: memory.MemoryStatistics | None
    remarks: list[str]


def diagnose() -> Diagnosis:
    """Look at this process and this machine."""
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
        processor=processor(),
        instruction_set=native.instruction_set(),
        instruction_sets=native.instruction_sets(),
        kinds={kind: _served_by(kind) for kind in KINDS},
        openmp=openmp,
        threads=torch.get_num_threads(),
        memory=memory.statistics(),
        remarks=remarks,
    )


def show(diagnosis: Diagnosis, console: Console) -> None:
    """Print the facts as tables."""

    def pairs(title: str, name: str, value: str, rows: dict[str, Any]) -> None:
        columns = (Column("name", name), Column("value", value))
        lines = [{"name": key, "value": fact} for key, fact in rows.items()]
        console.print(to_terminal(Table(columns, lines, title=title)))

    pairs("Versions", "Package", "Version", diagnosis.versions)
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
        "allocator": "lamina's pool of huge pages, for 1 MiB and more",
        "in use": binary_bytes(pool.in_use),
        "waiting for reuse": f"{binary_bytes(pool.cached)}, at most {binary_bytes(pool.limit)}",
        "requests": f"{pool.hits} found a block waiting, {pool.misses} took fresh memory",
    }


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
