"""Both sides of a crossing on the same inputs: compared after every layer and a training step."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lamina.errors import InputError
from lamina.interchange.crossing import Crossing, WeightPair
from lamina.interchange.proof import keras_side, torch_side
from lamina.interchange.proof.names import Names
from lamina.interchange.proof.processes import Backend, run_keras
from lamina.interchange.proof.rows import Rows
from lamina.interchange.proof.suspicion import suspect
from lamina.report.conversion import Kind, Proof

__all__ = ["example_inputs", "verify"]

Array = NDArray[Any]
Axes = tuple[int, ...] | None


def verify(
    crossing: Crossing,
    *,
    batch: int = 2,
    seed: int = 0,
    tolerance: float = 1e-5,
    sizes: Sequence[Sequence[int]] | None = None,
    backend: Backend = "auto",
    training: bool = True,
) -> Proof:
    """Compare both sides of a crossing on random inputs, and say where they differ first.

    Every pair's output is compared in evaluation. Then each side takes one training step of
    ``SGD(0.01)``, dropout left out on both: the loss is a fixed random projection of the outputs,
    without the layers' regularisers; every statistic, the loss, every gradient and every weight
    after the step are compared. A running variance that PyTorch keeps unbiased is compared without
    its n/(n − 1).

    Both sides compute in float64, so that what differs is the networks and not their rounding,
    which a deep network of float32 amplifies without a bound. The Keras side runs on TensorFlow in
    a process of its own where that is installed, else on PyTorch. A difference is relative to the
    largest magnitude in its tensor, or to 1e-6 of the largest in all tensors of its kind where that
    is more: a gradient that ought to be zero is rounding alone.

    Args:
        crossing: the two models; they are as before afterwards.
        batch: examples; at least 2, as batch normalisation needs several values.
        seed: of the inputs and the projection.
        tolerance: the relative difference that is allowed. Right crossings are within 1e-9, but
            for what TensorFlow has in float32 alone: resizing, constants of GELU and LeakyReLU.
        sizes: shapes of the Keras inputs without the batch, for those that leave a size open; those
            of the example that the crossing was made with, if there was one.
        backend: what Keras runs on; ``"auto"`` is TensorFlow where it is installed and can.
        training: take the training step too, which an exported torch model cannot.

    Raises:
        InputError: a batch below 2, an input whose size is open, a pair that one of the models
            does not have, a Keras model that cannot be copied, or an unknown ``backend``.
        RunError: the PyTorch side fails, as it does on shapes that do not fit.
    """
    if batch < 2:
        raise InputError(f"batch: expected at least 2, got {batch}")
    names = Names(crossing)
    random = np.random.default_rng(seed)
    inputs = example_inputs(crossing.keras_model, batch, sizes or crossing.sizes or None, random)
    tensors = [
        torch.from_numpy(_torch_order(x, axes))
        for x, axes in zip(inputs, crossing.input_axes, strict=True)
    ]
    nodes, results = _evaluated(crossing, tensors)
    projections = [
        random.standard_normal(_keras_order(y, axes).shape) if y.is_floating_point() else None
        for y, axes in zip(results, crossing.output_axes, strict=True)
    ]
    rows = Rows(tolerance)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        floats = [r for r in projections if r is not None]
        for kind, arrays in (("input", inputs), ("projection", floats)):
            for number, array in enumerate(arrays):
                np.save(folder / f"{kind}-{number}.npy", array)
        places = [(pair.keras, pair.call) for pair in crossing.pairs]
        side, remark = run_keras(crossing.keras_model, places, folder, backend)
        _compare_outputs(crossing, nodes, results, _reader(folder), rows)
        if training:
            turned = [
                torch.from_numpy(_torch_order(r, axes))
                for r, axes in zip(projections, crossing.output_axes, strict=True)
                if r is not None
            ]
            step = torch_side.step(crossing.torch_model, tensors, turned, keras_side.LEARNING_RATE)
            _compare_step(crossing, names, step, _reader(folder), rows)
    compared = rows.finished()
    trap, suspicion = "", ""
    failing = next((number for number, row in enumerate(compared) if not row.holds), None)
    if failing is not None:
        row = compared[failing]
        trap, suspicion = suspect(row, names.operation(row), rows.evidence.get(failing))
    return Proof(
        compared, [f"Keras on {side}"], remark, [x.shape for x in inputs], seed, trap, suspicion
    )


def example_inputs(
    model: keras_side.Untyped,
    batch: int,
    sizes: Sequence[Sequence[int]] | None,
    random: np.random.Generator,
) -> list[Array]:
    """Inputs of a Keras model: normal numbers; zeros and ones where whole numbers are wanted.

    Args:
        model: a Keras model.
        batch: examples.
        sizes: shapes without the batch, for those that the model leaves open.
        random: draws them.

    Raises:
        InputError: a size that is open, or another number of inputs.
    """
    if sizes is not None and len(sizes) != len(model.inputs):
        raise InputError(f"input: expected {len(model.inputs)} sizes, got {len(sizes)}")
    made = []
    for number, tensor in enumerate(model.inputs):
        shape = tuple(tensor.shape[1:] if sizes is None else sizes[number])
        if None in shape:
            said = ",".join("?" if size is None else str(size) for size in shape)
            raise InputError(f"input: the model leaves a size open, {said}; give one")
        drawn = random.standard_normal((batch, *shape))
        is_float = "float" in str(tensor.dtype)
        made.append(drawn if is_float else (drawn > 0).astype(tensor.dtype))
    return made


def _evaluated(
    crossing: Crossing, tensors: Sequence[Tensor]
) -> tuple[dict[str, Array], list[Tensor]]:
    """What the paired nodes give, by name, and the model's outputs."""
    wanted, found = {pair.torch for pair in crossing.pairs}, dict[str, Array]()

    def keep(name: str, value: torch_side.Untyped) -> None:
        if name in wanted and isinstance(value, Tensor):
            found[name] = value.detach().numpy().copy()

    return found, torch_side.nodes(crossing.graph, tensors, keep)


Reader = Callable[[str], Array | None]


def _reader(folder: Path) -> Reader:
    def read(name: str) -> Array | None:
        path = folder / f"{name}.npy"
        return np.load(path) if path.is_file() else None

    return read


def _compare_outputs(
    crossing: Crossing,
    nodes: Mapping[str, Array],
    results: Sequence[Tensor],
    read: Reader,
    rows: Rows,
) -> None:
    for number, pair in enumerate(crossing.pairs):
        keras, ours = read(f"output-{number}"), nodes.get(pair.torch)
        if keras is None or ours is None:
            side = "Keras" if keras is None else "PyTorch"
            rows.differ("output", pair.layer, pair.keras, f"{side} gives no tensor here")
        else:
            rows.add("output", pair.layer, pair.keras, keras, _keras_order(ours, pair.axes))
    for number, (result, axes) in enumerate(zip(results, crossing.output_axes, strict=True)):
        keras = read(f"result-{number}")
        if keras is None:
            rows.differ("output", "model", f"output {number}", "Keras gives no such output")
        else:
            rows.add("output", "model", f"output {number}", keras, _keras_order(result, axes))


def _compare_step(
    crossing: Crossing, names: Names, step: torch_side.Step, read: Reader, rows: Rows
) -> None:
    """In the order in which a fault shows: statistics, loss, gradients backward, weights."""

    def compare(kind: Kind, pair: WeightPair, file: str, side: Mapping[str, Tensor]) -> None:
        layer, keras = names.layer(pair), read(f"{file}-{names.number(pair)}")
        ours = side[pair.torch].detach().numpy() if pair.torch in side else None
        if keras is None or ours is None:
            which = "Keras" if keras is None else "PyTorch"
            rows.differ(kind, layer, pair.keras, f"{which} has no such {kind}")
        elif keras.size != ours.size:
            remark = f"shape {keras.shape} in Keras, {ours.shape} in PyTorch"
            rows.differ(kind, layer, pair.keras, remark)
        else:
            turned = pair.rearrangement.to_torch(keras)
            rows.add(kind, layer, pair.keras, turned, ours.reshape(turned.shape))

    trained = [pair for pair in crossing.weights if pair.trainable]
    for pair in crossing.weights:
        if not pair.trainable:
            compare("statistic", pair, "weight", step.state)
    loss = read("loss")
    if loss is not None:
        # Beside the sum of its magnitudes, which it may be small beside by chance alone.
        both = (np.array([one, step.loss_scale]) for one in (float(loss), step.loss))
        rows.add("loss", "model", "loss", *both)
    for pair in reversed(trained):
        compare("gradient", pair, "gradient", step.gradients)
    for pair in trained:
        compare("weight", pair, "weight", step.state)
    for layer, what, remark in names.without_counterpart(step.gradients):
        rows.differ("weight", layer, what, remark)


def _keras_order(tensor: Tensor | Array, axes: Axes) -> Array:
    array = tensor.detach().numpy() if isinstance(tensor, Tensor) else tensor
    return array if axes is None or len(axes) != array.ndim else array.transpose(axes)


def _torch_order(array: Array, axes: Axes) -> Array:
    return np.ascontiguousarray(array if axes is None else array.transpose(np.argsort(axes)))
