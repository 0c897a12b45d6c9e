"""What this machine can do at most, measured on the spot.

Source: Williams, Waterman and Patterson, "Roofline" (2009), section 3.
"""

from __future__ import annotations

import functools
import platform
from pathlib import Path
from time import perf_counter

import torch
import torch.nn.functional as F

from lamina.ops.runtime import native
from lamina.theory.limits import Machine

_SIDE = 1024  # of the matrices: 12 MB, work for 15 ms at 150 GFLOP/s
_COPIED = 64 << 20  # bytes: more than any last cache of a desktop
_ROUNDS = 6
_ENOUGH = 8e-3  # seconds of arithmetic in which starting the threads does not count


def measure(*, again: bool = False) -> Machine:
    """Peak and bandwidth of the CPU with as many threads as PyTorch has now.

    The peak is that of fused multiply-adds that never leave the registers, the bandwidth that of
    a copy past the caches, its reads and writes both counted, of PyTorch's copy or of reading
    alone, whichever is the highest; each the best of several rounds. Without kernels the peak is
    the highest of PyTorch's products. Measured once per process and number of threads, in about a
    third of a second; ``again`` measures once more, and the higher figures stand from then on:
    another program's burst lowers them, nothing raises them.

    Example:
        >>> measure().peak_flops > 1e8
        True
    """
    threads = torch.get_num_threads()
    known = _known.get(threads)
    if known is None or again:
        with torch.no_grad():
            found = Machine(peak_flops=_peak(), bandwidth=bandwidth())
        known = _known[threads] = found if known is None else _higher(known, found)
    return known


_known: dict[int, Machine] = {}  # by number of threads


def _higher(a: Machine, b: Machine) -> Machine:
    return Machine(max(a.peak_flops, b.peak_flops), max(a.bandwidth, b.bandwidth))


def _peak() -> float:
    if not native.kernels:
        return _pytorchs_peak()

    def seconds_of(rounds: int) -> float:
        start = perf_counter()
        native.kernels.roofline_multiply_add(rounds)
        return perf_counter() - start

    rounds = 1000
    while min(seconds_of(rounds) for _ in range(3)) < _ENOUGH:  # one may be another program's
        rounds *= 2
    best = 0.0
    for _ in range(2 * _ROUNDS):
        start = perf_counter()
        flops, _ = native.kernels.roofline_multiply_add(rounds)
        best = max(best, flops / (perf_counter() - start))
    return best


def _pytorchs_peak() -> float:
    """The faster of its matrix product and its convolution.

    They come from different libraries, which need not use the same instructions: on some
    processors convolutions reach twice as much.
    """
    left, right = _ones(_SIDE, _SIDE), _ones(_SIDE, _SIDE)
    product = torch.empty_like(left)
    image, kernels = _ones(1, 256, 28, 28), _ones(256, 256, 3, 3)
    image, kernels = (t.contiguous(memory_format=torch.channels_last) for t in (image, kernels))
    best = 0.0
    for _ in range(_ROUNDS):
        start = perf_counter()
        torch.mm(left, right, out=product)
        middle = perf_counter()
        result = F.conv2d(image, kernels, padding=1)
        stop = perf_counter()
        flops = 2 * kernels[0].numel() * result.numel()
        best = max(best, 2 * _SIDE**3 / (middle - start), flops / (stop - middle))
    return best


def _ones(*shape: int) -> torch.Tensor:
    """Whatever the defaults of the caller are."""
    return torch.ones(shape, dtype=torch.float32, device="cpu")


def bandwidth() -> float:
    """Bytes per second past the caches, ``measure``'s, but measured anew in a tenth of a second.

    On a machine that others share it can be half or twice of what it was a minute ago.

    Example:
        >>> bandwidth() > 1e8
        True
    """
    source = _ones(_COPIED // 4)
    target = torch.empty_like(source)
    size = source.numel()
    best = 0.0
    for _ in range(_ROUNDS):
        start = perf_counter()
        target.copy_(source)
        best = max(best, 2 * _COPIED / (perf_counter() - start))
        if native.kernels:
            start = perf_counter()
            native.kernels.roofline_copy(source, size, target)
            middle = perf_counter()
            native.kernels.roofline_sum(target, size)  # the copy left it in no cache
            stop = perf_counter()
            best = max(best, 2 * _COPIED / (middle - start), _COPIED / (stop - middle))
    return best


_EXCHANGED = 512 << 10  # bytes of a thread: they fit a core's own caches


def exchange() -> float | None:
    """Bytes per second that a thread has of what another one wrote last; measured anew.

    Where the cores share no cache, as those of two chiplets, it is a third of what it else is, and
    a virtual machine's can be moved from one to the other. None without kernels or with one
    thread.

    Example:
        >>> exchange() is None or exchange() > 1e8
        True
    """
    threads, rounds = torch.get_num_threads(), 32
    if not native.kernels or threads == 1:
        return None
    data = _ones(threads * _EXCHANGED // 4)
    best = 0.0
    for _ in range(_ROUNDS):
        start = perf_counter()
        native.kernels.roofline_exchange(data, data.numel(), rounds)
        best = max(best, rounds * _EXCHANGED / (perf_counter() - start))
    return best


_CACHED = 2 << 20  # bytes read, and written: more than a core's own caches, less than the last


@functools.cache
def last_cache() -> tuple[int, float]:
    """Bytes of the last cache, and bytes per second of a copy within it, both sides counted.

    Where the system does not tell the size, 8 MiB.
    """
    source = _ones(_CACHED // 4)
    target = torch.empty_like(source)
    best = 0.0
    for _ in range(10 * _ROUNDS):
        start = perf_counter()
        target.copy_(source)
        best = max(best, 2 * _CACHED / (perf_counter() - start))
    return _last_cache_bytes(), best


def _last_cache_bytes() -> int:
    sizes = [8 << 20]
    for size in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size"):
        digits, unit = size.read_text().strip()[:-1], size.read_text().strip()[-1:]
        if digits.isdigit() and unit in "KM":
            sizes.append(int(digits) << (10 if unit == "K" else 20))
    return max(sizes)


def processor() -> str:
    """The processor's name as the system gives it."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
