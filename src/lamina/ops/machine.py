"""What this machine can do at most, measured on the spot.

Source: Williams, Waterman and Patterson, "Roofline" (2009), section 3.
"""

from __future__ import annotations

from functools import cache
from time import perf_counter

import torch

from lamina.theory.limits import Machine

_SIDE = 1024  # of the matrices: 12 MB, work for 15 ms at 150 GFLOP/s
_COPIED = 64 << 20  # bytes: more than any last cache of a desktop
_ROUNDS = 8


def measure() -> Machine:
    """Peak and bandwidth of the CPU with as many threads as PyTorch has now.

    The peak is that of a float32 matrix product, the bandwidth that of a copy, its reads and
    writes both counted; each the best of several rounds. Measured once per process and number of
    threads, in about a third of a second.

    Example:
        >>> measure().peak_flops > 1e8
        True
    """
    return _measure(torch.get_num_threads())


@cache
def _measure(threads: int) -> Machine:
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        left, right = torch.rand(_SIDE, _SIDE), torch.rand(_SIDE, _SIDE)
        product = torch.empty(_SIDE, _SIDE)
        source = torch.ones(_COPIED // 4)
        target = torch.empty_like(source)
        peak = bandwidth = 0.0
        for _ in range(_ROUNDS):
            start = perf_counter()
            torch.mm(left, right, out=product)
            middle = perf_counter()
            target.copy_(source)
            stop = perf_counter()
            peak = max(peak, 2 * _SIDE**3 / (middle - start))
            bandwidth = max(bandwidth, 2 * _COPIED / (stop - middle))
    return Machine(peak_flops=peak, bandwidth=bandwidth)
