"""Every layer of the torch.nn dialect exports as PyTorch's ops, for batches of any size."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

import lamina
from lamina import nn
from tests import exports

from .cases import CASES, Case, ours, replace, theirs

MORE = [
    theirs("MaxPool2d", 3, 2, 1, return_indices=True),
    theirs("MaxPool2d", 2, 2, 1, 2),
    ours("MaxPool2d", 3, stride=2, padding="same", return_indices=True),
    theirs("AvgPool2d", 3, 2, 1, divisor_override=5),
    theirs("AvgPool2d", 3, 2, 1, ceil_mode=True),
    theirs("AvgPool2d", (2, 3), (3, 2), (1, 0), ceil_mode=True, divisor_override=2),
    ours("AvgPool2d", 3, stride=1, padding="same", count_include_pad=False),
    ours("AvgPool2d", 3, stride=2, padding="same"),
    Case(
        "AvgPool2d",
        (2,),
        {"padding": ((0, 1), (1, 0)), "ceil_mode": True, "divisor_override": 3},
        reference=lambda: torch.nn.AvgPool2d(2, ceil_mode=True, divisor_override=3),
        matches=False,
    ),
    theirs("AdaptiveAvgPool2d", 1),
    theirs("AdaptiveAvgPool2d", (7, 3)),
    theirs("AdaptiveMaxPool2d", (7, 3)),
    theirs("Conv2d", 4, 1, 3),
    theirs("Conv2d", 4, 6, 1, 2),
    ours("Conv2d", 4, 6, 3, padding="same"),
    ours("SeparableBlock", 4, 4, padding=1, expansion=2, shortcut=True),
    ours("SeparableBlock", 4, 6, stride=2, padding="same"),
    theirs("BatchNorm2d", 4, momentum=None),
]
ALL = [case for case in CASES if not case.small] + MORE
"""Sizes decide nothing where PyTorch's ops are taken for all of them."""

every_layer = pytest.mark.parametrize("case", ALL, ids=lambda case: case.id)
dynamic_or_not = pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])
by_both = pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])


@cache
def exported(at: int, *, dynamic: bool) -> torch.export.ExportedProgram:
    """Of a layer with its first weights, which ``torch.manual_seed(0)`` has given it."""
    case = ALL[at]
    torch.manual_seed(0)
    shapes = ({0: exports.BATCH},) if dynamic else None
    return torch.export.export(case.build(), (case.input(),), dynamic_shapes=shapes)


def beside(cases: list[Case]) -> tuple[exports.Beside, list[Tensor]]:
    """The layers of all cases in eval, and an input for each shape."""
    shapes = sorted({case.shape for case in cases})
    inputs = [replace(cases[0], shape=shape).input() for shape in shapes]
    layers = [case.build() for case in cases]
    return exports.Beside(layers, [shapes.index(case.shape) for case in cases]).eval(), inputs


@dynamic_or_not
@every_layer
def test_exports_as_pytorchs_ops(case: Case, dynamic: bool) -> None:
    program = exported(ALL.index(case), dynamic=dynamic)
    assert not exports.foreign_operators(program)
    torch.manual_seed(0)
    layer = case.build()
    x = torch.cat([case.input(), case.input()]) if dynamic else case.input()
    theirs = case.build_reference() if case.matches else None
    if theirs is not None:  # whose ops the program consists of
        theirs.load_state_dict(layer.state_dict())
        layer = theirs
    module, before = program.module(), copy.deepcopy(layer.state_dict())
    y, expected = module(x), layer(x)
    if case.draws_from_torch:  # by PyTorch's dropout, which draws other numbers than the kernel
        assert set((y[x != 0] / x[x != 0]).mul(1e4).round().unique().tolist()) <= {0, 16667}
    else:
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)
    # What the call changed: running statistics, the count of batches, of masks drawn.
    after = module.state_dict()
    for name in before:
        torch.testing.assert_close(after[name], layer.state_dict()[name], rtol=1e-5, atol=1e-6)
    if dynamic:  # a batch in which every layer has enough to do for a kernel
        module(case.input().repeat(2048, *[1] * (x.dim() - 1)))


def test_strict_export_is_the_same() -> None:
    """Dynamo's, which reads Python where the other one runs it."""
    model, inputs = beside(ALL)
    program = torch.export.export(model, tuple(inputs), strict=True)
    assert not exports.foreign_operators(program)
    for y, expected in zip(program.module()(*inputs), model(*inputs), strict=True):
        torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("training", [False, True], ids=["eval", "training"])
def test_optimised_networks_export(training: bool) -> None:
    network = nn.Sequential(
        nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.0), nn.GlobalAvgPool2d(False)
    )
    model = lamina.optimize(network.train(training))
    program = torch.export.export(model, (torch.randn(3, 4, 7, 6),))
    assert not exports.foreign_operators(program)


def test_a_saved_program_runs_without_lamina(tmp_path: Path) -> None:
    runs = {}
    for at, case in enumerate(ALL):
        x = case.input()
        runs[f"{case.id} {case.shape}"] = (exported(at, dynamic=False), x)
        runs[f"{case.id} {case.shape} dynamic"] = (exported(at, dynamic=True), torch.cat([x, x]))
    assert exports.faults_elsewhere(runs, tmp_path) == {}


def assert_onnx_agrees(cases: list[Case], path: Path, *, dynamo: bool, dynamic: bool) -> None:
    model, inputs = beside(cases)
    exports.export_to_onnx(model, inputs, path, dynamo=dynamo, dynamic=dynamic)
    if dynamic:
        inputs = [torch.cat([x, x]) for x in inputs]
    results = iter(exports.run_onnx(path, inputs))
    for case, expected in zip(cases, model(*inputs), strict=True):
        for part in expected if isinstance(expected, tuple) else (expected,):
            y = next(results)
            assert torch.allclose(y, part, rtol=1e-4, atol=1e-5), (case.id, y, part)
    assert next(results, None) is None


@dynamic_or_not
@by_both
def test_onnxruntime_gives_the_same(tmp_path: Path, dynamo: bool, dynamic: bool) -> None:
    cases = [case for case in ALL if exports_by_torch(case)]
    assert_onnx_agrees(cases, tmp_path / "all.onnx", dynamo=dynamo, dynamic=dynamic)


def exports_by_torch(case: Case) -> bool:
    """PyTorch's own layer does not either, where batches steer evaluation."""
    return case.options.get("track_running_stats", True)


@pytest.mark.slow
@dynamic_or_not
@by_both
@every_layer
def test_each_layer_in_onnxruntime(tmp_path: Path, case: Case, dynamo: bool, dynamic: bool) -> None:
    if not exports_by_torch(case):
        pytest.skip("normalises with the batch's statistics in eval")
    assert_onnx_agrees([case], tmp_path / "one.onnx", dynamo=dynamo, dynamic=dynamic)


@by_both
def test_global_pooling_of_channels_last_in_onnxruntime(tmp_path: Path, dynamo: bool) -> None:
    x = torch.randn(2, 4, 7, 6).to(memory_format=torch.channels_last)
    for keepdims in (False, True):
        layer = nn.GlobalAvgPool2d(keepdims)
        exports.export_to_onnx(layer, [x], tmp_path / "pool.onnx", dynamo=dynamo, dynamic=False)
        (y,) = exports.run_onnx(tmp_path / "pool.onnx", [x])
        torch.testing.assert_close(y, layer(x))


SIZES = {
    2: [(3,), (70,), (4096,)],
    3: [(3, 5), (70, 9)],
    4: [(3, 9, 11), (5, 10, 14), (70, 32, 33)],
}
"""Of the axes beside the channels; the last ones are enough for a kernel."""


@every_layer
def test_compiles_to_as_many_graphs_as_torchs(case: Case) -> None:
    rank, channels = len(case.shape), case.shape[1]
    if case.layer == "Linear":
        shapes = [(*[batch] * (rank - 1), case.shape[-1]) for batch in (3, 70, 500)]
    elif case.layer == "Flatten" or "BatchNorm1d" in case.layer:
        shapes = [(batch, *case.shape[1:]) for batch in (3, 70, 4096)]
    else:
        shapes = [(batch, channels, *size) for batch, *size in SIZES[rank]]
    inputs = [torch.randn(shape) for shape in shapes]
    theirs = case.build_reference()
    expected = 1 if theirs is None else exports.count_graphs(theirs, inputs)
    assert exports.count_graphs(case.build(), inputs) <= max(1, expected)
