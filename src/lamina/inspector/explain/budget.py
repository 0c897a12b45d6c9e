"""What fits: how many channels and positions of a layer a page of so many bytes can open."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isqrt

__all__ = ["Choice", "Need", "even_cap", "spread"]

_NUMBER = 4  # bytes of a float32


@dataclass(frozen=True)
class Need:
    """What opening a layer takes, in float32 numbers.

    Args:
        channels: that could be opened.
        rows: of the output.
        columns: of the output.
        per_channel: numbers that each channel takes once, such as its kernel.
        per_value: that each channel takes at each position, its result included.
        per_position: that a position takes for all channels together.
        whole: of the complete input, of which windows can be cut; None where that is no use.
        once: whatever is opened.
        weight: how many shares of the page it may have.
    """

    channels: int
    rows: int
    columns: int
    per_channel: int = 0
    per_value: int = 1
    per_position: int = 0
    whole: int | None = None
    once: int = 0
    weight: int = 1

    def size(self, channels: int, positions: int, whole: bool) -> int:
        """Bytes for so many channels at so many positions."""
        numbers = self.once + channels * self.per_channel
        if whole:
            numbers += (self.whole or 0) + channels * positions
        else:
            numbers += positions * (self.per_position + channels * self.per_value)
        return _NUMBER * numbers

    @property
    def in_full(self) -> int:
        """Bytes for everything, in the form that takes less."""
        positions = self.rows * self.columns
        cut = self.size(self.channels, positions, False)
        if self.whole is None:
            return cut
        return min(cut, self.size(self.channels, positions, True))

    def choose(self, most: int) -> Choice | None:
        """What can be opened for at most so many bytes; None where not even one number can.

        All positions if they fit; else as dense a grid as the rest allows, of fewer channels while
        the kernels take more than half.

        Example:
            >>> Need(8, 100, 100).choose(3200)
            Choice(channels=8, rows=10, columns=10, whole=False)
        """
        positions = self.rows * self.columns
        for channels in range(self.channels, 0, -1):
            forms = (False, True) if self.whole is not None else (False,)
            size, whole = min((self.size(channels, positions, form), form) for form in forms)
            if size <= most:
                return Choice(channels, self.rows, self.columns, whole)
            kernels = self.size(channels, 0, False)
            each = self.size(channels, 1, False) - kernels
            room = (most - kernels) // each
            if (room >= min(_FEW, positions) and kernels <= most // 2) or (room >= 1 == channels):
                rows = max(1, min(self.rows, isqrt(room * self.rows // self.columns)))
                return Choice(channels, rows, min(self.columns, room // rows), False)
        return None


_FEW = 4  # positions that are worth giving up a channel for


@dataclass(frozen=True)
class Choice:
    """What is opened of a layer: so many channels, on a grid of so many rows and columns."""

    channels: int
    rows: int
    columns: int
    whole: bool


def spread(count: int, size: int) -> tuple[int, ...]:
    """So many places of a line, evenly spread, its middle among them if the number is odd.

    Example:
        >>> spread(3, 9), spread(2, 4), spread(1, 7)
        ((1, 4, 7), (1, 3), (3,))
    """
    return tuple((2 * place + 1) * size // (2 * count) for place in range(count))


def even_cap(needs: Sequence[int], total: int, weights: Sequence[int] | None = None) -> int:
    """The largest share, such that all together need at most the total.

    Args:
        needs: what each would take.
        total: what there is.
        weights: how many shares each may have; one unless said.

    Example:
        >>> even_cap([10, 50, 90], 100), even_cap([10, 20], 100)
        (45, 20)
        >>> even_cap([100, 100], 90, [1, 2])
        30
    """
    each = [*zip(needs, weights or [1] * len(needs), strict=True)]
    left, shares = total, sum(weight for _, weight in each)
    for need, weight in sorted(each, key=lambda one: one[0] / one[1]):
        if need * shares > left * weight:
            return left // shares
        left, shares = left - need, shares - weight
    return max((-(-need // weight) for need, weight in each), default=0)
