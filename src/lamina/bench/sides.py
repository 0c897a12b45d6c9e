"""A side of the networks' benchmark, seen from the process that asks it: started, asked, ended."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any, Self

from lamina.bench import worker
from lamina.bench.network_cases import RUNTIMES

ENVIRONMENT = {
    "KMP_BLOCKTIME": "10",  # milliseconds that Intel's and LLVM's OpenMP spin; 200 by themselves
    "OMP_DYNAMIC": "false",
}
"""What is the same for all sides, beside the number of threads. GNU's OpenMP spins for some
milliseconds by itself, unless a policy is set: those that the user set are taken away."""

_USERS_OWN = (
    "GOMP_CPU_AFFINITY",
    "GOMP_SPINCOUNT",
    "KMP_AFFINITY",
    "OMP_PROC_BIND",
    "OMP_WAIT_POLICY",
    "THP_MEM_ALLOC_ENABLE",
)

LIMIT = 1800.0
"""Seconds after which an answer is not waited for any longer."""


class FailedError(RuntimeError):
    """A side that cannot go on; the message is its row's reason."""


@dataclass
class Side:
    """A side's process, and what its turns took: seconds of every call, turn by turn."""

    name: str
    process: subprocess.Popen[str]
    log: Path
    ready: dict[str, Any] = field(default_factory=dict)
    turns: list[list[float]] = field(default_factory=list)
    faults: int = 0
    peak_memory: int = 0
    reason: str = ""

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """Send a line, and read the answer's.

        Raises:
            FailedError: the process has ended, or says why it cannot.
        """
        assert self.process.stdin is not None and self.process.stdout is not None
        late = Timer(LIMIT, self.process.kill)
        late.start()
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            in_time = late.is_alive()
            late.cancel()
        if not line:
            raise FailedError(self._last_words() if in_time else f"no answer in {LIMIT:.0f} s")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise FailedError(answer["error"])
        return answer

    def turn(self, calls: int) -> None:
        """Time a few calls, and keep what they took."""
        answer = self.ask({"calls": calls})
        self.turns.append(answer["seconds"])
        self.faults += answer["faults"]
        self.peak_memory = answer["peak_memory"]

    def _last_words(self) -> str:
        code = self.process.wait()
        said = self.log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        ended = f"killed by signal {-code}" if code < 0 else f"left with {code}"
        return f"{ended}: {said[-1]}" if said else ended

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.kill()
        self.process.wait()
        with suppress(BrokenPipeError):  # what it did not read any more
            self.process.stdin.close()
        self.process.stdout.close()


def command(side: str, peers: Path | None) -> list[str]:
    """What starts a side's process: the runtimes' in their environment, isolated from this one."""
    if side in RUNTIMES:
        return [str(peers), "-I", worker.__file__]
    return [sys.executable, "-m", "lamina.bench.torch_worker"]


def start(side: str, threads: int, peers: Path | None, folder: Path) -> Side:
    """Start a side's process; its caches and what it prints lie in the folder."""
    log = folder / f"{side}.log"
    environment = {name: value for name, value in os.environ.items() if name not in _USERS_OWN}
    environment |= ENVIRONMENT | {
        "OMP_NUM_THREADS": str(threads),
        # Nothing that an earlier run compiled: the time to compile is a figure.
        "TORCHINDUCTOR_CACHE_DIR": str(folder / f"{side}-inductor"),
    }
    with log.open("w", encoding="utf-8") as errors:
        process = subprocess.Popen(
            command(side, peers),
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            encoding="utf-8",
        )
    return Side(side, process, log)
