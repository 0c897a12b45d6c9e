"""Which of the processes that train together this one is, as ``torchrun`` tells it."""

import os
import time
from datetime import timedelta

import torch.distributed as dist

from lamina.errors import RunError

TIMEOUT = timedelta(minutes=5)
"""A rank that hangs is an error after this, not a wait for ever."""
ATTEMPTS = 5
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


def join(backend: str, wait: float = 1.0) -> None:
    """Find the other ranks, if there are any; try again, later each time, where that fails.

    Args:
        backend: ``"gloo"`` or ``"nccl"``.
        wait: seconds before the second attempt; twice as long before each further one.

    Raises:
        RunError: they were not found.
    """
    if ranks() == 1 or dist.is_initialized():
        return
    for attempt in range(ATTEMPTS):
        try:
            dist.init_process_group(backend, timeout=TIMEOUT)
            return
        except dist.DistError as error:  # type: ignore[attr-defined, unused-ignore]
            reason = error
        time.sleep(wait * 2**attempt)
    raise RunError(
        f"rank {rank()} of {ranks()} did not find the others in {ATTEMPTS} attempts "
        f"({str(reason).splitlines()[0]}); torchrun --max-restarts 3 starts them again"
    )
