"""What measures the machine does the work that it counts."""

import pytest
import torch

from lamina.ops.runtime import native
from lamina.ops.tuning import machine
from lamina.theory.limits import Machine

needs_kernels = pytest.mark.skipif(not native.kernels, reason="no compiler")


@needs_kernels
def test_multiply_add_counts_every_thread():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        flops, accumulated = native.kernels.roofline_multiply_add(1000)
        torch.set_num_threads(3)
        assert native.kernels.roofline_multiply_add(1000) == (3 * flops, accumulated)
    finally:
        torch.set_num_threads(before)
    assert flops % 2000 == 0 and accumulated == 2.0


@needs_kernels
def test_copy_and_sum():
    x, y = torch.randn(1_000_003), torch.zeros(1_000_003)
    native.kernels.roofline_copy(x, x.numel(), y)
    assert torch.equal(x, y)
    total = native.kernels.roofline_sum(x, x.numel())
    assert abs(total - x.double().sum()) <= 1e-6 * x.abs().sum()


@needs_kernels
def test_exchange_adds_once_a_round():
    x = torch.arange(100_003.0)
    native.kernels.roofline_exchange(x, x.numel(), 5)
    assert torch.equal(x, torch.arange(100_003.0) + 5)


@needs_kernels
def test_one_thread_exchanges_with_nobody():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        assert machine.exchange() > 0
        torch.set_num_threads(1)
        assert machine.exchange() is None
    finally:
        torch.set_num_threads(before)


def test_without_kernels_pytorchs_own_are_timed(monkeypatch):
    monkeypatch.setattr(native, "kernels", None)
    monkeypatch.setattr(machine, "_known", {})
    measured = machine.measure()
    assert isinstance(measured, Machine) and measured.ridge > 0


def test_a_busy_moment_does_not_stand(monkeypatch):
    monkeypatch.setattr(machine, "_known", {})
    peaks, bandwidths = iter((3e9, 2e9, 4e9)), iter((10e9, 20e9, 15e9))
    monkeypatch.setattr(machine, "_peak", lambda: next(peaks))
    monkeypatch.setattr(machine, "bandwidth", lambda: next(bandwidths))
    assert machine.measure() == machine.measure() == Machine(3e9, 10e9)
    assert machine.measure(again=True) == Machine(3e9, 20e9)
    assert machine.measure(again=True) == machine.measure() == Machine(4e9, 20e9)
