"""Which algorithm auto takes: by the machine alone, within what numerics allow."""

from dataclasses import replace

import pytest

from lamina import set_numerics
from lamina.ops.tuning import calibration, choice, timing
from lamina.theory import conv2d as theory
from lamina.theory.conv2d_problem import PASSES
from lamina.theory.limits import Machine

CASE = theory.problem((4, 64, 28, 28), 64, 3, padding=1, threads=2)
STRIDED = theory.problem((4, 256, 28, 28), 256, 3, 2, padding=1, threads=2)


def on(monkeypatch, **shares):
    """A machine that reaches these shares and next to nothing of any other algorithm."""
    slow = dict.fromkeys(choice.CANDIDATES, 0.001)
    machine = Machine(500e9, 60e9, efficiency={**slow, **shares})
    machines = dict.fromkeys(PASSES, machine)
    known = calibration.Calibration(machines, "now")
    monkeypatch.setattr(calibration, "_known", {CASE.threads: known})


@pytest.mark.parametrize("name", choice.CANDIDATES)
@pytest.mark.parametrize("case", [CASE, STRIDED], ids=["stride 1", "stride 2"])
def test_the_machine_decides(monkeypatch, name, case):
    for pass_ in PASSES:
        on(monkeypatch, **{name: 1.0})
        assert [choice.choose(case.of(pass_)) for _ in range(3)] == [name] * 3


def on_passes(monkeypatch, around, **seconds):
    """A machine on which a pass takes what its algorithm's call does, and ours something more."""
    machines = {
        pass_: Machine(
            1e18,
            1e18,
            overhead={
                **dict.fromkeys(choice.CANDIDATES, 1.0),
                **{name: of_pass[i] for name, of_pass in seconds.items()},
                timing.AROUND: around,
            },
        )
        for i, pass_ in enumerate(PASSES)
    }
    known = calibration.Calibration(machines, "now")
    monkeypatch.setattr(calibration, "_known", {CASE.threads: known})


POINTWISE = theory.problem((4, 64, 28, 28), 64, 1, threads=2)


def test_pytorchs_op_is_taken_where_all_passes_together_are_faster(monkeypatch):
    inference, training = ("forward",), PASSES
    # Ours gains in the first pass; what is around it costs as much.
    passes = {"onednn": (0.5, 0.5, 0.5), "direct": (0.25, 0.6, 0.6)}
    on_passes(monkeypatch, 0.0, **passes)
    assert not choice.leaves_to_pytorch(POINTWISE, inference)
    assert not choice.leaves_to_pytorch(POINTWISE, training)
    on_passes(monkeypatch, 0.2, **passes)
    assert not choice.leaves_to_pytorch(POINTWISE, inference)
    assert choice.leaves_to_pytorch(POINTWISE, training)
    on_passes(monkeypatch, 0.3, **passes)
    assert choice.leaves_to_pytorch(POINTWISE, inference)


def test_a_dense_layer_is_ours_where_all_passes_together_are_faster(monkeypatch):
    inference, training = ("forward",), PASSES
    passes = {"matrix_product": (0.5, 0.5, 0.5), "direct": (0.25, 0.6, 0.6)}
    on_passes(monkeypatch, 0.01, **passes)
    assert not choice.leaves_dense_to_pytorch(POINTWISE, inference)
    assert not choice.leaves_dense_to_pytorch(POINTWISE, training)
    on_passes(monkeypatch, 0.2, **passes)
    assert not choice.leaves_dense_to_pytorch(POINTWISE, inference)
    assert choice.leaves_dense_to_pytorch(POINTWISE, training)


def test_fewer_products_decide_at_stride_2_where_channels_are_many(monkeypatch):
    on(monkeypatch, **dict.fromkeys(choice.CANDIDATES, 1.0))
    for pass_ in PASSES:
        few = theory.problem((4, 3, 28, 28), 8, 3, 2, padding=1, threads=2, pass_=pass_)
        assert choice.choose(STRIDED.of(pass_)) in choice.WINOGRAD
        assert choice.choose(few) not in choice.WINOGRAD


def test_a_new_calibration_is_heeded_at_once(monkeypatch):
    on(monkeypatch, direct=1.0)
    assert choice.choose(CASE) == "direct"
    on(monkeypatch, onednn=1.0)
    assert choice.choose(CASE) == "onednn"


def test_strict_numerics_never_pick_winograd(monkeypatch):
    on(monkeypatch, winograd_4x4=1.0, winograd_2x2=0.9, direct=0.01)
    assert choice.choose(CASE) == "winograd_4x4"
    set_numerics("strict")
    try:
        assert choice.choose(CASE) == "direct"
    finally:
        set_numerics("fast")
    assert choice.choose(CASE) == "winograd_4x4"


@pytest.mark.parametrize(
    ("change", "served"),
    [
        ({}, {"onednn", "direct", "winograd_4x4", "winograd_2x2", "im2col", "fft"}),
        ({"stride": 2}, {"onednn", "direct", "winograd_4x4", "winograd_2x2", "im2col"}),
        ({"stride": 2, "kernel_size": 5}, {"onednn", "direct", "im2col"}),
        ({"stride": 3}, {"onednn", "direct", "im2col"}),
        ({"stride": (1, 2)}, {"onednn", "direct", "im2col"}),
        ({"dilation": 2}, {"onednn", "direct", "im2col", "fft"}),
        ({"kernel_size": 5}, {"onednn", "direct", "winograd_2x2", "im2col", "fft"}),
        ({"kernel_size": 1}, {"onednn", "direct", "im2col", "fft"}),
        ({"groups": 2}, {"onednn", "direct", "im2col", "fft"}),
    ],
)
def test_what_serves_what(monkeypatch, change, served):
    arguments = {"kernel_size": 3, "padding": 4, **change}
    case = theory.problem((4, 64, 28, 28), 64, threads=2, **arguments)
    assert {name for name in choice.RUNNING if choice.serves(name, case)} == served
    for name in choice.RUNNING:
        if name in served:
            assert choice.resolve(name, case) == name
        else:
            with pytest.raises(ValueError, match=f"^algorithm: '{name}' does not serve"):
                choice.resolve(name, case)
    on(monkeypatch, winograd_4x4=1.0, winograd_2x2=1.0)
    assert choice.choose(case) in served


def test_winograd_is_the_faster_of_its_two_tiles(monkeypatch):
    on(monkeypatch, winograd_2x2=1.0)
    assert choice.resolve("winograd", CASE) == "winograd_2x2"
    on(monkeypatch, winograd_4x4=1.0)
    assert choice.resolve("winograd", CASE) == "winograd_4x4"


def test_planes_of_a_matrix_product_are_not_reordered(monkeypatch):
    """Where both are as fast on channels-last images, NCHW's way there and back decides."""
    pointwise = theory.problem((4, 64, 28, 28), 64, 1, threads=2)
    planar = replace(pointwise, channels_last=False)
    on(monkeypatch, onednn=1.0, direct=0.9)
    for pass_ in PASSES:
        assert choice.choose(pointwise.of(pass_)) == "onednn"
        assert choice.choose(planar.of(pass_)) == "direct"
    strided = replace(theory.problem((4, 64, 28, 28), 64, 1, 2, threads=2), channels_last=False)
    assert choice.choose(strided) == "onednn"  # both reorder


@pytest.mark.parametrize(("share", "chosen"), [(0.97, "direct"), (0.9, "onednn")])
def test_a_tie_goes_to_the_kernels(monkeypatch, share, chosen):
    on(monkeypatch, onednn=1.0, direct=share)
    assert choice.choose(CASE) == chosen


def test_another_name():
    with pytest.raises(ValueError, match=r"^algorithm must be one of 'onednn', .* got 'strassen'$"):
        choice.resolve("strassen", CASE)
