"""Which of the processes that train together this one is, as ``torchrun`` tells it."""

import os


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
