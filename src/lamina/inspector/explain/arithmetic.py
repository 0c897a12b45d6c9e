"""The exact numbers of a layer's arithmetic, as far as its share of the page allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.inspector.explain import readings
from lamina.inspector.explain.budget import Choice, Need, spread
from lamina.inspector.explain.maps import floats, histogram, integers
from lamina.inspector.explain.parts import Gates
from lamina.inspector.explain.readings import Reading
from lamina.report.explanation import records
from lamina.report.explanation.records import Arithmetic, Array, Opened

__all__ = ["Tensors", "arithmetic_of", "need_of"]

_TERMS = 12  # of a dense output
_WORTH = 16  # shares of a convolution, whose windows are large and worth most to look into
_NUMBERS_OF_A_HISTOGRAM = 64  # its bins before and after, as text


class Tensors:
    """Complete inputs, each kept once however many layers read it."""

    def __init__(self) -> None:
        self._places: dict[tuple[bytes, tuple[int, ...]], int] = {}
        self.arrays: list[Array] = []

    def place(self, tensor: Tensor) -> int:
        """The number under which a tensor is kept."""
        array = floats(tensor)
        key = array.data, array.shape
        if key not in self._places:
            self._places[key] = len(self.arrays)
            self.arrays.append(array)
        return self._places[key]


def need_of(reading: Reading | Gates, channels: int) -> Need:
    """What opening so many channels takes."""
    _, rows, columns = reading.y.shape
    match reading:
        case readings.Convolution():
            window = reading.weight[0].numel()
            own = window if reading.groups > 1 else 0
            return Need(
                channels,
                rows,
                columns,
                per_channel=window + 1,
                per_value=1 + own,
                per_position=window - own,
                whole=reading.x.numel(),
                weight=_WORTH,
            )
        case readings.Pool():
            taps = _largest(reading, 0) * _largest(reading, 1)
            return Need(
                channels,
                rows,
                columns,
                per_value=1 + taps,
                per_position=1,
                whole=reading.x.numel(),
            )
        case readings.Dense():
            terms = min(_TERMS, reading.x.shape[0])
            return Need(channels, 1, 1, per_channel=3 * terms + 6)
        case readings.Normalisation():
            each = 4 + _NUMBERS_OF_A_HISTOGRAM
            return Need(channels, rows, columns, per_channel=each, per_value=2, weight=2)
        case readings.Elementwise():
            return Need(channels, rows, columns, per_value=2, once=_NUMBERS_OF_A_HISTOGRAM)
        case Gates():
            once = 2 * reading.gates.numel() + reading.hidden.numel()
            return Need(channels, rows, columns, per_value=2, once=once, weight=_WORTH)
        case readings.Join():
            count = 0 if reading.operation == "concatenate" else len(reading.operands)
            return Need(channels, rows, columns, per_value=1 + count)


def arithmetic_of(
    reading: Reading | Gates,
    channels: Sequence[int],
    choice: Choice,
    tensors: Tensors,
    inputs: Sequence[int | None],
) -> Arithmetic:
    """The record of a layer's arithmetic.

    Args:
        reading: what it computes.
        channels: numbers of the shown channels.
        choice: how many of them are opened, and at how many positions.
        tensors: where complete inputs are kept.
        inputs: ids of the layers that the operands of a joining come from.
    """
    match reading:
        case readings.Convolution():
            return _convolution(reading, channels, choice, tensors)
        case readings.Pool():
            return _pool(reading, channels, choice, tensors)
        case readings.Dense():
            return _dense(reading, channels, choice)
        case readings.Normalisation():
            return _normalisation(reading, channels, choice)
        case readings.Elementwise():
            return _elementwise(reading, channels, choice)
        case Gates():
            return records.SqueezeExcite(
                floats(reading.gates),
                floats(reading.means),
                floats(reading.hidden),
                _by_value(reading.x, reading.y, channels, choice),
            )
        case readings.Join():
            return _join(reading, channels, choice, inputs)


def _grid(y: Tensor, choice: Choice) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return spread(choice.rows, y.shape[1]), spread(choice.columns, y.shape[2])


def _picked(image: Tensor, channels: Sequence[int], grid: tuple[tuple[int, ...], ...]) -> Tensor:
    """The values (channels, r, k) of an image on a grid."""
    return image[list(channels)][:, list(grid[0])][:, :, list(grid[1])]


def _opened(
    y: Tensor,
    channels: Sequence[int],
    choice: Choice,
    whole: int | None = None,
    windows: Array | None = None,
) -> Opened:
    grid = _grid(y, choice)
    results = floats(_picked(y, channels[: choice.channels], grid))
    return Opened(choice.channels, *grid, whole, windows, results)


def _by_value(x: Tensor, y: Tensor, channels: Sequence[int], choice: Choice) -> Opened:
    """Of what makes each value of one value: windows of 1 × 1."""
    values = _picked(x, channels[: choice.channels], _grid(y, choice))
    return _opened(y, channels, choice, windows=floats(values[..., None, None]))


def _convolution(
    reading: readings.Convolution, channels: Sequence[int], choice: Choice, tensors: Tensors
) -> records.Convolution:
    x, y, weight = reading.x, reading.y, reading.weight
    opened = list(channels[: choice.channels])
    width = weight.shape[1]
    firsts = [channel // (weight.shape[0] // reading.groups) * width for channel in opened]
    groups = sorted(set(firsts))
    windows = None
    if not choice.whole:
        windows = floats(torch.stack([_windows(reading, first, choice) for first in groups]))
    (top, bottom), (left, right) = reading.padding
    return records.Convolution(
        kernel_size=(weight.shape[2], weight.shape[3]),
        stride=reading.stride,
        padding=((top, bottom), (left, right)),
        dilation=reading.dilation,
        groups=reading.groups,
        input_size=_size(x),
        kernels=floats(weight[opened]),
        bias=None if reading.bias is None else floats(reading.bias[opened]),
        first_input=tuple(firsts),
        group_of=tuple(groups.index(first) for first in firsts),
        opened=_opened(y, channels, choice, tensors.place(x) if choice.whole else None, windows),
        then=reading.then,
    )


def _size(x: Tensor) -> tuple[int, int, int]:
    return x.shape[0], x.shape[1], x.shape[2]


def _windows(reading: readings.Convolution, first: int, choice: Choice) -> Tensor:
    """What a kernel meets, (r, k, channels, taps, taps): zeros where it hangs over the border."""
    _, width, *taps = reading.weight.shape
    part = F.pad(reading.x[first : first + width], [*reading.padding[1], *reading.padding[0]])
    seen = [
        torch.tensor(_grid(reading.y, choice)[axis])[:, None] * reading.stride[axis]
        + torch.arange(taps[axis]) * reading.dilation[axis]
        for axis in (0, 1)
    ]
    cut = part[:, seen[0][:, None, :, None], seen[1][None, :, None, :]]
    return cut.permute(1, 2, 0, 3, 4)


def _span(reading: readings.Pool, axis: int, position: int) -> range:
    """The rows, or columns, of the input that a window sees; none of the padding."""
    size, windows = reading.x.shape[1 + axis], reading.y.shape[1 + axis]
    if reading.kernel is None:
        return range(position * size // windows, -(-(position + 1) * size // windows))
    start = position * reading.stride[axis] - reading.padding[axis][0]
    step = reading.dilation[axis]
    end = min(start + (reading.kernel[axis] - 1) * step + 1, size)
    return range(start if start >= 0 else start + -(start // step) * step, end, step)


def _largest(reading: readings.Pool, axis: int) -> int:
    return max(len(_span(reading, axis, place)) for place in range(reading.y.shape[1 + axis]))


def _pool(
    reading: readings.Pool, channels: Sequence[int], choice: Choice, tensors: Tensors
) -> records.Pool:
    x, y = reading.x, reading.y
    grid = _grid(y, choice)
    spans = [[_span(reading, axis, place) for place in grid[axis]] for axis in (0, 1)]
    windows = None
    if not choice.whole:
        size = [max(len(span) for span in spans[axis]) for axis in (0, 1)]
        cut = x.new_full((choice.channels, len(grid[0]), len(grid[1]), *size), torch.nan)
        chosen = x[list(channels[: choice.channels])]
        for r, rows in enumerate(spans[0]):
            for k, columns in enumerate(spans[1]):
                cut[:, r, k, : len(rows), : len(columns)] = chosen[:, list(rows)][
                    :, :, list(columns)
                ]
        windows = floats(cut)
    (top, bottom), (left, right) = reading.padding
    return records.Pool(
        mode=reading.mode,
        is_global=reading.is_global,
        kernel_size=reading.kernel or (_largest(reading, 0), _largest(reading, 1)),
        stride=(0, 0) if reading.kernel is None else reading.stride,
        padding=((top, bottom), (left, right)),
        dilation=reading.dilation,
        input_size=_size(x),
        first_row=tuple(span.start for span in spans[0]),
        end_row=tuple(span.stop for span in spans[0]),
        first_column=tuple(span.start for span in spans[1]),
        end_column=tuple(span.stop for span in spans[1]),
        divisors=_divisors(reading, grid) if reading.mode == "average" else None,
        opened=_opened(y, channels, choice, tensors.place(x) if choice.whole else None, windows),
    )


def _divisors(reading: readings.Pool, grid: tuple[tuple[int, ...], ...]) -> Array:
    """What each window's sum is divided by."""
    if reading.divisor is not None:
        return floats(torch.full((len(grid[0]), len(grid[1])), float(reading.divisor)))
    sides = []
    for axis in (0, 1):
        counts = []
        for place in grid[axis]:
            if reading.kernel is not None and reading.counts_padding:
                before, after = reading.padding[axis]
                start = place * reading.stride[axis] - before
                end = min(start + reading.kernel[axis], reading.x.shape[1 + axis] + after)
                counts.append(end - start)
            else:
                counts.append(len(_span(reading, axis, place)))
        sides.append(torch.tensor(counts, dtype=torch.float32))
    return floats(sides[0][:, None] * sides[1])


def _dense(reading: readings.Dense, channels: Sequence[int], choice: Choice) -> records.Dense:
    opened = list(channels[: choice.channels])
    x, weight = reading.x.flatten(), reading.weight[opened].detach()
    products = weight.double() * x.double()
    count = min(_TERMS, x.numel())
    order = products.abs().argsort(dim=1, descending=True, stable=True)
    largest, others = order[:, :count], order[:, count:]
    return records.Dense(
        in_features=x.numel(),
        out_features=reading.weight.shape[0],
        indices=integers(largest),
        inputs=floats(x[largest]),
        weights=floats(weight.gather(1, largest)),
        rest=tuple(products.gather(1, others).sum(1).tolist()),
        bias=None if reading.bias is None else floats(reading.bias[opened]),
        results=floats(reading.y.flatten()[opened]),
        then=reading.then,
    )


def _normalisation(
    reading: readings.Normalisation, channels: Sequence[int], choice: Choice
) -> records.BatchNorm:
    opened = list(channels[: choice.channels])
    return records.BatchNorm(
        mean=floats(reading.mean[opened]),
        variance=floats(reading.variance[opened]),
        epsilon=reading.epsilon,
        weight=None if reading.weight is None else floats(reading.weight[opened]),
        bias=None if reading.bias is None else floats(reading.bias[opened]),
        before=tuple(histogram(reading.x[channel]) for channel in opened),
        after=tuple(histogram(reading.y[channel]) for channel in opened),
        opened=_by_value(reading.x, reading.y, channels, choice),
        then=reading.then,
    )


def _elementwise(
    reading: readings.Elementwise, channels: Sequence[int], choice: Choice
) -> records.Activation:
    function, x = reading.function, reading.x

    def share(of: Callable[[Tensor], Tensor]) -> float:
        return float(of(x).double().mean())

    low, high = function.cut, function.cap
    return records.Activation(
        function=function.name,
        formula=function.formula,
        cut=None if low is None else share(lambda values: values <= low),
        capped=None if high is None else share(lambda values: values >= high),
        before=histogram(x),
        after=histogram(reading.y),
        opened=_by_value(x, reading.y, channels, choice) if function.by_value else None,
    )


def _join(
    reading: readings.Join,
    channels: Sequence[int],
    choice: Choice,
    inputs: Sequence[int | None],
) -> records.Join:
    grid = _grid(reading.y, choice)
    opened = channels[: choice.channels]
    origin: list[tuple[int, int]] = []
    empty = floats(torch.zeros(0))
    if reading.operation == "concatenate":
        sizes = [operand.shape[0] for operand in reading.operands if isinstance(operand, Tensor)]
        ends = np.cumsum(sizes)
        for channel in channels:
            operand = int(np.searchsorted(ends, channel, side="right"))
            origin.append((operand, channel - int(ends[operand]) + sizes[operand]))
        values = empty
    else:
        like = _picked(reading.y, opened, grid)
        picked = [
            _picked(operand, opened, grid)
            if isinstance(operand, Tensor)
            else torch.full_like(like, operand)
            for operand in reading.operands
        ]
        values = floats(torch.stack(picked))
    return records.Join(
        operation=reading.operation,
        inputs=tuple(inputs),
        operands=values,
        origin=tuple(origin),
        opened=_opened(reading.y, channels, choice),
    )
