"""A record made by hand: a layer of every kind, its results computed here in float64."""

import numpy as np

from lamina.report.explanation.records import (
    Activation,
    Answer,
    Array,
    BatchNorm,
    ClassMap,
    ClassScore,
    Convolution,
    Cost,
    Dense,
    Dropout,
    Explanation,
    Field,
    Histogram,
    Join,
    Layer,
    Maps,
    Opened,
    Picture,
    Pool,
    Shifts,
    SqueezeExcite,
)

EVIL = "</script><script>alert('&')</script>"
DTYPES = {"float32": "<f4", "uint8": "u1", "int32": "<i4"}


def packed(values, dtype="float32"):
    values = np.ascontiguousarray(values, DTYPES[dtype])
    return Array(values.tobytes(), values.shape, dtype)


def unpacked(array):
    return np.frombuffer(array.data, DTYPES[array.dtype]).reshape(array.shape)


def random(*shape, seed=0):
    return np.random.default_rng([seed, *shape]).normal(size=shape).astype(np.float32)


def maps_of(values, channels):
    """Maps of (channels, rows, columns)."""
    shown = values[list(channels)]
    low, high = float(shown.min()), float(shown.max())
    pixels = np.round((shown - low) / (high - low or 1) * 255)
    activity = tuple(float(one) for one in np.abs(shown).mean((1, 2)))
    total, rows, columns = values.shape
    everything = packed(values.reshape(-1)) if rows * columns == 1 else None
    return Maps(tuple(channels), activity, total, rows, columns, low, high,
                packed(pixels, "uint8"), all_values=everything)  # fmt: skip


def padded_taps(x, place, kernel, stride, padding, dilation, outside):
    """The taps of one window of (channels, rows, columns) along both axes."""
    taps = np.full((len(x), *kernel), outside, np.float64)
    for p in range(kernel[0]):
        for q in range(kernel[1]):
            row = place[0] * stride[0] + p * dilation[0] - padding[0]
            column = place[1] * stride[1] + q * dilation[1] - padding[1]
            if 0 <= row < x.shape[1] and 0 <= column < x.shape[2]:
                taps[:, p, q] = x[:, row, column]
    return taps


def convolved(x, kernels, bias, *, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """In float64, by its definition."""
    out, channels, *kernel = kernels.shape
    rows, columns = (
        (x.shape[1 + axis] + 2 * padding[axis] - dilation[axis] * (kernel[axis] - 1) - 1)
        // stride[axis] + 1
        for axis in (0, 1)
    )  # fmt: skip
    result = np.empty((out, rows, columns))
    for i in range(rows):
        for j in range(columns):
            window = padded_taps(x, (i, j), kernel, stride, padding, dilation, 0.0)
            for m in range(out):
                first = m // (out // groups) * channels
                part = window[first : first + channels]
                result[m, i, j] = (part * kernels[m].astype(np.float64)).sum() + bias[m]
    return result


def windows_of(x, rows, columns, kernel, stride, padding, dilation, outside):
    """(channels, r, k, taps, taps)."""
    return np.stack(
        [
            np.stack(
                [padded_taps(x, (i, j), kernel, stride, padding, dilation, outside)
                 for j in columns], 1)
            for i in rows
        ], 1,
    )  # fmt: skip


def picked(values, channels, rows, columns):
    return packed(values[np.ix_(channels, rows, columns)])


def histogram(values):
    counts, edges = np.histogram(values, 16)
    return Histogram(float(edges[0]), float(edges[-1]), tuple(int(one) for one in counts))


class Hand:
    """Layers in a row, numbered as they come."""

    def __init__(self):
        self.layers, self.tensors, self.values = [], [], []

    def add(self, name, kind, values, arithmetic, inputs, *, channels=(1, 0), closed="", step=None,
            vector=False):  # fmt: skip
        shape = (1, values.shape[0]) if vector else (1, *values.shape)
        field = Field((-1.0, -1.0), (step, step), (3, 3)) if step else None
        self.layers.append(
            Layer(
                len(self.layers), inputs, name, kind.title().replace("_", ""), kind, "",
                tuple(self.layers[i].output_shape for i in inputs), shape, False,
                f"theory of {name}", "", Cost(10, 20_000, 40_000, 3_000) if inputs else None,
                maps_of(np.float32(values), channels), arithmetic, closed, field,
            )
        )  # fmt: skip
        self.values.append(np.float32(values))
        return len(self.layers) - 1

    def whole(self, values):
        self.tensors.append(packed(values))
        return len(self.tensors) - 1


def record():
    """A layer of every kind."""
    hand = Hand()
    x = random(2, 9, 9)
    hand.add("input", "input", x, None, (), step=1)

    kernels, bias = random(4, 2, 3, 3, seed=1), random(4, seed=2)
    y = convolved(x, kernels, bias, stride=(2, 2), padding=(1, 1))
    y = np.maximum(y, 0)
    shown, rows = (2, 0, 3), tuple(range(5))
    opened = Opened(2, rows, rows, hand.whole(x), None, picked(y, shown[:2], rows, rows))
    conv = Convolution((3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), 1, x.shape,
                       packed(kernels[list(shown)]), packed(bias[list(shown)]), (0, 0, 0),
                       (0, 0, 0), opened, "relu")  # fmt: skip
    first = hand.add("conv", "conv2d", y, conv, (0,), channels=shown, step=2)

    x = np.float32(y)
    kernels = random(4, 1, 3, 3, seed=3)
    y = convolved(x, kernels, np.zeros(4), padding=(2, 2), dilation=(2, 2), groups=4)
    shown, rows, columns = (1, 3), (0, 2, 4), (1, 3)
    cut = windows_of(x[list(shown)], rows, columns, (3, 3), (1, 1), (2, 2), (2, 2), 0.0)
    opened = Opened(2, rows, columns, None, packed(cut[:, :, :, None]),
                    picked(y, shown, rows, columns))  # fmt: skip
    depth = Convolution((3, 3), (1, 1), ((2, 2), (2, 2)), (2, 2), 4, x.shape,
                        packed(kernels[list(shown)]), None, shown, (0, 1), opened)  # fmt: skip
    second = hand.add("depthwise", "depthwise_conv2d", y, depth, (first,), channels=shown, step=2)

    x = np.float32(y)
    kernels, bias = random(6, 2, 1, 1, seed=4), random(6, seed=5)
    y = convolved(x, kernels, bias, groups=2)
    shown, rows = (5, 2), (0, 1, 2, 3, 4)
    opened = Opened(2, rows, rows, hand.whole(x), None, picked(y, shown, rows, rows))
    point = Convolution((1, 1), (1, 1), ((0, 0), (0, 0)), (1, 1), 2, x.shape,
                        packed(kernels[list(shown)]), packed(bias[list(shown)]), (2, 0), (0, 0),
                        opened)  # fmt: skip
    third = hand.add("pointwise", "pointwise_conv2d", y, point, (second,), channels=shown, step=2)

    x = np.float32(y)
    mean, variance, weight, bias = random(4, 6, seed=6)
    variance = np.abs(variance) + np.float32(0.5)
    columns6 = (slice(None), None, None)
    y = (x.astype(np.float64) - mean[columns6]) / np.sqrt(variance[columns6] + 1e-5)
    y = y * weight[columns6] + bias[columns6]
    shown = (4, 1)
    some = list(shown)
    cut = windows_of(x[some], rows, rows, (1, 1), (1, 1), (0, 0), (1, 1), 0.0)
    norm = BatchNorm(packed(mean[some]), packed(variance[some]), 1e-5, packed(weight[some]),
                     packed(bias[some]), tuple(map(histogram, x[some])),
                     tuple(map(histogram, y[some])),
                     Opened(2, rows, rows, None, packed(cut), picked(y, shown, rows, rows)),
                     )  # fmt: skip
    fourth = hand.add("norm", "batch_norm2d", y, norm, (third,), channels=shown, step=2)

    x = np.float32(y)
    y = np.clip(x, 0, 6)
    opened = Opened(2, rows, rows, hand.whole(x), None, picked(y, shown, rows, rows))
    act = Activation("relu6", "min(max(x, 0), 6)", float((x <= 0).mean()), float((x >= 6).mean()),
                     histogram(x), histogram(y), opened)  # fmt: skip
    fifth = hand.add("relu6", "activation", y, act, (fourth,), channels=shown, step=2)

    x = np.float32(x)  # before the activation: its windows have negative maxima, too
    rows3 = (0, 1, 2)
    cut = windows_of(x, rows3, rows3, (3, 3), (2, 2), (1, 1), (1, 1), np.nan)
    y = np.nanmax(cut, (3, 4))
    borders = ((0, 1, 3), (2, 4, 5))
    opened = Opened(2, rows3, rows3, hand.whole(x), None, picked(y, shown, rows3, rows3))
    pool = Pool("max", False, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), x.shape, *borders,
                *borders, None, opened)  # fmt: skip
    hand.add("max_pool", "max_pool2d", y, pool, (fourth,), channels=shown, step=4)

    y = np.nansum(cut, (3, 4)) / 9
    opened = Opened(2, rows3, rows3, None, packed(cut[some]), picked(y, shown, rows3, rows3))
    pool = Pool("average", False, (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), x.shape, *borders,
                *borders, packed(np.full((3, 3), 9)), opened)  # fmt: skip
    seventh = hand.add("avg_pool", "avg_pool2d", y, pool, (fifth,), channels=shown, step=4)

    x = np.float32(y)
    gates, means = 1 / (1 + np.exp(-random(6, seed=7))), x.mean((1, 2))
    y = x * gates[columns6].astype(np.float64)
    opened = Opened(2, rows3, rows3, hand.whole(x), None, picked(y, shown, rows3, rows3))
    gate = SqueezeExcite(packed(gates), packed(means), packed(random(2)), opened)
    eighth = hand.add("gate", "squeeze_excite", y, gate, (seventh,), channels=shown, step=4)

    operands = np.stack([x, np.float32(y)])
    y = operands.astype(np.float64).sum(0)
    both = packed(operands[np.ix_((0, 1), shown, rows3, rows3)])
    opened = Opened(2, rows3, rows3, None, None, picked(y, shown, rows3, rows3))
    ninth = hand.add("sum", "add", y, Join("add", (seventh, eighth), both, (), opened),
                     (seventh, eighth), channels=shown, step=4)  # fmt: skip

    y = np.concatenate([operands[0], y])
    shown = (8, 1)
    opened = Opened(2, rows3, rows3, None, None, picked(y, shown, rows3, rows3))
    laid = Join("concatenate", (seventh, ninth), packed([]), ((1, 2), (0, 1)), opened)
    tenth = hand.add("cat", "cat", y, laid, (seventh, ninth), channels=shown, step=4)

    mask = np.random.default_rng(8).integers(0, 2, (2, 3, 3))
    drop = Dropout(0.5, 2.0, packed(mask, "uint8"), "value", float(mask.mean()))
    drop_id = hand.add("dropout", "dropout", y, drop, (tenth,), channels=shown, step=4)
    shut = hand.add("spread", "conv_transpose2d", y, None, (drop_id,), closed=f"no rule; {EVIL}")

    x = np.float32(y)
    y = x.astype(np.float64).mean((1, 2), keepdims=True)
    opened = Opened(2, (0,), (0,), hand.whole(x), None, picked(y, shown, (0,), (0,)))
    pool = Pool("average", True, (3, 3), (0, 0), ((0, 0), (0, 0)), (1, 1), x.shape, (0,), (3,),
                (0,), (3,), packed([[9]]), opened)  # fmt: skip
    last = hand.add("global", "global_avg_pool2d", y, pool, (shut,), channels=shown, vector=True)

    x = np.float32(y).reshape(-1)
    weights, bias = random(5, 12, seed=9), random(5, seed=10)
    products = weights.astype(np.float64) * x
    y = products.sum(1) + bias
    shown = tuple(int(one) for one in np.argsort(-y)[:3])
    order = np.argsort(-np.abs(products[list(shown)]), axis=1)[:, :4]
    rest = [
        products[m].sum() - products[m, terms].sum() for m, terms in zip(shown, order, strict=True)
    ]
    head = Dense(
        12,
        5,
        packed(order, "int32"),
        packed(x[order]),
        packed(np.take_along_axis(weights[list(shown)], order, 1)),
        tuple(map(float, rest)),
        packed(bias[list(shown)]),
        packed(y[list(shown)]),
    )
    hand.add("head", "dense", y.reshape(-1, 1, 1), head, (last,), channels=shown, vector=True)

    probabilities = np.exp(y) / np.exp(y).sum()
    order = [int(one) for one in np.argsort(-y)]
    names = {index: f"class {index}" for index in order}
    names[order[1]] = EVIL
    answer = Answer(
        tuple(ClassScore(i, names[i], float(np.float32(y[i])), float(probabilities[i]))
              for i in order[:3]), 5, False)  # fmt: skip
    cam = random(3, 3, seed=11)
    best = np.full((5, 5), order[0])
    best[0, 0] = order[1]
    shares = np.linspace(0.05, 0.95, 25).reshape(1, 5, 5)
    shifts = Shifts((-2, -1, 0, 1, 2), (order[0],), packed(shares), packed(best, "int32"), names)
    pixels = np.random.default_rng(12).integers(0, 256, (9, 9, 3))
    return Explanation(
        f"net {EVIL}", Picture(packed(pixels, "uint8"), "nine.png", "cut to 9 × 9"),
        tuple(hand.layers), tuple(hand.tensors), answer,
        (ClassMap("class activation map", 11, order[0], packed(cam), 0.25),), shifts, 1234, 56_789,
        notes=(f"a note {EVIL}",), every_position=False,
    )  # fmt: skip
