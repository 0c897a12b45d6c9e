"""How near their limits the convolutions' algorithms run on this machine: measured once, kept.

The first convolution that is large enough for the choice to matter has a few dozen small ones
timed, which takes seconds, and the figures are written to the cache folder, where the next
process finds them. Until then, and wherever measuring is out of place, shipped figures decide; so
they do for good where measuring failed, until somebody asks for it anew.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import threading
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from lamina._version import __version__
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
        failed: when measuring failed on a busy machine, in ISO 8601; else None.
    """

    machines: Mapping[Pass, Machine]
    measured: str | None = None
    file: Path | None = None
    failed: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, which `from_dict` reads."""
        machines = {pass_: asdict(machine) for pass_, machine in self.machines.items()}
        return {"measured": self.measured, "failed": self.failed, "machines": machines}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any], file: Path | None = None) -> Calibration:
        """Read what `to_dict` wrote.

        Raises:
            ValueError: a figure out of its range.
            TypeError: a figure of another type, or unknown.
            KeyError: a pass that is missing.
        """
        machines: dict[Pass, Machine] = {
            pass_: Machine(**values["machines"][pass_]) for pass_ in MACHINES
        }
        dates = {name: values.get(name) for name in ("measured", "failed")}
        if not all(date is None or isinstance(date, str) for date in dates.values()):
            raise TypeError(f"expected dates as text, got {dates}")
        return cls(machines, file=file, **dates)


def known_for(problem: Problem) -> Calibration:
    """The figures in force for this problem; a large one has the machine calibrated first.

    Nothing is measured while somebody traces, compiles or watches, in a forked child, or without
    kernels.
    """
    if _only is not None:
        return _only
    known = _known.get(problem.threads)
    if known is None or (known is SHIPPED and problem.macs >= LARGE and _may_measure()):
        known = _find(problem.threads, measuring=problem.macs >= LARGE and _may_measure())
    return known


def in_force(threads: int) -> Calibration | None:
    """The figures that decide with so many threads just now; None before the first question."""
    return _only or _known.get(threads)


def machine(problem: Problem) -> Machine:
    """The machine as this problem's pass meets it; measured as for ``known_for``."""
    return known_for(problem).machines[problem.pass_]


def current() -> Calibration:
    """The figures in force with as many threads as PyTorch has now; measures nothing."""
    threads = torch.get_num_threads()
    return _only or _known.get(threads) or _find(threads, measuring=False)


def settled() -> Calibration:
    """The figures that decide from now on, in this process and in later ones, with these threads.

    Measured now unless that was done, or tried in vain, before: whoever wants the same numbers
    from the same program tomorrow asks for this before the first layer runs.
    """
    return _only or _find(torch.get_num_threads(), measuring=_may_measure())


@contextmanager
def only(figures: Calibration) -> Iterator[None]:
    """Have these figures decide, whatever the number of threads; nothing is measured meanwhile."""
    global _only
    before, _only = _only, figures
    try:
        yield
    finally:
        _only = before


def calibrate() -> Calibration:
    """Measures anew, in a few seconds, and keeps the figures for the processes to come.

    On a machine that is too busy for that what was known before stays.
    """
    with _lock:
        return _measure(torch.get_num_threads())


def conditions(threads: int) -> dict[str, str | int]:
    """Everything that the figures depend on."""
    return {
        "processor": processor(),
        "threads": threads,
        "instruction set": native.instruction_set() or "none",
        "torch": str(torch.__version__),
        "lamina": __version__,
        "model": model(threads),
    }


SHIPPED = Calibration(MACHINES)


# ---- what is known in this process --------------------------------------------------------------

_known: dict[int, Calibration] = {}  # by number of threads
_only: Calibration | None = None
_TOO_BUSY = (
    "lamina: the machine was too busy to time convolutions; shipped figures choose their "
    "algorithms from now on, until `lamina doctor --calibrate` finds it idle"
)
_lock = threading.Lock()
_in_child = False


def _find(threads: int, *, measuring: bool) -> Calibration:
    with _lock:
        known = _known.get(threads)
        if known is None or known is SHIPPED:  # another process may have measured since
            known = _known[threads] = _read(threads) or SHIPPED
        if known is SHIPPED and measuring and threads == torch.get_num_threads():
            known = _measure(threads)
            if known.failed:
                warnings.warn(_TOO_BUSY, RuntimeWarning, stacklevel=2)
        return known


def _measure(threads: int) -> Calibration:
    machines = measure()
    now = datetime.now(UTC).isoformat(timespec="seconds")
    if machines is not None:
        found = Calibration(machines, now)
    else:
        found = _known.get(threads) or _read(threads) or SHIPPED
        if found.measured is None:
            # Kept as well: the processes to come would try again, and choose otherwise after.
            found = replace(found, failed=now)
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


def _path(fingerprint: dict[str, str | int]) -> Path:
    digest = hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()
    return folder() / f"calibration-{digest[:16]}.json"


def _read(threads: int) -> Calibration | None:
    """What is kept for this machine; None where there is nothing, or nothing that can be read."""
    fingerprint = conditions(threads)
    try:
        path = _path(fingerprint)
        kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if kept["fingerprint"] != fingerprint:
            return None
        return Calibration.from_dict(kept, path)
    except (OSError, RuntimeError, ValueError, TypeError, KeyError, AttributeError):
        return None


def _write(found: Calibration, threads: int) -> Calibration:
    """Keeps it where that is possible; the file appears whole or not at all."""
    fingerprint = conditions(threads)
    kept = {"fingerprint": fingerprint, **found.to_dict()}
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
    return replace(found, file=path)
