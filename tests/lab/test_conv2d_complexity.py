"""How a convolution's time grows: the rule on planted clocks, the formulas, one real run."""

import math
from itertools import product

import numpy as np
import pytest
import torch

from lamina.lab.experiments import conv2d_complexity as lab
from lamina.lab.protocol import Setting
from lamina.lab.tools.data import load
from lamina.ops.tuning.timing import Case, problem_of
from lamina.report.finding.records import Measurement
from lamina.theory.complexity import evaluate
from lamina.theory.conv2d_algorithms import complexity, cost
from lamina.theory.limits import Machine

MACHINE = Machine(peak_flops=100e9, bandwidth=20e9)
MEMORY = "channels are many enough to fill registers and to use a value often"
SUM = "the sum is taken term by term"


@pytest.fixture
def known_machine(monkeypatch):
    monkeypatch.setattr(lab.machine, "measure", lambda: MACHINE)


def by_clock(monkeypatch, clock, *, fast=True):
    """The outcome where a side takes the seconds that a clock says."""
    monkeypatch.setattr(
        lab,
        "times",
        lambda setting, seed: {
            (group, side): clock(*side)
            for group, sides in lab.sweeps(setting.fast).items()
            for side in sides
        },
    )
    return lab.measure(Setting((0, 1), fast, load()))


def unmet(results):
    judged = [criterion.applied(results) for criterion in lab.EXPERIMENT.criteria]
    return [one.limit or one.statement for one in judged if not one.holds]


def of_operations(algorithm, case):
    return 2e-11 * lab.fewer(algorithm, case) * problem_of(case, "forward").macs


def of_theory(algorithm, case):
    return max(of_operations(algorithm, case), lab.limit(case) if algorithm == "direct" else 0.0)


@pytest.mark.parametrize("fast", [True, False])
def test_by_the_formulas_clock_it_holds_within_its_limits(known_machine, monkeypatch, fast):
    results = by_clock(monkeypatch, of_theory, fast=fast).results
    assert unmet(results) == [MEMORY, SUM]
    assert [results[name].predicted for name in lab.EXPONENTS] == [1, 1, 1, 1, 2]


def test_a_clock_that_counts_products_alone_finds_the_exact_powers(known_machine, monkeypatch):
    results = by_clock(
        monkeypatch, lambda _, case: 1e-11 * problem_of(case, "forward").macs
    ).results
    for name in lab.EXPONENTS:
        assert results[name].median == pytest.approx(results[name].predicted, rel=1e-9)
    assert unmet(results) == []


@pytest.mark.parametrize(
    "clock",
    [
        lambda _, case: 1e-3,
        lambda _, case: of_theory(_, case._replace(kernel_size=1)),
        lambda _, case: of_theory(_, case) * case.pixels,
        lambda _, case: of_theory(_, case) * math.sqrt(case.inputs),
    ],
    ids=["constant", "any kernel alike", "each pixel", "each channel"],
)
def test_other_powers_turn_the_verdict(known_machine, monkeypatch, clock):
    results = by_clock(monkeypatch, lambda name, case: clock("direct", case)).results
    assert lab.EXPERIMENT.criteria[0].statement in unmet(results)


class Idle(lab.Conv2d):
    """A layer that computes nothing."""

    def forward(self, x):
        return x.new_empty(self.output_shape(x.shape))


def test_a_layer_that_computes_nothing_turns_the_verdict(monkeypatch):
    monkeypatch.setattr(lab, "Conv2d", Idle)
    results = lab.measure(Setting((0,), True, load())).results
    assert lab.EXPERIMENT.criteria[0].statement in unmet(results)


def test_a_sweep_changes_one_size_and_sides_serve_their_windows():
    for fast in (True, False):
        sweeps = lab.sweeps(fast)
        for symbol, size in lab.GROWING.items():
            cases = [case for name, case in sweeps[symbol] if name == "direct"]
            assert len({size(case) for case in cases}) == len(cases) >= 3
            for other in set(lab.GROWING) - {symbol}:
                assert len({lab.GROWING[other](case) for case in cases}) == 1
        problems = [problem_of(case, "forward") for _, case in sweeps["memory"]]
        assert len({problem.inputs + problem.outputs for problem in problems}) == 1


@pytest.mark.parametrize(
    ("algorithm", "size"), [*product(("direct", "im2col", "fft"), (3, 11)), ("winograd", 5)]
)
def test_what_is_timed_is_the_convolution(algorithm, size):
    torch.manual_seed(1)
    timed = lab.call((algorithm, Case(2, 3, 4, 9, size)))
    layer, (x,) = timed.func, timed.args
    expected = torch.nn.functional.conv2d(x.double(), layer.weight.double(), padding=size // 2)
    assert layer.algorithm == algorithm
    torch.testing.assert_close(timed().double(), expected, rtol=1e-4, atol=1e-5)


def test_operations_are_those_of_the_theory():
    case = Case(4, 64, 64, 28)
    sizes = {"N": 4, "C": 64, "M": 64, "H": 28, "W": 28, "K": 3, "stride": 1, "groups": 1}
    expected = evaluate(complexity("winograd_4x4"), **sizes) / evaluate(
        complexity("direct"), **sizes
    )
    assert lab.fewer("winograd", case) == pytest.approx(expected, rel=0.05)
    problem = problem_of(case._replace(kernel_size=11), "forward")
    assert lab.fewer("fft", case._replace(kernel_size=11)) == (
        cost("fft", problem).flops / cost("direct", problem).flops
    )


def test_the_limit_is_the_slower_of_arithmetic_and_memory(known_machine):
    few, many = Case(16, 4, 4, 32, 1), Case(16, 512, 512, 32, 3)
    moved = 4 * (2 * 16 * 4 * 32 * 32 + 16)
    assert lab.limit(few) == pytest.approx(moved / 20e9)
    assert lab.limit(many) == pytest.approx(2 * problem_of(many, "forward").macs / 100e9)


@pytest.mark.slow
def test_on_this_machine_it_holds():
    """The powers are of the layer, not of the clock: wide enough for a busy machine."""
    outcome = lab.measure(Setting(range(5), True, load()))
    assert all(isinstance(one, Measurement) for one in outcome.results.values())
    assert np.isfinite([v for one in outcome.results.values() for v in one.values]).all()
    assert lab.EXPERIMENT.criteria[0].applied(outcome.results).holds, outcome.results
