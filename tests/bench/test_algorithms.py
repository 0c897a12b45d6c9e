"""The algorithms' benchmark: its bookkeeping, its figure; no time is tested."""

import json
from xml.etree import ElementTree

import pytest

from lamina.bench import algorithms as lab
from lamina.bench import exponents
from lamina.bench.figures import growth_figure
from lamina.ops.runtime import native
from lamina.ops.tuning.timing import Case
from lamina.theory.conv2d_problem import PASSES
from lamina.theory.limits import Machine

MACHINE = Machine(500e9, 60e9)
needs_kernels = pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")


def row(direction, algorithm, measured, slowdown, chosen):
    return lab.Row(*Case(1, 8, 8, 9), "nchw", direction, algorithm, 5, measured, 0.0, 1.0, 1.0,
                   1.0, slowdown, chosen)  # fmt: skip


def test_the_grid_is_wide_and_has_no_shape_twice():
    assert len(lab.GRID) >= 60 and len(set(lab.GRID)) == len(lab.GRID)
    assert {case.kernel_size for case in lab.GRID} == {1, 3, 5, 7}
    assert any(case.inputs != case.outputs and case.stride == 2 for case in lab.GRID)


def test_regret_is_what_the_choice_costs_over_the_fastest():
    rows = [
        row("forward", "direct", 2.0, 2.0, True),
        row("forward", "onednn", 1.0, 1.0, False),
        row("weight_gradient", "direct", 1.05, 1.05, True),
        row("weight_gradient", "im2col", 1.0, 1.0, False),
    ]
    assert lab.regrets(rows) == [2.0, 1.05]
    assert "in 1 of 2 cases (50.0%)" in lab.summary(rows)
    assert "100% at worst" in lab.summary(rows)
    kept = json.loads(lab.to_json(MACHINE, rows))
    assert kept["summary"] == lab.summary(rows) and len(kept["rows"]) == 4
    assert len(lab.table(MACHINE, rows).rows) == 4


@needs_kernels
@pytest.mark.parametrize("layout", ["nchw", "channels_last"])
def test_every_algorithm_that_serves_is_measured(monkeypatch, layout):
    monkeypatch.setattr(lab.calibration, "calibrate", lambda: None)
    monkeypatch.setattr(lab, "_BEYOND_HOPE", float("inf"))
    seen = []
    case, strided = Case(1, 8, 8, 9), Case(1, 8, 12, 9, 3, 2)
    _, rows = lab.benchmark_algorithms(
        (case, strided), layout=layout, seconds=1e-9, on_row=seen.append
    )
    assert seen == rows
    for shape, names in (
        (case, {"onednn", "direct", "winograd_4x4", "winograd_2x2", "im2col", "fft"}),
        (strided, {"onednn", "direct", "winograd_4x4", "winograd_2x2", "im2col"}),
    ):
        for direction in PASSES:
            found = [r for r in rows if r.direction == direction and r.stride == shape.stride]
            assert {r.algorithm for r in found} == names
            assert sum(r.chosen for r in found) == 1
            assert min(r.slowdown for r in found) == 1.0
            assert all(r.measured_ms > 0 and r.predicted_ms > 0 and lab.line(r) for r in found)


@needs_kernels
def test_what_is_beyond_hope_is_left_out_but_never_a_candidate(monkeypatch):
    monkeypatch.setattr(lab.calibration, "calibrate", lambda: None)
    monkeypatch.setattr(lab, "_BEYOND_HOPE", 0.0)
    _, rows = lab.benchmark_algorithms((Case(1, 8, 8, 9),), seconds=1e-9)
    assert {row.algorithm for row in rows} == set(lab.choice.CANDIDATES)


def test_what_is_far_behind_is_called_twice():
    import time

    calls = {"fast": 0, "slow": 0}

    def side(name, seconds):
        def call():
            calls[name] += 1
            time.sleep(seconds)
            return

        return call

    times = lab.rounds({"fast": side("fast", 0.0), "slow": side("slow", 0.05)}, seconds=1e-9)
    assert len(times["slow"]) == 2 and calls["slow"] == 3  # one to warm up
    assert len(times["fast"]) == 5


@needs_kernels
def test_growth_fits_every_size_and_draws_it(monkeypatch):
    small = {
        "C": tuple(Case(1, c, 8, 8) for c in (8, 16, 32)),
        "H·W": tuple(Case(1, 8, 8, p) for p in (8, 16, 24)),
        "K": tuple(Case(1, 8, 8, 12, k) for k in (3, 5)),
    }
    monkeypatch.setattr(exponents, "SWEEPS", small)
    found = exponents.growth(MACHINE, seconds=1e-9)
    assert [(one.symbol, one.algorithm, one.expected) for one in found] == [
        ("C", "direct", 1.0),
        ("C", "winograd_4x4", 1.0),
        ("H·W", "direct", 1.0),
        ("H·W", "winograd_4x4", 1.0),
        ("K", "direct", 2.0),
    ]
    assert found[2].sizes == (64, 256, 576)
    assert all(exponents.line(one) for one in found)
    picture = ElementTree.fromstring(growth_figure(found, "two cores"))
    assert "two cores" in "".join(picture.itertext())
    curves = [e for e in picture.iter() if e.tag.endswith("path")]
    assert len(curves) == 6  # two algorithms and the limit, in two panels
