"""Claims about layers, tried: each with theory's prediction, a figure and a verdict by a rule.

``lamina.lab.run("dropout-overfitting")`` returns a `Finding`; ``lamina lab`` writes findings as
JSON, figure and page. An experiment is one file of ``experiments``; its rule stands in it, before
its measurements.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from time import perf_counter

import torch

from lamina._version import __version__
from lamina.errors import InputError, closest
from lamina.lab.protocol import Experiment, Setting
from lamina.lab.tools.data import Images, load
from lamina.ops.tuning.machine import processor
from lamina.report.finding.records import Finding

__all__ = ["NAMES", "SEEDS", "Finding", "experiment", "run"]

NAMES = (
    "conv2d-sees",
    "conv2d-complexity",
    "batchnorm-gradients",
    "pooling-resolution",
    "separable-cost",
    "dropout-overfitting",
    "dense-head",
    "two-dialects",
    "compound-scaling",
)
"""Of the experiments, in reading order."""

SEEDS = 5
"""Repetitions of an experiment."""


def experiment(name: str) -> Experiment:
    """Return an experiment by name.

    Raises:
        InputError: no experiment has this name.
    """
    if name not in NAMES:
        raise InputError(
            f"experiment: expected one of {', '.join(NAMES)}, got {name!r}"
            f"{closest(name, list(NAMES))}"
        )
    found: Experiment = import_module(f"lamina.lab.experiments.{name.replace('-', '_')}").EXPERIMENT
    return found


def run(
    name: str,
    *,
    seed: int = 0,
    fast: bool = False,
    data: str | Images = "digits",
    warn: Callable[[str], None] = print,
) -> Finding:
    """Run an experiment over five seeds and judge its claim.

    Args:
        name: one of `NAMES`.
        seed: the first of the seeds; the others follow it.
        fast: smaller sizes, for a look in half a minute.
        data: ``"digits"``, a folder of images with a sub-folder per class, or `Images`.
        warn: gets a line for a file that is no image.

    Returns:
        The finding, made on one thread. Of two runs with one seed on one machine, what is no time
        is equal.

    Raises:
        InputError: no such experiment, or data that cannot be used.
    """
    tried = experiment(name)
    images = load(data, warn) if isinstance(data, str) else data
    seeds: Sequence[int] = range(seed, seed + SEEDS)
    start = perf_counter()
    with torch.random.fork_rng(devices=[]), _one_thread():
        outcome = tried.measure(Setting(tuple(seeds), fast, images))
        machine = _machine()
    return Finding(
        name=name,
        title=tried.title,
        claim=tried.claim,
        source=tried.source,
        theory=tried.theory,
        method=tried.method,
        judgements=[criterion.applied(outcome.results) for criterion in tried.criteria],
        results=outcome.results,
        chart=outcome.chart,
        seeds=list(seeds),
        fast=fast,
        data=f"{images.name}, {images.size[0]}×{images.size[1]} pixels",
        seconds=perf_counter() - start,
        machine=machine,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Networks this small gain nothing by more, and lose much where another process runs."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _machine() -> dict[str, str]:
    return {
        "processor": processor(),
        "threads": str(torch.get_num_threads()),
        "torch": torch.__version__,
        "lamina": __version__,
        "Python": platform.python_version(),
    }
