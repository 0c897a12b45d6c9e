"""How near their limits the convolutions' algorithms run on this machine: measured once, kept.

The first convolution that is large enough for the choice to matter has a few dozen small ones
timed, which takes seconds, and the figures are written to the cache folder, where the next
process finds them. Until then, and wherever measuring is out of place, shipped figures decide.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from lamina.ops.runtime import native
from lamina.ops.tuning.machine import processor
from lamina.ops.tuning.shipped import MACHINES
from lamina.ops.tuning.timing import measure, model
from lamina.theory.conv2d_problem import Pass, Problem
from lamina.theory.limits import Machine

LARGE = 20_000_000
"""MACs from which a convolution is worth a measurement: the wrong algorithm costs it more than a
tenth of a millisecond."""


@dataclass(frozen=True, eq=False)
class Calibration:
    """The machine as each pass of a convolution meets it; one equals itself alone.

    Args:
        machines: by pass.
        measured: when, in ISO 8601; None for the figures that are shipped.
        file: where it is kept; None where it is in no file.
    """

    machines: Mapping[Pass, Machine]
    measured: str | None = None
    file: Path | None = None


def known_for(problem: Problem) -> Calibration:
    """The figures in force for this problem; a large one has the machine calibrated first.

    Nothing is measured while somebody traces, compiles or watches, in a forked child, or without
    kernels.
    """
    known = _known.get(problem.threads)
    if known is None or (known is SHIPPED and problem.macs >= LARGE and _may_measure()):
        known = _find(problem.threads, measuring=problem.macs >= LARGE and _may_measure())
    return known


def machine(problem: Problem) -> Machine:
    """The machine as this problem's pass meets it; measured as for ``known_for``."""
    return known_for(problem).machines[problem.pass_]


def current() -> Calibration:
    """The figures in force with as many threads as PyTorch has now; measures nothing."""
    threads = torch.get_num_threads()
    return _known.get(threads) or _find(threads, measuring=False)


def calibrate() -> Calibration:
    """Measures anew, in a few seconds, and keeps the figures for the processes to come.

    On a machine that is too busy for that what was known before stays.
    """
    with _lock:
        return _measure(torch.get_num_threads())


SHIPPED = Calibration(MACHINES)


# ---- what is known in this process --------------------------------------------------------------

_known: dict[int, Calibration] = {}  # by number of threads
_lock = threading.Lock()
_in_child = False


def _find(threads: int, *, measuring: bool) -> Calibration:
    with _lock:
        known = _known.get(threads)
        if known is None:
            known = _known[threads] = _read(threads) or SHIPPED
        if known is SHIPPED and measuring and threads == torch.get_num_threads():
            known = _measure(threads)
        return known


def _measure(threads: int) -> Calibration:
    machines = measure()
    if machines is None:  # this process does not try again of itself: hence no longer SHIPPED
        known = _known.get(threads) or _read(threads) or SHIPPED
        _known[threads] = replace(known)
        return _known[threads]
    found = Calibration(machines, datetime.now(UTC).isoformat(timespec="seconds"))
    _known[threads] = found = _write(found, threads)
    return found


def _may_measure() -> bool:
    # Nor where somebody watches or traces: what is timed there may be fake tensors.
    return bool(native.kernels) and not _in_child and native.runs_directly(())


def _after_fork() -> None:
    global _in_child, _lock
    _in_child, _lock = True, threading.Lock()


os.register_at_fork(after_in_child=_after_fork)


# ---- the file -----------------------------------------------------------------------------------


def folder() -> Path:
    """Where it is kept: ``$LAMINA_CACHE``, else ``lamina`` in the user's folder for caches."""
    chosen = os.environ.get("LAMINA_CACHE")
    if chosen:
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "lamina"


def _fingerprint(threads: int) -> dict[str, str | int]:
    """Of everything that the figures depend on."""
    from lamina._version import __version__

    return {
        "processor": processor(),
        "threads": threads,
        "instruction set": native.instruction_set() or "none",
        "torch": str(torch.__version__),
        "lamina": __version__,
        "model": model(threads),
    }


def _path(fingerprint: dict[str, str | int]) -> Path:
    digest = hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()
    return folder() / f"calibration-{digest[:16]}.json"


def _read(threads: int) -> Calibration | None:
    """What is kept for this machine; None where there is nothing, or nothing that can be read."""
    fingerprint = _fingerprint(threads)
    try:
        path = _path(fingerprint)
        kept = json.loads(path.read_text(encoding="utf-8"))
        if kept["fingerprint"] != fingerprint:
            return None
        machines: dict[Pass, Machine] = {
            pass_: Machine(**kept["machines"][pass_]) for pass_ in SHIPPED.machines
        }
        return Calibration(machines, str(kept["measured"]), path)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write(found: Calibration, threads: int) -> Calibration:
    """Keeps it where that is possible; the file appears whole or not at all."""
    fingerprint = _fingerprint(threads)
    machines = {pass_: asdict(machine) for pass_, machine in found.machines.items()}
    kept: dict[str, Any] = {
        "fingerprint": fingerprint,
        "measured": found.measured,
        "machines": machines,
    }
    try:
        path = _path(fingerprint)
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(
            "w", dir=path.parent, suffix=".tmp", delete=False, encoding="utf-8"
        ) as file:
            try:
                json.dump(kept, file, indent=1)
                file.flush()
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
    except (OSError, RuntimeError):  # RuntimeError: no home folder
        return found
    return Calibration(found.machines, found.measured, path)
