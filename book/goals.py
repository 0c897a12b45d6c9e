"""What single layers were to reach, and what a benchmark's rows say of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from lamina.bench.dot_plot import Dot, Panel, Style, dot_plot
from lamina.bench.layer_rows import Row
from lamina.report.table import Column, Table

_SMALL_CALL = [1, 8, 8, 8]  # measures what a call costs, not a kernel


@dataclass(frozen=True)
class Goal:
    """At least ``aim`` in every row of the kind whose case begins so."""

    name: str
    kind: str
    case: str
    direction: str
    aim: float
    layout: str = "channels_last"
    of: Callable[[Row], float] = attrgetter("ratio_best")

    def holds_for(self, row: Row) -> bool:
        """Whether the row is one of those that the goal is about."""
        return (
            (row.kind, row.direction, row.layout) == (self.kind, self.direction, self.layout)
            and re.match(self.case, row.case) is not None
            and list(row.shape) != _SMALL_CALL
        )


def _both_ways(name: str, kind: str, case: str, forward: float, both: float) -> list[Goal]:
    return [
        Goal(f"{name}, forward", kind, case, "forward", forward),
        Goal(f"{name}, both ways", kind, case, "both", both),
    ]


def _both_layouts(name: str, kind: str, case: str, channels_last: float, nchw: float) -> list[Goal]:
    same = attrgetter("ratio_same_layout")
    return [
        Goal(f"{name}, NHWC", kind, case, "both", channels_last, of=same),
        Goal(f"{name}, NCHW", kind, case, "both", nchw, "nchw", same),
    ]


GOALS = [
    *_both_ways("3×3", "conv2d", "3×3$", 1.6, 1.8),
    Goal(
        "3×3, forward, of the limit",
        *("conv2d", "3×3$", "forward", 1.2),
        of=attrgetter("limit_fraction"),
    ),
    *_both_ways("3×3 stride 2", "conv2d", "3×3 s2", 1.0, 1.2),
    *_both_ways("5×5", "conv2d", "5×5", 1.0, 1.2),
    *_both_ways("7×7 stem", "conv2d", "7×7", 1.0, 1.2),
    *_both_ways("pointwise", "conv2d", "1×1", 1.0, 1.1),
    *_both_ways("dense", "dense", "", 1.0, 1.1),
    Goal("block, training", "separable_conv2d", "block, training", "both", 1.6),
    Goal("block, inference", "separable_conv2d", "block, inference", "forward", 1.8),
    Goal("inverted residual", "separable_conv2d", "inverted", "forward", 1.8),
    *_both_layouts("batch norm, training", "batch_norm2d", "training$", 1.3, 1.8),
    *_both_layouts("batch norm + ReLU", "batch_norm2d", r"training \+", 2.0, 2.0),
    *_both_layouts("activations", "activation", "", 1.0, 1.0),
    *_both_layouts("max pool", "pool2d", "max", 1.4, 4.0),
    *_both_layouts("average pool", "pool2d", "average", 1.2, 4.0),
    *_both_layouts("global pool", "pool2d", "global", 1.0, 1.0),
    *_both_layouts("depthwise 3×3", "depthwise_conv2d", "3×3", 1.6, 5.0),
    *_both_layouts("depthwise 5×5", "depthwise_conv2d", "5×5", 3.5, 8.0),
    *_both_layouts("dropout", "dropout", "elements", 25.0, 25.0),
    *_both_layouts("dropout of channels", "dropout", "channels", 1.0, 1.0),
]

GROUPS = {
    "convolutions": ("Convolutions", ("conv2d",)),
    "products": ("Dense layers and separable blocks", ("dense", "separable_conv2d")),
    "norms": ("Batch normalisation and activations", ("batch_norm2d", "activation")),
    "pools": ("Pooling", ("pool2d",)),
    "depthwise": ("Depthwise convolution and dropout", ("depthwise_conv2d", "dropout")),
}
"""A figure each: its title, and the kinds that it shows."""

_HERE, _WIDER = Style("--c1", filled=True), Style("--c2")


def goals_figure(
    group: str, known: dict[str, Any], rows: Sequence[Row], wider: Sequence[Row]
) -> str:
    """A line per goal, a dot per shape: PyTorch's time over ours, and the goal.

    Args:
        group: of `GROUPS`.
        known: the facts of the machine.
        rows: as the benchmark found them.
        wider: those of a processor with twice the peak.
    """
    title, kinds = GROUPS[group]
    goals = [goal for goal in GOALS if goal.kind in kinds]
    dots = {
        goal.name: [
            Dot(
                goal.of(row),
                style,
                f"{row.case}, {'×'.join(map(str, row.shape))}: {goal.of(row):.2f}×",
            )
            for style, found in ((_WIDER, wider), (_HERE, rows))
            for row in found
            if goal.holds_for(row)
        ]
        for goal in goals
    }
    panel = Panel(title, dots, {goal.name: goal.aim for goal in goals})
    legend = [("Zen 4", _HERE), ("Zen 5, earlier", _WIDER)]
    return dot_plot(f"{title}: the peer's time over ours", [panel], legend, known)


def goals_table(goals: list[Goal], rows: list[Row], wider: list[Row]) -> Table:
    """Goals with the least and the most that was reached, and how many rows reach them."""
    shown = []
    for goal in goals:
        reached, met = _reached(goal, rows)
        reached_wider, met_wider = _reached(goal, wider)
        shown.append(
            {
                "name": goal.name,
                "aim": f"{goal.aim:g}×",
                "reached": reached,
                "met": met,
                "reached_wider": reached_wider,
                "met_wider": met_wider,
            }
        )
    columns = (
        Column("name", "to reach"),
        Column("aim", "at least", align="right"),
        Column("reached", "reached", align="right"),
        Column("met", "rows that reach it", align="right"),
        Column("reached_wider", "Zen 5, earlier", align="right"),
        Column("met_wider", "rows", align="right"),
    )
    return Table(columns, shown)


def _reached(goal: Goal, rows: list[Row]) -> tuple[str, str]:
    """The lowest and the highest of the goal's rows, and how many of them reach it."""
    reached = sorted(goal.of(row) for row in rows if goal.holds_for(row))
    met = sum(value >= goal.aim for value in reached)
    return (
        " to ".join(dict.fromkeys(f"{reached[at]:.2f}×" for at in (0, -1))),
        f"{met} of {len(reached)}" if met < len(reached) else "all",
    )
