"""How a layer's numbers come about, as plain data: enough to compute chosen ones again, exactly.

The conventions are those of ``records``: shown channels ``s``, rows ``r`` and columns ``k`` that
can be opened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "Activation",
    "Arithmetic",
    "Array",
    "BatchNorm",
    "Convolution",
    "Dense",
    "Dropout",
    "Histogram",
    "Join",
    "Opened",
    "Pair",
    "Pool",
    "Shape",
    "SqueezeExcite",
]

Pair = tuple[int, int]
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Array:
    """Numbers as raw bytes: little-endian, C order.

    Args:
        data: the bytes.
        shape: sizes, the slowest axis first.
        dtype: of a number.
    """

    data: bytes
    shape: Shape
    dtype: Literal["float32", "uint8", "int32"]


@dataclass(frozen=True)
class Opened:
    """Which outputs of a layer can be computed again, and from what; all of it exact.

    The input comes in one of two forms. ``whole`` is the number of a tensor in
    `Explanation.tensors`, float32 (input channels, input rows, input columns), of which the
    windows are cut; ``windows`` has them ready cut. In a window a position outside of the input is
    0 for a convolution and NaN for a pool (it takes no part). The other is None.

    Args:
        channels: the first so many of the shown channels can be opened; where there is an `Opened`,
            ``s`` goes so far and no further, in the arrays here and in the kernels beside it.
        rows: output rows that can be opened, ascending; ``r`` is a place in it.
        columns: output columns that can be opened, ascending; ``k`` is a place in it.
        whole: number of a tensor in `Explanation.tensors`.
        windows: of a convolution float32 (groups, r, k, channels of a group, window rows, window
            columns), groups as in `Convolution.group_of`; of everything else float32 (s, r, k,
            window rows, window columns), which for a normalisation and an activation is 1 × 1.
        results: float32 (s, r, k): what the model computed there.
    """

    channels: int
    rows: tuple[int, ...]
    columns: tuple[int, ...]
    whole: int | None
    windows: Array | None
    results: Array


@dataclass(frozen=True)
class Convolution:
    """Conv2D, depthwise or pointwise: y = bias + sum of window times kernel.

    Tap (p, q) of output position (i, j) lies at input row ``i * stride[0] + p * dilation[0] -
    padding[0][0]`` and at column ``j * stride[1] + q * dilation[1] - padding[1][0]``. The window of
    output channel ``channels[s]`` is of the input channels ``first_input[s]`` to
    ``first_input[s] + c - 1``, c being the second size of ``kernels``.

    Args:
        kernel_size: taps, (rows, columns).
        stride: pixels, (rows, columns).
        padding: pixels before and after, (rows, columns).
        dilation: distance of two taps in pixels, (rows, columns).
        groups: of channels.
        input_size: (channels, rows, columns).
        kernels: float32 (s, channels of a group, taps, taps): weights of the shown channels.
        bias: float32 (s,); None without.
        first_input: first input channel of the window of each shown channel.
        group_of: for each shown channel the place of its window in `Opened.windows`.
        opened: where.
        then: name of an activation that the same layer applies to the sum, such as ``"relu"``;
            empty without. ``opened.results`` are after it, and so are the maps.
    """

    kernel_size: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    groups: int
    input_size: tuple[int, int, int]
    kernels: Array
    bias: Array | None
    first_input: tuple[int, ...]
    group_of: tuple[int, ...]
    opened: Opened
    then: str = ""


@dataclass(frozen=True)
class Pool:
    """Maximum or average over a window of each channel alone.

    Output row i sees the input rows ``first_row[r]``, ``first_row[r] + dilation[0]``, ... below
    ``end_row[r]``, all inside of the input; columns likewise. Of equal maxima the first wins,
    row by row. An average is the sum over the window divided by ``divisors``, which counts padding
    where the layer does.

    Args:
        mode: what is made of a window.
        is_global: whether every window is the whole image.
        kernel_size: (rows, columns); of an adaptive pool the largest.
        stride: (rows, columns); (0, 0) of an adaptive pool, whose windows differ.
        padding: pixels before and after, (rows, columns).
        dilation: distance of two taps, (rows, columns).
        input_size: (channels, rows, columns).
        first_row: for each of `Opened.rows`.
        end_row: for each of `Opened.rows`, one past the last row seen.
        first_column: for each of `Opened.columns`.
        end_column: for each of `Opened.columns`.
        divisors: float32 (r, k) of an average; None of a maximum.
        opened: where.
    """

    mode: Literal["max", "average"]
    is_global: bool
    kernel_size: Pair
    stride: Pair
    padding: tuple[Pair, Pair]
    dilation: Pair
    input_size: tuple[int, int, int]
    first_row: tuple[int, ...]
    end_row: tuple[int, ...]
    first_column: tuple[int, ...]
    end_column: tuple[int, ...]
    divisors: Array | None
    opened: Opened


@dataclass(frozen=True)
class Dense:
    """Dense: y = bias + sum of weight times input, its largest terms apart.

    For shown output s: y = (sum over t of ``weights[s, t] * inputs[s, t]``) + ``rest[s]``
    + ``bias[s]``.

    Args:
        in_features: terms of a sum.
        out_features: outputs.
        indices: int32 (s, t): numbers of the input features of the largest terms, largest absolute
            product first.
        inputs: float32 (s, t).
        weights: float32 (s, t).
        rest: of each shown output, the sum of all other products, in float64.
        bias: float32 (s,); None without.
        results: float32 (s,): what the model computed.
        then: as `Convolution.then`.
    """

    in_features: int
    out_features: int
    indices: Array
    inputs: Array
    weights: Array
    rest: tuple[float, ...]
    bias: Array | None
    results: Array
    then: str = ""


@dataclass(frozen=True)
class Histogram:
    """How often values fall into equal bins from `low` to `high`.

    Args:
        low: least value.
        high: largest value.
        counts: of each bin, the first from `low` on.
    """

    low: float
    high: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalisation: y = (x - mean) / sqrt(variance + epsilon) * weight + bias.

    Args:
        mean: float32 (s,), running mean.
        variance: float32 (s,), running variance.
        epsilon: what keeps the root away from zero.
        weight: float32 (s,); None stands for ones.
        bias: float32 (s,); None stands for zeros.
        before: of each shown channel's input.
        after: of each shown channel's output.
        opened: where; its windows are 1 × 1.
        then: as `Convolution.then`; `after` and ``opened.results`` are after it.
    """

    mean: Array
    variance: Array
    epsilon: float
    weight: Array | None
    bias: Array | None
    before: tuple[Histogram, ...]
    after: tuple[Histogram, ...]
    opened: Opened
    then: str = ""


@dataclass(frozen=True)
class Activation:
    """An activation: y = f(x), value by value.

    Args:
        function: its name, such as ``"relu6"``.
        formula: f in words of arithmetic, such as ``"min(max(x, 0), 6)"``; empty where unknown.
        cut: share in [0, 1] of all the layer's values that f makes its lower constant: below or at
            zero for ReLU; None where f is constant nowhere.
        capped: share that f makes its upper constant: at or above 6 for ReLU6; None where there is
            none.
        before: histogram of all the layer's inputs.
        after: histogram of all the layer's outputs.
        opened: where; its windows are 1 × 1. None where an output depends on several inputs, as
            softmax's does.
    """

    function: str
    formula: str
    cut: float | None
    capped: float | None
    before: Histogram
    after: Histogram
    opened: Opened | None


@dataclass(frozen=True)
class Dropout:
    """Dropout: in a training step y = x * mask / (1 - rate); in use y = x.

    Args:
        rate: probability of a zero.
        scale: 1 / (1 - rate), which what is kept is multiplied by in training.
        mask: uint8 (s, rows, columns), rows and columns as `Maps.pixels`: 1 where one training
            step, drawn for this page, keeps the value.
        unit: what is dropped together.
        kept: share of all values that this step kept.
    """

    rate: float
    scale: float
    mask: Array
    unit: Literal["value", "channel", "image"]
    kept: float


@dataclass(frozen=True)
class SqueezeExcite:
    """Squeeze and excite: each channel is multiplied by its own gate, made of all channels' means.

    Args:
        gates: float32 (channels,), of all channels in their order, in [0, 1].
        means: float32 (channels,): what the gates are made of.
        hidden: float32 (hidden,): between the two dense layers, after the first's activation.
        opened: where; its windows are 1 × 1: y = x * gate.
    """

    gates: Array
    means: Array
    hidden: Array
    opened: Opened


@dataclass(frozen=True)
class Join:
    """Several maps become one: added, multiplied, or laid behind each other.

    Args:
        operation: what is done: ``"add"``: y = a + b; ``"subtract"``: y = a - b; ``"multiply"``:
            y = a * b; ``"concatenate"``: y is one of them.
        inputs: for each operand the layer it comes from, by `Layer.id`; None for a number or a
            parameter.
        operands: float32 (operands, s, r, k): the values that are joined at each position that can
            be opened; empty of a concatenation, (0,).
        origin: of a concatenation, for each shown channel, which operand and which of its channels
            it is; empty of the others.
        opened: where; neither ``whole`` nor ``windows`` are given.
    """

    operation: Literal["add", "subtract", "multiply", "concatenate"]
    inputs: tuple[int | None, ...]
    operands: Array
    origin: tuple[Pair, ...]
    opened: Opened


Arithmetic = Convolution | Pool | Dense | BatchNorm | Activation | Dropout | SqueezeExcite | Join
