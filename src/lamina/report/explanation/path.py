"""The way from the image to the class, a row per layer, its branches drawn beside the names."""

from __future__ import annotations

from collections.abc import Sequence

from lamina.report.html import Content, Html, tag

__all__ = ["lanes", "rails"]

ROW = 44  # pixels; the style sheet sets the rows to the same height
_LANE, _WIDEST = 14.0, 98.0


def lanes(inputs: Sequence[Sequence[int]]) -> list[int]:
    """Give every layer a lane, so that what is still needed further down keeps its own.

    Args:
        inputs: per layer, in order, the earlier layers that it takes.

    Returns:
        Lanes from 0, the leftmost. A shortcut runs straight down; what it goes around bulges.

    Example:
        >>> lanes([[], [0], [1], [0, 2], [3]])  # 3 adds 0 to what 1 and 2 made of it
        [0, 1, 1, 0, 0]
    """
    last = _last_uses(inputs)
    held: dict[int, int] = {}  # lane -> the layer whose result runs down in it
    chosen: list[int] = []
    for place, sources in enumerate(inputs):
        ending = {chosen[source] for source in sources if last[source] == place}
        for lane in ending:
            held.pop(lane, None)
        lane = min(ending) if ending else _lowest_free(held)
        if last[place] > place:
            held[lane] = place
        chosen.append(lane)
    return chosen


def rails(inputs: Sequence[Sequence[int]], closed: Sequence[bool]) -> Html:
    """Draw the layers as points, one below the other, and lines for what flows between them.

    Args:
        inputs: per layer, in order, the earlier layers that it takes.
        closed: per layer, whether it cannot be opened; its point is hollow.
    """
    placed = lanes(inputs)
    apart = min(_LANE, _WIDEST / max(1, *placed, 1))
    across = [9 + lane * apart for lane in placed]
    down = [ROW * (place + 0.5) for place in range(len(placed))]
    lines: list[Content] = []
    for place, sources in enumerate(inputs):
        for source in sources:
            turn = down[place - 1]  # the result runs down in its own lane up to the row above
            middle = (turn + down[place]) / 2
            curve = (
                f"M{across[source]:g} {down[source]:g}V{turn:g}"
                f"C{across[source]:g} {middle:g} {across[place]:g} {middle:g} "
                f"{across[place]:g} {down[place]:g}"
            )
            lines.append(tag("path", d=curve, class_="rail"))
    points = [
        tag("circle", cx=x, cy=y, r=4.5, class_="stop closed" if shut else "stop", data_layer=place)
        for place, (x, y, shut) in enumerate(zip(across, down, closed, strict=True))
    ]
    width, height = max(across, default=0) + 9, ROW * len(placed)
    return tag(
        "svg", lines, points, width=width, height=height, viewBox=f"0 0 {width:g} {height:g}",
        class_="rails", aria_hidden="true",
    )  # fmt: skip


def _last_uses(inputs: Sequence[Sequence[int]]) -> list[int]:
    """Per layer the last one that takes its result; itself where none does."""
    last = list(range(len(inputs)))
    for place, sources in enumerate(inputs):
        for source in sources:
            last[source] = max(last[source], place)
    return last


def _lowest_free(held: dict[int, int]) -> int:
    lane = 0
    while lane in held:
        lane += 1
    return lane
