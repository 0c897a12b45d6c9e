"""The roofline by hand."""

import math

import pytest

from lamina.theory import batch_norm2d, conv2d, limits
from lamina.theory.cost import Cost
from lamina.theory.limits import Machine

MACHINE = Machine(peak_flops=200e9, bandwidth=20e9)


def test_the_slower_of_the_two_decides():
    arithmetic, memory = Cost(macs=10**9, bytes_read=10**6), Cost(macs=10, bytes_written=10**9)
    assert limits.time_limit(arithmetic, MACHINE) == 2 * 10**9 / 200e9
    assert limits.time_limit(memory, MACHINE) == 10**9 / 20e9
    assert limits.bound_by(arithmetic, MACHINE) == "arithmetic"
    assert limits.bound_by(memory, MACHINE) == "memory"


def test_kinds_fall_on_their_side_of_the_ridge():
    shape = (16, 64, 56, 56)
    assert limits.bound_by(conv2d.cost(shape, 64, 3, padding=1), MACHINE) == "arithmetic"
    assert limits.bound_by(batch_norm2d.cost(shape, training=True), MACHINE) == "memory"


def test_cache_serves_what_fits_it():
    machine = Machine(200e9, 20e9, cache_bytes=1000, cache_bandwidth=100e9)
    assert limits.memory_time(Cost(bytes_read=1000), machine) == 1000 / 100e9
    assert limits.memory_time(Cost(bytes_read=1001), machine) == 1001 / 20e9


def test_fraction_of_limit():
    assert limits.fraction_of_limit(Cost(bytes_read=20_000_000), MACHINE, 0.004) == 0.25
    with pytest.raises(ValueError, match=r"^seconds must be a finite number above 0, got 0$"):
        limits.fraction_of_limit(Cost(), MACHINE, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"peak_flops": 0}, "peak_flops must be a finite number above 0, got 0"),
        ({"bandwidth": math.nan}, "bandwidth must be a finite number above 0, got nan"),
        ({"cache_bytes": -1}, "cache_bytes must be a non-negative integer, got -1"),
        ({"cache_bandwidth": -1.0}, "cache_bandwidth must be a finite number above 0, got -1.0"),
        (
            {"overhead": {"fft": math.inf}},
            "overhead of 'fft' must be finite and not negative, got inf",
        ),
        ({"efficiency": {"fft": 1.5}}, r"efficiency of 'fft' must be in \(0, 1\], got 1.5"),
    ],
)
def test_refuses(change, message):
    with pytest.raises(ValueError, match=f"^{message}$"):
        Machine(**({"peak_flops": 1e9, "bandwidth": 1e9} | change))
