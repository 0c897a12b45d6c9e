"""The calibration's fit, its file, and when nothing is measured."""

import json
import os
import stat
import subprocess
import sys
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch

from lamina import ops
from lamina.ops.runtime import native
from lamina.ops.tuning import calibration, fit, timing
from lamina.theory import conv2d as theory
from lamina.theory import conv2d_algorithms
from lamina.theory.conv2d_problem import PASSES
from lamina.theory.limits import Machine

SMALL = theory.problem((1, 8, 8, 8), 8, 3, padding=1, threads=2)
LARGE = theory.problem((16, 64, 56, 56), 64, 3, padding=1, threads=2)
MEASURED = {
    pass_: Machine(1e11, 1e10, overhead={"direct": 1e-5}, efficiency={"direct.product": 0.25})
    for pass_ in PASSES
}


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch):
    """A process that has read nothing, with a folder of its own, whose clock is not asked."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setenv("LAMINA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(calibration, "_known", {})
    runs = []
    monkeypatch.setattr(calibration, "measure", lambda: runs.append(1) or MEASURED)
    monkeypatch.setattr(native, "kernels", native.kernels or object())
    yield runs
    torch.set_num_threads(before)


def forget(monkeypatch):
    monkeypatch.setattr(calibration, "_known", {})


def only_file():
    (path,) = calibration.folder().iterdir()
    return path


def test_a_large_convolution_measures_once_and_the_next_process_reads(fresh, monkeypatch):
    assert calibration.machine(SMALL) == calibration.SHIPPED.machines["forward"]
    assert not fresh
    assert calibration.machine(LARGE) == MEASURED["forward"]
    assert calibration.machine(SMALL) == MEASURED["forward"]
    assert len(fresh) == 1
    forget(monkeypatch)
    for case in (SMALL, LARGE, LARGE.of("weight_gradient")):
        assert calibration.machine(case) == MEASURED[case.pass_]
    assert len(fresh) == 1
    assert calibration.current().file == only_file()


def test_calibrate_measures_anew(fresh):
    for _ in range(2):
        found = calibration.calibrate()
    assert len(fresh) == 2 and found.measured is not None
    assert json.loads(only_file().read_text())["measured"] == found.measured


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '"x"',
        '{"fingerprint":{}}',
        "\x00\xff",
        "foreign",
        "no machines",
        "share of 2",
        "unknown field",
    ],
)
def test_an_unreadable_or_foreign_file_is_measured_over(fresh, monkeypatch, text):
    calibration.calibrate()
    path = only_file()
    kept = json.loads(path.read_text())
    if text == "foreign":
        kept["fingerprint"]["processor"] = "another"
    elif text == "no machines":
        kept["machines"] = {}
    elif text == "share of 2":
        kept["machines"]["forward"]["efficiency"]["direct.product"] = 2.0
    elif text == "unknown field":
        kept["machines"]["forward"]["colour"] = "red"
    path.write_text(json.dumps(kept) if " " in text or text == "foreign" else text, "latin-1")
    forget(monkeypatch)
    assert calibration.machine(SMALL) == calibration.SHIPPED.machines["forward"]
    assert calibration.machine(LARGE) == MEASURED["forward"]
    assert len(fresh) == 2
    assert json.loads(path.read_text())["machines"]["forward"]["peak_flops"] == 1e11


def test_a_folder_that_cannot_be_made_leaves_the_figures_in_the_process(fresh, tmp_path):
    calibration.folder().write_text("a file")
    assert calibration.machine(LARGE) == MEASURED["forward"]
    assert calibration.current().file is None
    assert calibration.machine(LARGE) == MEASURED["forward"]
    assert len(fresh) == 1


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(fresh):
    calibration.folder().mkdir()
    calibration.folder().chmod(stat.S_IRUSR | stat.S_IXUSR)
    assert calibration.machine(LARGE) == MEASURED["forward"]
    assert calibration.current().file is None


def test_no_half_written_file_is_left(fresh, monkeypatch):
    calibration.calibrate()
    assert [path.suffix for path in calibration.folder().iterdir()] == [".json"]

    def fails(*args, **kwargs):
        raise OSError("no space left")

    monkeypatch.setattr(calibration.Path, "replace", fails)
    assert calibration.calibrate().file is None
    assert [path.suffix for path in calibration.folder().iterdir()] == [".json"]


def test_a_busy_machine_keeps_what_was_known_and_is_not_asked_twice(fresh, monkeypatch):
    calls = []
    monkeypatch.setattr(calibration, "measure", lambda: calls.append(1))
    with pytest.warns(RuntimeWarning, match="too busy to time convolutions") as said:
        for _ in range(3):
            assert calibration.machine(LARGE) == calibration.SHIPPED.machines["forward"]
            forget(monkeypatch)  # the next process knows that it was tried
    assert len(calls) == len(said) == 1
    assert calibration.current().failed and calibration.current().measured is None
    monkeypatch.setattr(calibration, "measure", lambda: MEASURED)
    assert calibration.calibrate().machines == MEASURED
    monkeypatch.setattr(calibration, "measure", lambda: None)
    assert calibration.calibrate().machines == MEASURED


def test_settling_measures_once_for_all_processes_whatever_they_compute(fresh, monkeypatch):
    assert calibration.machine(SMALL) == calibration.SHIPPED.machines["forward"]
    for _ in range(3):
        assert calibration.settled().machines == MEASURED
        assert calibration.machine(SMALL) == MEASURED["forward"]
        forget(monkeypatch)
    assert len(fresh) == 1


def test_what_another_process_measured_meanwhile_is_taken(fresh):
    assert calibration.current() is calibration.SHIPPED
    here = dict(calibration._known)
    calibration._known.clear()
    calibration.settled()  # the other process
    calibration._known.clear()
    calibration._known.update(here)
    assert calibration.machine(LARGE) == MEASURED["forward"]
    assert len(fresh) == 1


def test_only_these_figures_decide_for_a_while(fresh):
    with calibration.only(calibration.SHIPPED):
        assert calibration.machine(LARGE) == calibration.SHIPPED.machines["forward"]
        assert calibration.settled() is calibration.current() is calibration.SHIPPED
    assert not fresh
    assert calibration.machine(LARGE) == MEASURED["forward"]


def test_figures_are_read_back():
    figures = calibration.Calibration(MEASURED, "2026-01-01T00:00:00+00:00")
    back = calibration.Calibration.from_dict(json.loads(json.dumps(figures.to_dict())))
    assert (back.machines, back.measured, back.failed) == (MEASURED, figures.measured, None)
    with pytest.raises(TypeError, match="expected dates as text"):
        calibration.Calibration.from_dict(figures.to_dict() | {"measured": 3})


def test_times_that_follow_no_model_are_none(monkeypatch):
    def machine_seen(again=False):  # at first in a busy moment
        return Machine(500e9 if again else 1e9, 60e9)

    monkeypatch.setattr(timing.machine, "measure", machine_seen)
    monkeypatch.setattr(timing.machine, "last_cache", lambda: (32 << 20, 190e9))
    rng = np.random.default_rng(0)

    def times(noise):
        return {
            pass_: {
                "direct": [
                    (cost, 1e-5 + noise() * cost.predicted_time(Machine(400e9, 40e9)))
                    for cost in (
                        conv2d_algorithms.cost("direct", timing.problem_of(case, pass_))
                        for case in timing.CASES
                    )
                ]
            }
            for pass_ in PASSES
        }

    monkeypatch.setattr(timing, "_times", lambda: times(lambda: 1.0))
    assert timing.measure() is not None
    monkeypatch.setattr(timing, "_times", lambda: times(lambda: 10 ** rng.uniform(0, 3)))
    assert timing.measure() is None


def test_another_number_of_threads_is_another_machine(fresh):
    calibration.machine(LARGE)
    alone = replace(LARGE, threads=1)
    assert calibration.machine(alone) == calibration.SHIPPED.machines["forward"]  # not the current
    torch.set_num_threads(1)
    assert calibration.machine(alone) == MEASURED["forward"]
    assert len(fresh) == 2 and len(list(calibration.folder().iterdir())) == 2


def without_a_stage(monkeypatch):
    onednn = conv2d_algorithms.onednn

    def fewer(problem):
        counted = onednn(problem)
        return replace(counted, stages=counted.stages[1:])

    monkeypatch.setitem(conv2d_algorithms.PYTORCHS, "onednn", fewer)


def without_strides(monkeypatch):
    why_not = conv2d_algorithms.why_not

    def more(algorithm, problem):
        strided = algorithm != "direct" and problem.stride != (1, 1)
        return "stride must be 1" if strided else why_not(algorithm, problem)

    monkeypatch.setattr(conv2d_algorithms, "why_not", more)


def without_an_algorithm(monkeypatch):
    monkeypatch.setattr(timing.kernels, "ALGORITHMS", ("direct", "winograd_4x4"))


@pytest.mark.parametrize("older", [without_a_stage, without_strides, without_an_algorithm])
def test_figures_of_another_model_are_not_read(fresh, older):
    with pytest.MonkeyPatch.context() as patch:
        older(patch)
        calibration.calibrate()
    assert calibration.folder().is_dir()
    calibration._known.clear()
    assert calibration.current() is calibration.SHIPPED
    assert calibration.machine(LARGE) == MEASURED["forward"]
    assert len(fresh) == 2


def test_threads_measure_once(fresh):
    workers = [threading.Thread(target=calibration.machine, args=(LARGE,)) for _ in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(fresh) == 1


def test_nothing_is_measured_while_compiling_or_without_kernels(fresh, monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert calibration.machine(LARGE) == calibration.SHIPPED.machines["forward"]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: False)
    monkeypatch.setattr(native, "kernels", None)
    assert calibration.machine(LARGE) == calibration.SHIPPED.machines["forward"]
    assert not fresh


def test_a_forked_child_measures_nothing():
    program = """
import os, torch
from lamina.ops.tuning import calibration
from lamina.theory import conv2d
def never(): raise SystemExit("measured in a child")
calibration.measure = never
child = os.fork()
if child == 0:
    case = conv2d.problem((16, 64, 56, 56), 64, 3, padding=1, threads=torch.get_num_threads())
    assert calibration.machine(case) == calibration.SHIPPED.machines["forward"]
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("LAMINA_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert calibration.folder() == tmp_path / "lamina"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert calibration.folder() == tmp_path / ".cache" / "lamina"


def test_least_squares_keeps_its_bounds():
    rng = np.random.default_rng(0)
    matrix = rng.random((30, 3))
    exact = np.array([0.0, 1.5, 4.0])
    lowest = [0.0, 1.0, 1.0]
    found = fit.least_squares(matrix, matrix @ exact, lowest)
    np.testing.assert_allclose(found, exact, atol=1e-6)
    bounded = fit.least_squares(matrix, matrix @ np.array([0.5, 0.2, 2.0]), lowest)
    assert bounded[1] == 1.0 and (bounded >= lowest).all()


def test_the_fit_finds_what_made_the_times():
    limits = Machine(500e9, 60e9, 24 << 20, 190e9)
    truth = replace(
        limits,
        overhead={"direct": 7e-6},
        efficiency={"direct.pack": 0.5, "direct.gather": 0.1, "direct.product": 0.8},
    )
    cases = [timing.problem_of(case, "forward") for case in timing.CASES]
    costs = [conv2d_algorithms.cost("direct", case) for case in cases]
    fitted = fit.fit({"direct": [(c, c.predicted_time(truth)) for c in costs]}, limits)
    assert fitted.overhead["direct"] == pytest.approx(7e-6, rel=0.05)
    for name, share in truth.efficiency.items():
        assert fitted.efficiency[name] == pytest.approx(share, rel=0.05)


@pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")
def test_measuring_reaches_every_algorithm_and_pass(monkeypatch):
    small = (
        timing.Case(1, 16, 16, 8),
        timing.Case(1, 8, 24, 9, 1, 2),
        timing.Case(1, 8, 24, 9, 1),
    )
    monkeypatch.setattr(timing, "CASES", small)
    random = torch.get_rng_state()
    monkeypatch.setattr(timing, "_SCATTER", float("inf"))  # however busy it is here
    with torch.device("meta"):  # whatever the caller's defaults are
        found = timing.measure()
    assert torch.equal(torch.get_rng_state(), random)
    for machine in found.values():
        measured = {"onednn", "direct", "winograd_4x4", "winograd_2x2", "matrix_product"}
        assert set(machine.overhead) == {*measured, timing.AROUND}
        assert {name.partition(".")[0] for name in machine.efficiency} == {
            *measured, "im2col", "fft",
        }  # fmt: skip


@pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")
def test_the_first_large_call_calibrates_and_the_result_is_right(fresh):
    x, weight = torch.randn(4, 64, 28, 28), torch.randn(64, 64, 3, 3)
    y = ops.conv2d(x, weight, padding=1)
    assert len(fresh) == 1
    expected = torch.nn.functional.conv2d(x, weight, padding=1)
    torch.testing.assert_close(y, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.skipif(native.kernels is None, reason="no compiler")
def test_it_can_be_measured_for_a_call_in_inference_mode(monkeypatch):
    monkeypatch.setattr(timing, "_SCATTER", float("inf"))  # busy or not
    monkeypatch.setattr(timing, "_SECONDS", 0.0)  # one sweep
    with torch.inference_mode():
        found = timing.measure()
        assert torch.is_inference_mode_enabled()
    assert all(timing.AROUND in machine.overhead for machine in found.values())
