"""Several experiments at once, each in a process of its own: one takes one thread."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from contextlib import contextmanager
from functools import partial
from multiprocessing.connection import wait

from lamina.lab import Finding, run


def run_several(
    names: Sequence[str], *, seed: int, fast: bool, data: str, processes: int
) -> Iterator[Finding]:
    """Run experiments and give each finding as it is made.

    Args:
        names: of `lamina.lab.NAMES`.
        seed: as for `lamina.lab.run`, like the next two.
        fast: smaller sizes.
        data: ``"digits"`` or a folder.
        processes: at a time.

    Raises:
        InputError: as `lamina.lab.run`.
    """
    trial = partial(run, seed=seed, fast=fast, data=data, warn=_silently)
    if processes == 1 or len(names) == 1:
        yield from map(trial, names)
        return
    # Spawned: a forked process would have this one's threads without their stacks.
    context = multiprocessing.get_context("spawn")
    count = min(processes, len(names))
    with ProcessPoolExecutor(count, context, initializer=_end_with_parent) as pool:
        with _children_deaf_to_interrupts():
            made = [pool.submit(trial, name) for name in names]
        try:
            for one in as_completed(made):
                yield one.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            for process in multiprocessing.active_children():
                process.terminate()
                process.join()
            raise


def _end_with_parent() -> None:
    """End this process when the one that started it has: it may be killed and tell nobody."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_end_after, args=(parent.sentinel,), daemon=True).start()


def _end_after(sentinel: int) -> None:
    wait([sentinel])
    os._exit(1)


@contextmanager
def _children_deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal; this one alone answers, and ends the others."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _silently(line: str) -> None:
    """Whoever asked has heard of the data's files before."""
