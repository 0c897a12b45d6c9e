"""A record's numbers computed again in float64, from nothing but the record."""

from __future__ import annotations

import math

import numpy as np

from lamina.report.explanation.records import (
    Activation,
    Array,
    BatchNorm,
    Convolution,
    Dense,
    Explanation,
    Join,
    Layer,
    Opened,
    Pool,
    SqueezeExcite,
)
from lamina.theory.numerics import UNIT_ROUNDOFF, gamma

EPS = UNIT_ROUNDOFF["float32"]


def numbers(array: Array) -> np.ndarray:
    """An array's values; floats as float64."""
    values = np.frombuffer(array.data, np.dtype(array.dtype).newbyteorder("<"))
    values = values.reshape(array.shape)
    return values.astype(np.float64) if array.dtype == "float32" else values


def rounded(terms: np.ndarray, results: np.ndarray, roundings: int = 0) -> np.ndarray:
    """How many times over a sum misses what the roundings of float32, in any order, allow.

    Source: Higham, "Accuracy and Stability of Numerical Algorithms" (2002), section 4.2.
    """
    bound = gamma(terms.shape[-1] + 1 + roundings) * np.abs(terms).sum(-1)
    missed = np.abs(terms.sum(-1) - results)
    return np.where(missed == 0, 0.0, missed / np.maximum(bound, 1e-45))


AFTERWARDS = {
    "": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
}

FUNCTIONS = {
    **{name: made for name, made in AFTERWARDS.items() if name},
    "hardtanh": lambda x: np.clip(x, -1, 1),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.1 * x),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "silu": lambda x: x / (1 + np.exp(-x)),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
    "gelu": lambda x: x / 2 * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "hardswish": lambda x: x * np.clip(x + 3, 0, 6) / 6,
    "hardsigmoid": lambda x: np.clip(x + 3, 0, 6) / 6,
}


def misses(record: Explanation, layer: Layer) -> float:
    """The largest error among a layer's opened numbers, in units of what rounding allows.

    At most 1 for numbers that are float32's; nan where there is nothing to compute.
    """
    found = layer.arithmetic
    match found:
        case Convolution():
            return _convolution(record, found)
        case Pool():
            return _pool(record, found)
        case Dense():
            products = numbers(found.inputs) * numbers(found.weights)
            more = [np.array(found.rest)[:, None]]
            if found.bias is not None:
                more.append(numbers(found.bias)[:, None])
            terms = np.concatenate([products, *more], 1)
            # The rest is many terms in one number: their roundings count, their size is bounded
            # by that of the features times the largest weights.
            return float(rounded(terms, numbers(found.results), found.in_features).max())
        case BatchNorm():
            return _batch_norm(found)
        case Activation() if found.opened is not None:
            x, y = _values(found.opened)
            wanted = FUNCTIONS[found.function](x)
            # x times a share, or sums with numbers of about 1: a few roundings of the larger.
            return float((np.abs(wanted - y) / (8 * EPS * np.maximum(np.abs(x), 1))).max())
        case SqueezeExcite():
            x, y = _values(found.opened)
            assert layer.maps is not None
            shown = list(layer.maps.channels[: found.opened.channels])
            gates = numbers(found.gates)[shown][:, None, None]
            return float((np.abs(x * gates - y) / (EPS * np.abs(x * gates) + 1e-45)).max())
        case Join() if found.operation != "concatenate":
            return _join(found)
    return math.nan


def _values(opened: Opened) -> tuple[np.ndarray, np.ndarray]:
    assert opened.windows is not None
    return numbers(opened.windows)[..., 0, 0], numbers(opened.results)


def windows_of(record: Explanation, found: Convolution, s: int, r: int, k: int) -> np.ndarray:
    """The window of one number, (channels, taps, taps)."""
    opened = found.opened
    if opened.windows is not None:
        return numbers(opened.windows)[found.group_of[s], r, k]
    assert opened.whole is not None
    image = numbers(record.tensors[opened.whole])
    width = found.kernels.shape[1]
    window = np.zeros((width, *found.kernel_size))
    for p in range(found.kernel_size[0]):
        for q in range(found.kernel_size[1]):
            i = opened.rows[r] * found.stride[0] + p * found.dilation[0] - found.padding[0][0]
            j = opened.columns[k] * found.stride[1] + q * found.dilation[1] - found.padding[1][0]
            if 0 <= i < image.shape[1] and 0 <= j < image.shape[2]:
                first = found.first_input[s]
                window[:, p, q] = image[first : first + width, i, j]
    return window


def _convolution(record: Explanation, found: Convolution) -> float:
    results, kernels = numbers(found.opened.results), numbers(found.kernels)
    worst = 0.0
    for s, r, k in np.ndindex(*results.shape):
        terms = (windows_of(record, found, s, r, k) * kernels[s]).ravel()
        if found.bias is not None:
            terms = np.append(terms, numbers(found.bias)[s])
        assert found.then == ""
        worst = max(worst, float(rounded(terms, results[s, r, k])))
    return worst


def _pool(record: Explanation, found: Pool) -> float:
    opened, results, worst = found.opened, numbers(found.opened.results), 0.0
    for s, r, k in np.ndindex(*results.shape):
        rows = range(found.first_row[r], found.end_row[r], found.dilation[0])
        columns = range(found.first_column[k], found.end_column[k], found.dilation[1])
        if opened.windows is not None:
            values = numbers(opened.windows)[s, r, k]
            assert np.isfinite(values[: len(rows), : len(columns)]).all()
            assert np.isnan(values).sum() == values.size - len(rows) * len(columns)
            values = values[~np.isnan(values)]
        else:
            assert opened.whole is not None
            channel = _shown(record, found)[s]
            image = numbers(record.tensors[opened.whole])[channel]
            values = image[np.ix_(rows, columns)].ravel()
        if found.mode == "max":
            assert values.max() == results[s, r, k]
            continue
        assert found.divisors is not None
        divisor = numbers(found.divisors)[r, k]
        worst = max(worst, float(rounded(values / divisor, results[s, r, k], 1)))
    return worst


def _shown(record: Explanation, found: Pool) -> tuple[int, ...]:
    (layer,) = [layer for layer in record.layers if layer.arithmetic is found]
    assert layer.maps is not None
    return layer.maps.channels


def _batch_norm(found: BatchNorm) -> float:
    assert found.then == ""
    x, y = _values(found.opened)

    def per_channel(array: Array | None, default: float) -> np.ndarray:
        values = np.full(x.shape[0], default) if array is None else numbers(array)
        return values[:, None, None]

    scale = per_channel(found.weight, 1) / np.sqrt(per_channel(found.variance, 1) + found.epsilon)
    # As terms, whose roundings are the same whether the mean is subtracted first or last.
    terms = np.stack(
        np.broadcast_arrays(
            x * scale, -per_channel(found.mean, 0) * scale, per_channel(found.bias, 0)
        ),
        -1,
    )
    return float(rounded(terms, y, 5).max())


def _join(found: Join) -> float:
    first, second = numbers(found.operands)
    wanted = {
        "add": first + second,
        "subtract": first - second,
        "multiply": first * second,
    }[found.operation]
    results = numbers(found.opened.results)
    return float((np.abs(wanted - results) / (EPS * np.abs(wanted) + 1e-45)).max())
