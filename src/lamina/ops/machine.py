"""What this machine can do at most, measured on the spot.

Source: Williams, Waterman and Patterson, "Roofline" (2009), section 3.
"""

from __future__ import annotations

from functools import cache
from time import perf_counter

import torch

from lamina.ops import native
from lamina.theory.limits import Machine

_SIDE = 1024  # of the matrices: 12 MB, work for 15 ms at 150 GFLOP/s
_COPIED = 64 << 20  # bytes: more than any last cache of a desktop
_ROUNDS = 6
_ENOUGH = 2e-3  # seconds of arithmetic in which starting the threads does not count


def measure() -> Machine:
    """Peak and bandwidth of the CPU with as many threads as PyTorch has now.

    The peak is that of fused multiply-adds that never leave the registers, the bandwidth that of
    a copy past the caches, its reads and writes both counted, of PyTorch's copy or of reading
    alone, whichever is the highest; each the best of several rounds. Without kernels the peak is
    that of PyTorch's matrix product. Measured once per process and number of threads, in about a
    third of a second.

    Example:
        >>> measure().peak_flops > 1e8
        True
    """
    return _measure(torch.get_num_threads())


@cache
def _measure(threads: int) -> Machine:
    with torch.no_grad():
        return Machine(peak_flops=_peak(), bandwidth=_bandwidth())


def _peak() -> float:
    if not native.kernels:
        return _product_rate()
    rounds, seconds = 1000, 0.0
    while seconds < _ENOUGH:
        rounds *= 2
        start = perf_counter()
        native.kernels.roofline_multiply_add(rounds)
        seconds = perf_counter() - start
    best = 0.0
    for _ in range(2 * _ROUNDS):
        start = perf_counter()
        flops, _ = native.kernels.roofline_multiply_add(rounds)
        best = max(best, flops / (perf_counter() - start))
    return best


def _product_rate() -> float:
    left, right = torch.ones(_SIDE, _SIDE), torch.ones(_SIDE, _SIDE)
    product = torch.empty(_SIDE, _SIDE)
    best = 0.0
    for _ in range(_ROUNDS):
        start = perf_counter()
        torch.mm(left, right, out=product)
        best = max(best, 2 * _SIDE**3 / (perf_counter() - start))
    return best


def _bandwidth() -> float:
    source = torch.ones(_COPIED // 4)
    target = torch.empty_like(source)
    read, size, written = source.data_ptr(), source.numel(), target.data_ptr()
    best = 0.0
    for _ in range(_ROUNDS):
        start = perf_counter()
        target.copy_(source)
        best = max(best, 2 * _COPIED / (perf_counter() - start))
        if native.kernels:
            start = perf_counter()
            native.kernels.roofline_copy(read, size, written)
            middle = perf_counter()
            native.kernels.roofline_sum(written, size)  # the copy left it in no cache
            stop = perf_counter()
            best = max(best, 2 * _COPIED / (middle - start), _COPIED / (stop - middle))
    return best
