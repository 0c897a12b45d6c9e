"""The Keras side of a proof, on whichever backend: called here, or run by path in another process.

``python keras_side.py FOLDER`` opens ``model.keras`` there on the backend of ``KERAS_BACKEND``.
A process with TensorFlow needs neither PyTorch nor lamina, so this file imports neither.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEARNING_RATE = float(np.float32(0.01))  # as Keras keeps it
# Layers that draw random numbers in training; which ones is nothing that two frameworks share.
_RANDOM = frozenset(
    [
        "AlphaDropout",
        "DropPath",
        "Dropout",
        "GaussianDropout",
        "GaussianNoise",
        "SpatialDropout1D",
        "SpatialDropout2D",
        "SpatialDropout3D",
    ]
)

Untyped = Any
"""A model, layer or tensor: Keras has no types."""
Place = tuple[str, int]
"""An operation's name, the models that it lies in before it, and which of its calls."""


def answer(model: Untyped, places: Sequence[Place], folder: Path) -> None:
    """Run a model on the inputs of a folder, change its weights, leave there what a proof compares.

    It reads ``input-0.npy``, ... and ``projection-0.npy``, ..., one for every float output. It
    leaves ``output-N.npy`` for every place, ``result-N.npy`` for every output of the model; and of
    one training step, without dropout, ``loss.npy``, ``gradient-N.npy`` and ``weight-N.npy`` by
    the number of the weight in ``model.weights``.
    """
    import keras

    def save(name: str, tensor: Untyped) -> None:
        np.save(folder / f"{name}.npy", keras.ops.convert_to_numpy(tensor))

    _state_in_float64(model)
    inputs = [keras.ops.convert_to_tensor(x) for x in _numbered(folder, "input")]
    packed = keras.tree.pack_sequence_as(model.input, inputs)
    with _without_gradients(), _recording(model, places, save):
        for number, result in enumerate(keras.tree.flatten(model(packed, training=False))):
            save(f"result-{number}", result)
    with _identity(model):
        loss, gradients = _gradients(model, packed, _numbered(folder, "projection"))
    save("loss", loss)
    numbers = {id(variable): number for number, variable in enumerate(model.weights)}
    for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
        save(f"gradient-{numbers[id(variable)]}", gradient)
    keras.optimizers.SGD(LEARNING_RATE).apply(gradients, model.trainable_variables)
    for number, variable in enumerate(model.weights):
        save(f"weight-{number}", variable)


def named_operations(model: Untyped, prefix: str = "") -> Iterator[tuple[str, Untyped]]:
    """Every operation of a model and of the models in it, by name."""
    for operation in getattr(model, "operations", None) or getattr(model, "layers", []):
        yield f"{prefix}{operation.name}", operation
        if hasattr(operation, "layers") and hasattr(operation, "get_layer"):
            yield from named_operations(operation, f"{prefix}{operation.name}/")


def _state_in_float64(model: Untyped) -> None:
    """Give Rescaling its numbers as PyTorch has them: Keras takes Python's for float32."""
    for layer in model._flatten_layers():
        if type(layer).__name__ != "Rescaling":
            continue
        for name in ("scale", "offset"):
            value = getattr(layer, name)
            is_number = isinstance(value, float | int)
            kept = np.float64(value) if is_number else np.asarray(value, np.float32)
            setattr(layer, name, kept.astype(np.float64))


def _numbered(folder: Path, name: str) -> list[NDArray[Any]]:
    count = len(list(folder.glob(f"{name}-*.npy")))
    return [np.load(folder / f"{name}-{number}.npy") for number in range(count)]


@contextlib.contextmanager
def _recording(
    model: Untyped,
    places: Sequence[Place],
    save: Callable[[str, Untyped], None],
) -> Iterator[None]:
    operations = dict(named_operations(model))
    wanted: dict[int, dict[int, list[int]]] = {}
    for number, (name, call) in enumerate(places):
        calls = wanted.setdefault(id(operations[name]), {})
        calls.setdefault(call, []).append(number)
    made = dict.fromkeys(wanted, 0)

    def recorded(operation: Untyped) -> Callable[..., Untyped]:
        call = operation.call

        def record(*args: Untyped, **kwargs: Untyped) -> Untyped:
            output = call(*args, **kwargs)
            for number in wanted[id(operation)].get(made[id(operation)], ()):
                save(f"output-{number}", output)
            made[id(operation)] += 1
            return output

        return record

    recording = {name: operations[name] for name, _ in places}
    unique = {id(operation): operation for operation in recording.values()}
    with _calls({at: (one, recorded(one)) for at, one in unique.items()}):
        yield


@contextlib.contextmanager
def _identity(model: Untyped) -> Iterator[None]:
    def same(inputs: Untyped, *args: Untyped, **kwargs: Untyped) -> Untyped:
        return inputs

    random = [layer for layer in model._flatten_layers() if type(layer).__name__ in _RANDOM]
    with _calls({id(layer): (layer, same) for layer in random}):
        yield


@contextlib.contextmanager
def _calls(replaced: Mapping[int, tuple[Untyped, Callable[..., Untyped]]]) -> Iterator[None]:
    """Have operations call something else, past what Keras does when an attribute is set."""
    try:
        for operation, call in replaced.values():
            operation.__dict__["call"] = call
        yield
    finally:
        for operation, _ in replaced.values():
            operation.__dict__.pop("call", None)


@contextlib.contextmanager
def _without_gradients() -> Iterator[None]:
    import keras

    if keras.backend.backend() != "torch":
        yield
        return
    import torch

    with torch.no_grad():
        yield


def _gradients(
    model: Untyped,
    inputs: Untyped,
    projections: Sequence[NDArray[Any]],
) -> tuple[Untyped, list[Untyped]]:
    """The loss, a fixed projection of the outputs, and its gradient by every trainable weight."""
    import keras

    def loss() -> Untyped:
        outputs = keras.tree.flatten(model(inputs, training=True))
        floats = [y for y in outputs if "float" in keras.backend.standardize_dtype(y.dtype)]
        total = 0.0
        for y, r in zip(floats, projections, strict=True):
            total = total + keras.ops.sum(y * keras.ops.convert_to_tensor(r)) / len(r)
        return total

    values = [variable.value for variable in model.trainable_variables]
    if not values:
        return loss(), []
    if keras.backend.backend() == "torch":
        import torch

        total = loss()
        found = torch.autograd.grad(total, values, allow_unused=True)
        return total, [
            torch.zeros_like(v) if g is None else g for v, g in zip(values, found, strict=True)
        ]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        total = loss()
    zero = tf.UnconnectedGradients.ZERO
    found = tape.gradient(total, values, unconnected_gradients=zero)
    return total, [tf.convert_to_tensor(gradient) for gradient in found]


def _main(folder: Path) -> None:
    import keras

    model = keras.saving.load_model(folder / "model.keras", compile=False, safe_mode=True)
    places = [(name, call) for name, call in json.loads((folder / "places.json").read_text())]
    answer(model, places, folder)


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
