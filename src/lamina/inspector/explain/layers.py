"""The layers of the record: maps, arithmetic and theory of every part, within the page's bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from lamina.inspector.explain.arithmetic import Tensors, arithmetic_of, need_of
from lamina.inspector.explain.budget import Need, even_cap
from lamina.inspector.explain.dropped import dropout_of, is_dropout
from lamina.inspector.explain.maps import maps_of, most_active
from lamina.inspector.explain.parts import Part
from lamina.inspector.explain.sentences import theory_of
from lamina.report.explanation.records import (
    Arithmetic,
    Array,
    Cost,
    Dense,
    Dropout,
    Field,
    Layer,
    Maps,
)

__all__ = ["Shown", "shown_layers"]

_MOST_SHOWN = 8  # channels of a layer
_ALL_SHOWN = 16  # channels that are shown to the last
_MAPS_SHARE = 0.4  # of the bytes
_FEWEST_SHOWN = 4


@dataclass(frozen=True)
class Shown:
    """The layers, and what they read.

    Args:
        layers: the input first.
        tensors: complete inputs.
        every_position: whether each can be opened everywhere.
    """

    layers: tuple[Layer, ...]
    tensors: tuple[Array, ...]
    every_position: bool


@dataclass(frozen=True)
class _View:
    """What is shown of an image: its channels, drawn at every ``step``."""

    image: Tensor
    channels: list[int]
    activity: list[float]

    def size(self, step: int, channels: int) -> int:
        _, rows, columns = self.image.shape
        return channels * -(-rows // step) * -(-columns // step)

    def fit(self, most: int) -> Maps:
        """Fewer channels first, then fewer rows and columns."""
        channels, step = len(self.channels), 1
        while channels > _FEWEST_SHOWN and self.size(1, channels) > most:
            channels -= 1
        while self.size(step, channels) > most and step < 8:
            step += 1
        return maps_of(self.image, self.channels[:channels], self.activity[:channels], step)


def shown_layers(parts: list[Part], most: int, scoring: Mapping[Part, Sequence[int]]) -> Shown:
    """Every layer with as much as so many bytes of arrays hold.

    Args:
        parts: the layers, the image first.
        most: bytes of all arrays together.
        scoring: the layers whose outputs are the classes, with those to be shown.
    """
    ids = {part: place for place, part in enumerate(parts)}
    views = [_view(part.y, scoring.get(part, ())) for part in parts]
    sizes = [view.size(1, len(view.channels)) for view in views if view is not None]
    for_maps = int(most * _MAPS_SHARE)
    share = even_cap(sizes, for_maps)
    maps = [None if view is None else view.fit(share) for view in views]
    spent = sum(len(one.pixels.data) for one in maps if one is not None)
    needs = [_need(part, drawn) for part, drawn in zip(parts, maps, strict=True)]
    known = [need for need in needs if need is not None]
    share = even_cap(
        [need.in_full for need in known], most - spent, [need.weight for need in known]
    )
    tensors = Tensors()
    layers = []
    for part, drawn, need in zip(parts, maps, needs, strict=True):
        choice = need.choose(share * need.weight) if need is not None else None
        arithmetic: Arithmetic | None = None
        closed = part.closed
        if part.reading is not None and drawn is not None and choice is not None:
            operands = [None if one is None else ids[one] for one in part.operands]
            arithmetic = arithmetic_of(part.reading, drawn.channels, choice, tensors, operands)
        elif need is not None:
            closed = f"its numbers do not fit: one takes more than {share * need.weight:,} bytes"
        elif drawn is not None and is_dropout(part.kind):
            arithmetic = _dropped(part, drawn)
        layers.append(_layer(part, ids, drawn, arithmetic, closed))
    every = all(map(_is_everywhere, layers))
    return Shown(tuple(layers), tuple(tensors.arrays), every)


def _need(part: Part, drawn: Maps | None) -> Need | None:
    if part.reading is None or drawn is None:
        return None
    return need_of(part.reading, len(drawn.channels))


def _view(image: Tensor | None, wanted: Sequence[int]) -> _View | None:
    if image is None:
        return None
    order, activity = most_active(image)
    most = len(order) if len(order) <= _ALL_SHOWN else _MOST_SHOWN
    channels = [*wanted, *(one for one in order if one not in set(wanted))] if wanted else order
    channels = channels[: max(most, len(wanted))]
    return _View(image, channels, [activity[channel] for channel in channels])


def _dropped(part: Part, drawn: Maps) -> Dropout | None:
    operands = part.steps[0].operands
    return dropout_of(
        part.visit.module,
        operands[0],
        part.visit.row.channels_last,
        list(drawn.channels),
        drawn.step,
    )


def _is_everywhere(layer: Layer) -> bool:
    opened = getattr(layer.arithmetic, "opened", None)
    if isinstance(layer.arithmetic, Dense) or opened is None or layer.maps is None:
        return True
    full = (len(layer.maps.channels), layer.maps.rows, layer.maps.columns)
    return (opened.channels, len(opened.rows), len(opened.columns)) == full


_PIXEL = Field((0.0, 0.0), (1.0, 1.0), (1, 1))


def _layer(
    part: Part,
    ids: dict[Part, int],
    maps: Maps | None,
    arithmetic: Arithmetic | None,
    closed: str,
) -> Layer:
    row, cost = part.visit.row, part.cost
    return Layer(
        id=ids[part],
        inputs=tuple(ids[one] for one in part.inputs),
        name=part.name,
        type=row.type.rpartition(".")[2],
        kind=part.kind,
        settings=part.settings,
        input_shapes=tuple(part.input_shapes),
        output_shape=part.output_shape,
        channels_last=row.channels_last,
        theory=theory_of(part),
        role=row.role if part.is_whole else "",
        cost=None
        if part.kind == "input"
        else Cost(part.parameters, cost.macs, cost.flops, cost.bytes_moved),
        maps=maps,
        arithmetic=arithmetic,
        closed=closed,
        field=_field(part),
    )


def _field(part: Part) -> Field | None:
    """What a position sees, as its first pixel, its step and its size."""
    reach = part.last.reach
    if reach is None:  # nothing has slid a window yet
        return _PIXEL if part.last.result.dim() == 4 else None
    if len(reach.size) != 2:
        return None
    starts = [
        centre - (size - 1) / 2 for centre, size in zip(reach.offset, reach.size, strict=True)
    ]
    return Field(
        (starts[0], starts[1]), (reach.stride[0], reach.stride[1]), (reach.size[0], reach.size[1])
    )
