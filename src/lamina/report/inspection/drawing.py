"""The drawings of an account: the network as a column, the roofline, bars along depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lamina.report import svg, units
from lamina.report.html import Html, tag
from lamina.report.records import Books, Row
from lamina.report.svg import Axis

__all__ = ["COLOURINGS", "FAMILIES", "bars_along_depth", "column", "family_of", "roofline"]

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


def image_of(row: Row) -> tuple[int, int]:
    """Channels and height of what a row puts out; 1 pixel for what is no image."""
    shape = row.output_shapes[0] if row.output_shapes else ()
    if len(shape) == 4:
        return shape[1], shape[2]
    return (shape[-1] if shape else 1), 1


def column(account: Books, rows: Sequence[tuple[int, Row]]) -> Html:
    """Draw the network from input to output, a block per row.

    A block is as wide as its channels (their square root) and as high as its resolution.

    Args:
        account: whose network it is.
        rows: the rows that are drawn, each with its place among all.
    """
    width, middle = 470.0, 240.0
    # A flattened image may have a thousand times the channels of the widest one: it is cut there.
    extents = [image_of(row) for _, row in rows]
    images = [channels for channels, pixels in extents if pixels > 1]
    most_channels = max(images or [channels for channels, _ in extents], default=1)
    highest = max((image_of(row)[1] for _, row in rows), default=1)
    scales = {name: levels([row for _, row in rows], name) for name in COLOURINGS}
    parts: list[Html] = []
    top, group = 22.0, ""
    shown: tuple[int, int] | None = None
    for place, (index, row) in enumerate(rows):
        channels, pixels = image_of(row)
        wide = 14 + 240 * math.sqrt(min(1.0, channels / most_channels))
        # What works on single values is drawn thin: the eye finds the layers with weights.
        weighty = family_of(row.kind) not in ("norm", "activation", "other")
        high = (4 + 14 * math.sqrt(pixels / highest)) * (1.0 if weighty else 0.45)
        here = ".".join(row.name.split(".")[:-1][:2])
        if here != group:
            top += 7
            if here:
                parts.append(svg.text(0, top + 9, svg.shortened(here, 105), class_="group"))
                parts.append(tag("line", x1=0, x2=width, y1=top - 3, y2=top - 3, class_="grid"))
            group = here
        known = {name: scale[place] for name, scale in scales.items() if scale[place] is not None}
        shape = units.shape(row.output_shapes[0]) if row.output_shapes else ""
        parts.append(
            tag(
                "rect",
                tag("title", f"{row.label} · {row.kind} · {shape}"),
                x=middle - wide / 2,
                y=top,
                width=wide,
                height=high,
                rx=min(3.0, high / 3),
                class_=f"block kind-{family_of(row.kind)}",
                data_row=index,
                data_kind=family_of(row.kind),
                **{f"data_{name}": level for name, level in known.items()},
            )
        )
        if (channels, pixels) != shown:
            size = f"{channels} × {pixels}²" if pixels > 1 else f"{channels}"
            parts.append(svg.text(width, top + high / 2 + 4, size, anchor="end"))
            shown = (channels, pixels)
        top += high + 2
    parts.append(svg.text(middle, 12, "input", anchor="middle"))
    parts.append(svg.text(middle, top + 14, "output", anchor="middle"))
    parts.append(svg.text(width, 12, "channels × pixels", anchor="end"))
    label = f"{account.model} from input to output, {len(rows)} layers"
    return svg.drawing(width, top + 20, parts, label=label, class_="network")


def roofline(account: Books, rows: Sequence[tuple[int, Row]]) -> Html | None:
    """Draw each row's FLOPs per byte against the FLOP/s that it reaches (or may reach at most).

    ``None`` where no machine was given.
    """
    machine = account.machine
    if machine is None:
        return None
    points = []
    for index, row in rows:
        seconds = row.time_forward.median if row.time_forward else row.limit_forward
        if seconds and row.forward.flops and row.forward.bytes_moved:
            points.append(
                (index, row, row.forward.arithmetic_intensity, row.forward.flops / seconds)
            )
    if not points:
        return None
    ridge = machine.peak_flops / machine.bandwidth
    lowest = min(intensity for *_, intensity, _ in points)
    x_low = 10.0 ** math.floor(math.log10(min(lowest, ridge / 10)))
    x_high = 10.0 ** math.ceil(math.log10(max(ridge * 4, *(p[2] for p in points)) * 1.01))
    slowest = min(speed for *_, speed in points)
    y_low = 10.0 ** math.floor(math.log10(min(slowest, x_low * machine.bandwidth * 4)))
    y_high = 10.0 ** math.ceil(math.log10(max(machine.peak_flops, *(p[3] for p in points)) * 1.01))
    x, y = Axis(x_low, x_high, 58, 544, log=True), Axis(y_low, y_high, 276, 30, log=True)
    start = max(x_low, y_low / machine.bandwidth)
    roof = (
        f"M{x(start):.1f} {y(start * machine.bandwidth):.1f}"
        f"L{x(ridge):.1f} {y(machine.peak_flops):.1f}L{x(x_high):.1f} {y(machine.peak_flops):.1f}"
    )
    parts = [
        svg.frame(
            x,
            y,
            x_form=lambda value: f"{value:g}",
            y_form=units.si,
            x_title="FLOPs per byte",
            y_title="FLOP/s",
        ),
        tag("path", d=roof, class_="roof"),
    ]
    for index, row, intensity, speed in points:
        radius = 3 + 6 * math.sqrt(row.forward.flops / max(p[1].forward.flops for p in points))
        note = f"{row.label}: {intensity:.3g} FLOPs per byte, {units.si(speed, 'FLOP/s')}"
        parts.append(
            tag(
                "circle",
                tag("title", note),
                cx=x(intensity),
                cy=y(speed),
                r=radius,
                class_=f"point kind-{family_of(row.kind)}",
                data_row=index,
            )
        )
    return svg.drawing(560, 318, parts, label="Roofline with every layer as a point")


def bars_along_depth(
    rows: Sequence[tuple[int, Row]],
    series: Sequence[tuple[str, Callable[[Row], float | None]]],
    *,
    label: str,
    form: Callable[[float], str],
    stacked: bool = True,
) -> Html | None:
    """Draw a bar per row from input to output, up to two series stacked; ``None`` without values.

    Args:
        rows: the rows that are drawn, each with its place among all.
        series: names and values of one or two series.
        label: what the chart shows, in words.
        form: how a value is written.
        stacked: the second series on top of the first, else both from the ground.
    """
    heights = [[value(row) or 0.0 for _, value in series] for _, row in rows]
    highest = max((sum(pair) if stacked else max(pair) for pair in heights), default=0.0)
    if highest <= 0:
        return None
    y = Axis(0, highest * 1.05, 150, 26)
    x = Axis(0, len(rows), 58, 544)
    step = (x.stop - x.start) / len(rows)
    parts = [svg.frame(x, y, x_form=lambda value: f"{value:g}", y_form=form)]
    for place, ((index, row), pair) in enumerate(zip(rows, heights, strict=True)):
        ground = 0.0
        for which, value in enumerate(pair):
            if value > 0:
                note = f"{row.label}: {form(value)} {series[which][0]}"
                parts.append(
                    tag(
                        "rect",
                        tag("title", note),
                        x=x.start + place * step + step * 0.1,
                        y=y(ground + value),
                        width=max(0.8, step * 0.8),
                        height=max(0.5, y(ground) - y(ground + value)),
                        class_=f"bar fill-{which + 1}",
                        data_row=index,
                    )
                )
            ground += value if stacked else 0.0
    right = x.stop
    for which in reversed(range(len(series))):
        name = series[which][0]
        right -= 7.0 * len(name) + 22
        parts.append(
            tag("rect", x=right, y=6, width=10, height=10, rx=2, class_=f"fill-{which + 1}")
        )
        parts.append(svg.text(right + 15, 15, name))
    return svg.drawing(560, 178, parts, label=label)
