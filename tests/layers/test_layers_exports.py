"""Every layer of the tf.keras dialect exports as PyTorch's ops, for batches of any size."""

from __future__ import annotations

import copy
from functools import cache
from pathlib import Path
from typing import Any

import keras
import pytest
import torch

from lamina import layers
from tests import exports

from .test_layers_every_layer import CASES, built, each_mode, image, run

ALL = [
    *CASES,
    ("AveragePooling2D", {"pool_size": 3, "strides": 1, "padding": "same"}),
    ("AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}),
    ("MaxPooling2D", {"pool_size": 3, "strides": 1, "padding": "same"}),
    ("GlobalAveragePooling2D", {"keepdims": True}),
]
every_layer = pytest.mark.parametrize(
    "at", range(len(ALL)), ids=[f"{name}-{config}".replace(" ", "") for name, config in ALL]
)
dynamic_or_not = pytest.mark.parametrize("dynamic", [False, True], ids=["static", "dynamic"])


class InMode(torch.nn.Module):
    """A layer that is told whether it trains."""

    def __init__(self, layer: Any, training: bool) -> None:
        super().__init__()
        self.layer, self.training_mode = layer, training

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return run(self.layer, x, training=self.training_mode)


@cache
def exported(at: int, *, training: bool, dynamic: bool) -> torch.export.ExportedProgram:
    shapes = ({0: exports.BATCH},) if dynamic else None
    model = InMode(built(*ALL[at]), training)
    return torch.export.export(model, (image(),), dynamic_shapes=shapes)


@dynamic_or_not
@each_mode
@every_layer
def test_exports_as_pytorchs_ops(at: int, training: bool, dynamic: bool) -> None:
    program = exported(at, training=training, dynamic=dynamic)
    assert not exports.foreign_operators(program)
    x = torch.cat([image(), image()]) if dynamic else image()
    expected = InMode(built(*ALL[at]), training)(x)
    torch.testing.assert_close(program.module()(x), expected, rtol=1e-5, atol=1e-6)
    if dynamic:  # a batch in which every layer has enough to do for a kernel
        program.module()(image().repeat(2048, 1, 1, 1))


def test_a_saved_program_runs_without_lamina(tmp_path: Path) -> None:
    """Of inference: in training Keras assigns under ``no_grad``, which PyTorch does not load."""
    runs = {}
    for at, (name, config) in enumerate(ALL):
        program = exported(at, training=False, dynamic=True)
        runs[f"{name} {config}"] = (program, torch.cat([image(), image()]))
    assert exports.faults_elsewhere(runs, tmp_path) == {}


@dynamic_or_not
@pytest.mark.parametrize("dynamo", [False, True], ids=["script", "dynamo"])
def test_onnxruntime_gives_the_same(tmp_path: Path, dynamo: bool, dynamic: bool) -> None:
    model = exports.Beside([InMode(built(*case), False) for case in ALL], [0] * len(ALL))
    path = tmp_path / "all.onnx"
    exports.export_to_onnx(model, [image()], path, dynamo=dynamo, dynamic=dynamic)
    x = torch.cat([image(), image()]) if dynamic else image()
    results = exports.run_onnx(path, [x])
    for (name, _), y, expected in zip(ALL, results, model(x), strict=True):
        assert torch.allclose(y, expected, rtol=1e-4, atol=1e-5), (name, y, expected)


@pytest.mark.parametrize("batch", [None, 3])
def test_kerass_own_export_to_onnx(tmp_path: Path, batch: int | None) -> None:
    inputs = keras.Input((7, 6, 4), batch_size=batch)
    x = layers.Conv2D(6, 3, strides=2, padding="same")(inputs)
    x = layers.BatchNormalization()(x)
    x = layers.ReLU()(x)
    x = layers.SqueezeExcite(2)(x)
    x = layers.AveragePooling2D(3, strides=1, padding="same")(x)
    x = layers.AveragePooling2D(3, strides=2, padding="same")(x)
    x = layers.GlobalAveragePooling2D()(x)
    model = keras.Model(inputs, layers.Dense(5)(layers.Dropout(0.5)(x)))
    model(image())
    path = tmp_path / "m.onnx"
    model.export(str(path), format="onnx", verbose=False)
    (y,) = exports.run_onnx(path, [image()])
    torch.testing.assert_close(y, model(image()), rtol=1e-4, atol=1e-5)


@each_mode
@every_layer
def test_compiles_to_one_graph_for_all_sizes(at: int, training: bool) -> None:
    name, config = ALL[at]
    layer = copy.deepcopy(built(name, config))
    inputs = [torch.randn(batch, 7, 6, 4) for batch in (3, 70, 4096)]
    run(layer, inputs[0])  # Keras makes some state of its own in a first call, which is a guard
    assert exports.count_graphs(lambda x: run(layer, x, training=training), inputs) <= 1
