"""Which of the processes that train together this one is, as ``torchrun`` tells it."""

import os
import time
from datetime import timedelta

import torch.distributed as dist
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from lamina.errors import RunError
from lamina.ops.runtime.torch_private import set_timeout_of_collectives

TIMEOUT = timedelta(minutes=5)
"""A rank that hangs is an error after this, not a wait for ever."""
ATTEMPTS = 4
"""To find the other ranks: right after a restart the first ones may fail."""


def rank() -> int:
    """Return this process's number among `ranks`; 0 where it trains alone."""
    return int(os.environ.get("RANK", "0"))


def ranks() -> int:
    """Return how many processes train together."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def ranks_here() -> int:
    """Return how many of them are on this machine."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", "1"))


def restarted() -> bool:
    """Tell whether ``torchrun`` started these processes again after one was lost."""
    return os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"


def join(backend: str, patience: float = 5.0) -> None:
    """Find the other ranks, if there are any; where that fails, try again, more patiently.

    Gloo's ranks can miss each other right after a restart, and would wait for ever.

    Args:
        backend: ``"gloo"`` or ``"nccl"``.
        patience: seconds that a connection may take in the first attempt; twice as many in each
            further one.

    Raises:
        RunError: they were not found.
    """
    if ranks() == 1 or dist.is_initialized():
        return
    reason = ""
    store, _, _ = next(rendezvous("env://", rank(), ranks(), timeout=TIMEOUT))
    for attempt in range(ATTEMPTS):
        # Addresses that a failed attempt left behind lead nowhere.
        fresh = PrefixStore(f"attempt {attempt}", store)
        _wait_for_all(fresh)
        limit = timedelta(seconds=patience * 2**attempt)
        fresh.set_timeout(limit)
        try:
            dist.init_process_group(
                backend, store=fresh, rank=rank(), world_size=ranks(), timeout=limit
            )
        except RuntimeError as error:
            reason = str(error).partition("\n")[0]
            continue
        fresh.set_timeout(TIMEOUT)
        set_timeout_of_collectives(TIMEOUT)
        return
    raise RunError(
        f"rank {rank()} of {ranks()} did not find the others in {ATTEMPTS} attempts "
        f"({reason}); torchrun --max-restarts 3 starts them again"
    )


def _wait_for_all(store: Store) -> None:
    """Begin an attempt together: a rank whose last one failed early waits for the others."""
    store.add("arrived", 1)
    end = time.monotonic() + TIMEOUT.total_seconds()
    while store.add("arrived", 0) < ranks():
        if time.monotonic() > end:
            raise RunError(f"rank {rank()} of {ranks()} waited {TIMEOUT} for the others in vain")
        time.sleep(0.02)
