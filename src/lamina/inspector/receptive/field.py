"""Receptive fields, carried from the input through every operator and every branch.

Along one axis of the input, output position i sees the pixels ``i * step + low`` to
``i * step + high``. A window of k pixels with stride s, padding p and dilation d turns that into

    step' = step * s,  low' = low - p * step,  high' = high + ((k - 1) * d - p) * step

(Araujo, Norris and Sim, "Computing Receptive Fields of Convolutional Neural Networks", Distill
2019, gives the closed form). Where branches join, the lowest low and the highest high remain;
where their steps differ, or an axis is summed over, every position sees the union (step 0).
Batch normalisation counts as pointwise, also in training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from lamina.inspector.count.operators import Value

__all__ = ["Call", "Field", "Fields", "ReceptiveField", "Rule", "Source", "Span", "merge"]

Source = tuple[int, int]  # which input, which of its axes


@dataclass(frozen=True)
class Span:
    """What a position along one axis sees of one axis of the input."""

    step: float = 1.0
    low: float = 0.0
    high: float = 0.0
    windowed: bool = False

    def everywhere(self, positions: int) -> Span:
        """The union over all positions; the same seen from each."""
        reach = (positions - 1) * self.step
        return Span(0.0, self.low + min(0.0, reach), self.high + max(0.0, reach), self.windowed)

    def union(self, other: Span) -> Span:
        """What either sees; their steps have to be equal."""
        return Span(
            self.step,
            min(self.low, other.low),
            max(self.high, other.high),
            self.windowed or other.windowed,
        )

    def window(self, size: int, stride: float, padding: float, dilation: int) -> Span:
        """After a sliding window."""
        return Span(
            self.step * stride,
            self.low - padding * self.step,
            self.high + ((size - 1) * dilation - padding) * self.step,
            True,
        )

    def spread(self, size: int, stride: int, padding: int, dilation: int) -> Span:
        """After a transposed convolution: the inputs j with i = j * stride - padding + t."""
        return Span(
            self.step / stride,
            self.low + self.step * (padding - (size - 1) * dilation) / stride,
            self.high + self.step * padding / stride,
            True,
        )


@dataclass(frozen=True)
class Field:
    """Per dimension of a tensor the axis of the input that it follows; and what is seen at all."""

    axes: tuple[Source | None, ...]
    spans: dict[Source, Span]

    def without(self, dims: Iterable[int], shape: Sequence[int]) -> dict[Source, Span]:
        """The spans after these dimensions were summed over."""
        spans = dict(self.spans)
        for dim in dims:
            source = self.axes[dim]
            if source is not None:
                spans[source] = spans[source].everywhere(shape[dim])
        return spans


@dataclass(frozen=True)
class ReceptiveField:
    """What one output position sees of the input, per spatial axis.

    Args:
        size: pixels from the first to the last one seen, padding included.
        stride: pixels between the fields of neighbouring positions; 0 if all see the same.
        offset: the centre of the first position's field, in pixels of the input.
    """

    size: tuple[int, ...]
    stride: tuple[float, ...]
    offset: tuple[float, ...]


def merge(fields: Sequence[tuple[Field, Sequence[int]]], axes: tuple[Source | None, ...]) -> Field:
    """Join branches into a tensor that follows ``axes``; each field comes with its shape."""
    spans: dict[Source, Span] = {}
    sizes: dict[Source, int] = {}
    for field, shape in fields:
        positions = {s: n for s, n in zip(field.axes, shape, strict=True) if s is not None}
        for source, span in field.spans.items():
            count = positions.get(source, 1)
            mine = span if source in axes else span.everywhere(count)
            seen = spans.get(source)
            if seen is not None and seen.step != mine.step:
                seen, mine = seen.everywhere(sizes[source]), mine.everywhere(count)
            spans[source] = mine if seen is None else seen.union(mine)
            sizes[source] = max(count, sizes.get(source, 1))
    return Field(tuple(s if s in spans else None for s in axes), spans)


class Fields:
    """The fields of all tensors that are alive."""

    def __init__(self) -> None:
        self._fields: Any = WeakTensorKeyDictionary()
        self._inputs = 0

    def start(self, tensor: Tensor) -> None:
        """Take a tensor as an input: every element sees itself."""
        if not tensor.is_floating_point():
            return
        sources = [(self._inputs, dim) for dim in range(tensor.dim())]
        self.set(tensor, Field(tuple(sources), {source: Span() for source in sources}))
        self._inputs += 1

    def set(self, tensor: Tensor, field: Field) -> None:
        """Note the field of a tensor."""
        self._fields[tensor] = field, tuple(tensor.shape)

    def get(self, tensor: object) -> Field | None:
        """The field of a tensor; ``None`` for one that no input has reached."""
        return self._fields.get(tensor, (None,))[0] if isinstance(tensor, Tensor) else None

    def shape(self, tensor: Tensor) -> tuple[int, ...]:
        """The shape that a tensor's field was noted for: a view in place has changed it since."""
        return self._fields[tensor][1] if tensor in self._fields else tuple(tensor.shape)

    def of(self, tensor: Tensor) -> ReceptiveField | None:
        """What one position of a tensor sees of the first input; ``None`` before any window."""
        field = self.get(tensor)
        if field is None:
            return None
        positions = {s: n for s, n in zip(field.axes, tensor.shape, strict=True) if s is not None}
        first = min((source[0] for source, span in field.spans.items() if span.windowed), default=0)
        spans = [
            replace(span, step=0.0) if positions.get(source, 1) == 1 else span
            for source, span in sorted(field.spans.items())
            if span.windowed and source[0] == first
        ]
        if not spans:
            return None
        return ReceptiveField(
            tuple(round(span.high - span.low) + 1 for span in spans),
            tuple(span.step for span in spans),
            tuple((span.low + span.high) / 2 for span in spans),
        )


class Call:
    """One result of one operator: what a rule may ask for."""

    def __init__(
        self,
        fields: Fields,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        index: int,
        out: Tensor,
    ) -> None:
        self.fields, self.args, self.kwargs = fields, args, kwargs
        self.index, self.out = index, out

    def field(self, position: int = 0) -> Field | None:
        """The field of an operand."""
        return self.fields.get(self.args[position])

    def shape(self, position: int = 0) -> Sequence[int]:
        """The shape of an operand, as it came."""
        return self.fields.shape(self.args[position])

    def arg(self, position: int, name: str, default: Value = None) -> Value:
        """An argument that may be given by place, by name, or not at all."""
        return self.args[position] if len(self.args) > position else self.kwargs.get(name, default)


Rule = Callable[[Call], Field | None]
