"""A Keras model and its crossing on the same numbers."""

import numpy as np
import torch

from lamina.interchange.from_keras import cross
from tests.interchange.from_keras import nets


def randomise(model, seed=0):
    """Draw what a fresh model has as zeros and ones: biases, scales, statistics."""
    rng = np.random.default_rng(seed)
    weights = []
    for variable, value in zip(model.weights, model.get_weights(), strict=True):
        if "variance" in variable.name:
            value = rng.uniform(0.5, 2.0, value.shape)
        elif "gamma" in variable.name or "layer_scale" in variable.path:
            value = rng.uniform(0.5, 1.5, value.shape)
        elif value.ndim <= 1:
            value = rng.normal(0.0, 0.3, value.shape)
        weights.append(np.asarray(value, np.float32))
    model.set_weights(weights)
    nets.finalize(model)
    return weights


def inputs_for(model, size=(11, 10), batch=4, seed=1):
    """An input of each of the model's, in Keras's layout."""
    rng = np.random.default_rng(seed)
    drawn = []
    for tensor in model.inputs:
        shape = [batch, *tensor.shape[1:]]
        if len(shape) == 4:
            shape[1:3] = [given or new for given, new in zip(shape[1:3], size, strict=True)]
        if tensor.dtype == "int32":
            drawn.append(rng.integers(0, 5, shape, dtype=np.int32))
        else:
            drawn.append(rng.normal(size=shape).astype(np.float32))
    return drawn


def run(crossing, inputs, *, training=False):
    """The torch model's outputs, in Keras's layout."""
    model = crossing.torch_model.train(training)
    given = [
        torch.from_numpy(x if axes is None else x.transpose(np.argsort(axes)).copy())
        for x, axes in zip(inputs, crossing.input_axes, strict=True)
    ]
    with torch.no_grad():
        outputs = model(*given)
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [
        y.numpy() if axes is None else y.permute(axes).numpy()
        for y, axes in zip(outputs, crossing.output_axes, strict=True)
    ]


def difference(got, wanted):
    """The largest difference, in parts of the largest number."""
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        assert one.shape == other.shape
    return max(
        float(np.abs(one - other).max() / max(np.abs(other).max(), 1e-30))
        for one, other in zip(got, wanted, strict=True)
    )


def crossed(model, **options):
    """A model with random numbers, and its crossing."""
    weights = randomise(model)
    return weights, cross(model, **options)


def weights_of(crossing):
    """Every pair with its Keras variable: they have one order."""
    for pair, variable in zip(crossing.weights, crossing.keras_model.weights, strict=True):
        assert pair.keras == variable.path
        yield pair, variable
