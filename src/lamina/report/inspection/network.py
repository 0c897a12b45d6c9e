"""The network of an account drawn from input to output, a block per row."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lamina.report import svg, units
from lamina.report.html import Html, tag
from lamina.report.records import Books, Row

__all__ = ["COLOURINGS", "FAMILIES", "family_of", "levels", "network"]

FAMILIES = ("conv", "depthwise", "pointwise", "norm", "pool", "activation", "dense", "other")
LEVELS = 7  # steps of the scale for numbers

COLOURINGS: dict[str, tuple[str, Callable[[Row], float | None]]] = {
    "macs": ("MACs", lambda row: row.forward.macs or None),
    "traffic": ("Bytes moved", lambda row: row.forward.bytes_moved or None),
    "saved": ("Saved for backward", lambda row: row.saved_bytes or None),
    "parameters": ("Parameters", lambda row: row.parameters + row.frozen or None),
    "time": ("Time", lambda row: row.time_forward.median if row.time_forward else None),
    "excess": (
        "Time above the limit",
        lambda row: (
            max(0.0, row.time_forward.median - (row.limit_forward or 0.0))
            if row.time_forward
            else None
        ),
    ),
    "gradient": (
        "Gradient norm",
        lambda row: row.health.gradient_norm if row.health else None,
    ),
    "dead": ("Dead channels", lambda row: row.health.dead if row.health else None),
}
"""What the column can be coloured by, beside the kind: title, and a row's value."""

_LOGARITHMIC = ("gradient",)


def family_of(kind: str) -> str:
    """The family whose colour a kind has.

    >>> family_of("depthwise_conv2d"), family_of("batch_norm2d"), family_of("add")
    ('depthwise', 'norm', 'other')
    """
    for family in ("depthwise", "pointwise", "conv", "norm", "pool", "activation", "dense"):
        if family in kind:
            return family
    return "other"


def levels(rows: Sequence[Row], colouring: str) -> list[int | None]:
    """Where each row's value lies on a scale from 0 to 6; ``None`` where it has none."""
    value_of = COLOURINGS[colouring][1]
    values = [value_of(row) for row in rows]
    known = [value for value in values if value is not None and math.isfinite(value)]
    if colouring in _LOGARITHMIC:
        known = [math.log10(value) for value in known if value > 0]
    if not known:
        return [None] * len(rows)
    low = min(known) if colouring in _LOGARITHMIC else 0.0
    span = (max(known) - low) or 1.0

    def level(value: float | None) -> int | None:
        if value is None or not math.isfinite(value):
            return None
        if colouring in _LOGARITHMIC:
            value = math.log10(value) if value > 0 else low
        return min(LEVELS - 1, int(LEVELS * (value - low) / span))

    return [level(value) for value in values]


_WIDTH, _MIDDLE = 470.0, 240.0  # of a column, in the drawing's units
_LABEL = 13.0  # from one line of text to the next
_COLUMN = 560.0  # a column's height from which on the network is drawn in several
_MOST_COLUMNS = 2  # beside each other in the width of a page, legible


def image_of(row: Row) -> tuple[int, int, int]:
    """Channels, height and width of what a row puts out; one pixel for what is no image."""
    shape = row.output_shapes[0] if row.output_shapes else ()
    if len(shape) == 4:
        _, *image = shape
        channels = image.pop(-1 if row.channels_last else 0)
        return channels, image[0], image[1]
    return (shape[-1] if shape else 1), 1, 1


def size_of(row: Row) -> str:
    """Channels and pixels in words.

    >>> size_of(Row("", 0, "", "", "", 0, None, output_shapes=[(1, 64, 128, 256)]))
    '64 × 128×256'
    >>> size_of(Row("", 0, "", "", "", 0, None, output_shapes=[(1, 64, 28, 28)]))
    '64 × 28²'
    >>> row = Row("", 0, "", "", "", 0, None, output_shapes=[(1, 28, 28, 64)], channels_last=True)
    >>> size_of(row)
    '64 × 28²'
    """
    channels, height, width = image_of(row)
    if height == width:
        return f"{channels} × {height}²" if height > 1 else f"{channels}"
    return f"{channels} × {height}×{width}"


@dataclass(frozen=True)
class _Block:
    """A row as it is drawn; lengths in the drawing's units."""

    index: int
    row: Row
    wide: float
    high: float
    group: str
    size: str
    data: dict[str, int]


def network(account: Books, rows: Sequence[tuple[int, Row]]) -> Html:
    """Draw the network from input to output, a block per row, a long one in columns.

    A block is as wide as its channels (their square root) and as high as its resolution.

    Args:
        account: whose network it is.
        rows: the rows that are drawn, each with its place among all.
    """
    blocks = _blocks(account, rows)
    total = sum(block.high + 2 for block in blocks)
    count = min(_MOST_COLUMNS, max(1, math.ceil(total / _COLUMN)))
    columns: list[list[_Block]] = [[] for _ in range(count)]
    above, here = 0.0, 0
    for before, block in zip([None, *blocks], blocks, strict=False):
        if before is None or before.group != block.group:  # a group stays in one column
            here = int(count * above / total)
        columns[here].append(block)
        above += block.high + 2
    columns = [column for column in columns if column]
    drawn = []
    for place, column in enumerate(columns):
        label = f"{account.model} from input to output, {len(rows)} layers"
        part = f", part {place + 1} of {len(columns)}" if len(columns) > 1 else ""
        begin = "input" if place == 0 else "continued"
        end = "output" if place == len(columns) - 1 else "continues"
        drawn.append(_column(column, label + part, begin, end))
    return tag("div", drawn, class_="network")


def _blocks(account: Books, rows: Sequence[tuple[int, Row]]) -> list[_Block]:
    # A flattened image may have a thousand times the channels of the widest one: it is cut there.
    extents = [image_of(row) for _, row in rows]
    images = [channels for channels, height, _ in extents if height > 1]
    most_channels = max(images or [channels for channels, *_ in extents], default=1)
    highest = max((height for _, height, _ in extents), default=1)
    scales = {name: levels([row for _, row in rows], name) for name in COLOURINGS}
    blocks = []
    for place, ((index, row), (channels, height, _)) in enumerate(zip(rows, extents, strict=True)):
        # What works on single values is drawn thin: the eye finds the layers with weights.
        weighty = family_of(row.kind) not in ("norm", "activation", "other")
        # By the module that calls it: one that is shared has the name of another one's child.
        caller = account.rows[row.parent].name if row.parent is not None else ""
        known = {name: scale[place] for name, scale in scales.items()}
        blocks.append(
            _Block(
                index,
                row,
                14 + 240 * math.sqrt(min(1.0, channels / most_channels)),
                (4 + 14 * math.sqrt(height / highest)) * (1.0 if weighty else 0.45),
                ".".join(caller.split(".")[:2]),
                size_of(row),
                {f"data_{name}": level for name, level in known.items() if level is not None},
            )
        )
    return blocks


def _column(blocks: Sequence[_Block], label: str, begin: str, end: str) -> Html:
    parts: list[Html] = []
    top, group, size = 22.0, "", ""
    size_at = group_at = -_LABEL  # where the last of these words stand: none goes over another
    for block in blocks:
        if block.group != group:
            top = max(top + 7, group_at + _LABEL - 9)
            if block.group:
                group_at = top + 9
                parts.append(svg.text(0, group_at, svg.shortened(block.group, 105), class_="group"))
                parts.append(tag("line", x1=0, x2=_WIDTH, y1=top - 3, y2=top - 3, class_="grid"))
            group = block.group
        if block.size != size:
            top = max(top, size_at + _LABEL - block.high / 2 - 4)
            size_at = top + block.high / 2 + 4
            parts.append(svg.text(_WIDTH, size_at, block.size, anchor="end"))
            size = block.size
        row, family = block.row, family_of(block.row.kind)
        shape = units.shape(row.output_shapes[0]) if row.output_shapes else ""
        parts.append(
            tag(
                "rect",
                tag("title", f"{row.label} · {row.kind} · {shape}"),
                x=_MIDDLE - block.wide / 2,
                y=top,
                width=block.wide,
                height=block.high,
                rx=min(3.0, block.high / 3),
                class_=f"block kind-{family}",
                data_row=block.index,
                data_kind=family,
                **block.data,
            )
        )
        top += block.high + 2
    parts.append(svg.text(_MIDDLE, 12, begin, anchor="middle"))
    parts.append(svg.text(_MIDDLE, top + 14, end, anchor="middle"))
    parts.append(svg.text(_WIDTH, 12, "channels × pixels", anchor="end"))
    return svg.drawing(_WIDTH, top + 20, parts, label=label)
