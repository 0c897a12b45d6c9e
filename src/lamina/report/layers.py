"""The layers of a network as a table, and as a column: width is channels, height is resolution."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from lamina.report.html import Html, tag
from lamina.report.svg import drawing, text
from lamina.report.table import Column, Table
from lamina.report.units import count, percent, shape


@dataclass(frozen=True)
class LayerRow:
    """One call of a layer.

    Args:
        name: qualified name in the model.
        kind: name of its class.
        output_shape: of one image, (1, C, H, W) or (1, features).
        parameters: trainable elements; those of a layer that is called again count once.
        macs: multiply-accumulates for one image, None where no formula is known.
        share: of all known MACs.
    """

    name: str
    kind: str
    output_shape: tuple[int, ...]
    parameters: int
    macs: int | None
    share: float | None = None


_COLUMNS = (
    Column("name", "Layer"),
    Column("kind", "Kind"),
    Column("output_shape", "Output", shape),
    Column("parameters", "Parameters", count, "right"),
    Column("macs", "MACs", count, "right"),
    Column("share", "Share", percent, "right"),
)


def layer_table(rows: Sequence[LayerRow]) -> Table:
    """Return the table of a network's layers for one image, with its totals.

    The batch's 1 is left out of the shapes.
    """
    return Table(
        _COLUMNS,
        [
            {
                "name": row.name,
                "kind": row.kind,
                "output_shape": row.output_shape[1:],
                "parameters": row.parameters,
                "macs": row.macs,
                "share": row.share,
            }
            for row in rows
        ],
        {
            "name": "total" if complete(rows) else "total of what is counted",
            "parameters": sum(row.parameters for row in rows),
            "macs": sum(row.macs or 0 for row in rows),
        },
    )


def complete(rows: Sequence[LayerRow]) -> bool:
    """Tell whether the MACs of every layer are known."""
    return all(row.macs is not None for row in rows)


def layer_column(rows: Sequence[LayerRow], input_shape: tuple[int, ...], width: int = 420) -> Html:
    """Draw the network from its input down: width is channels, height is resolution.

    Both are drawn by their square root, so that a 7×7 map of 512 channels and a 224×224 one of 3
    can be seen on one page. A colour says what a layer is for: to mix channels and pixels, to keep
    the scale, to lower the resolution.

    Args:
        rows: the layers in the order of their calls.
        input_shape: (1, C, H, W) of an image.
        width: of the drawing in pixels.
    """
    shapes = [input_shape, *(row.output_shape for row in rows)]
    channels = [sizes[1] if len(sizes) > 1 else 1 for sizes in shapes]
    heights = [sizes[2] if len(sizes) > 2 else 1 for sizes in shapes]
    labels = 190.0
    room, middle = width - labels, (width - labels) / 2
    parts: list[Html] = []
    y = 4.0
    names = ["input", *(row.kind for row in rows)]
    for place, (name, sizes) in enumerate(zip(names, shapes, strict=True)):
        wide = max(6.0, room * math.sqrt(channels[place] / max(channels)))
        high = max(8.0, 40 * math.sqrt(heights[place] / max(heights)))
        changed = place == 0 or sizes != shapes[place - 1]
        quiet = place > 0 and rows[place - 1].parameters == 0 and not changed
        high = 5.0 if quiet else high
        row_high = max(high, 14)
        baseline = y + row_high / 2 + 4
        title = f"{name} → {shape(sizes[1:])}"
        if place:
            row = rows[place - 1]
            title = (
                f"{row.name}: {title}, {count(row.parameters)} parameters, {count(row.macs)} MACs"
            )
        bar = tag(
            "rect",
            x=middle - wide / 2,
            y=y + (row_high - high) / 2,
            width=wide,
            height=high,
            rx=2.5,
            class_=_colour(name),
        )
        size = shape(sizes[1:]) if changed else ""
        parts.append(
            tag(
                "g",
                tag("title", title),
                bar,
                text(room + 14, baseline, name, class_="label strong"),
                text(width, baseline, size, anchor="end"),
            )
        )
        y += row_high + 5
    return drawing(width, y, parts, label="the network, layer by layer", class_="network")


def _colour(kind: str) -> str:
    kind = kind.lower()
    for words, colour in (
        (("conv", "linear", "dense"), "fill-1"),
        (("norm",), "fill-3"),
        (("pool",), "fill-2"),
        (("drop",), "fill-4"),
    ):
        if any(word in kind for word in words):
            return colour
    return "fill-quiet"
