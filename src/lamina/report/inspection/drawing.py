"""The charts of an account: the roofline, and bars along depth."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from lamina.report import svg, units
from lamina.report.html import Html, tag
from lamina.report.inspection.network import family_of
from lamina.report.records import Books, Row
from lamina.report.svg import Axis

__all__ = ["bars_along_depth", "roofline"]


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
