"""What is made of a curve per seed: the power by which it grows, and its line with a band."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import linear_regression, median

from lamina.report.finding.chart import Line


def exponent(x: Sequence[float], y: Sequence[float]) -> float:
    """The power of x that y grows by: the slope of log y against log x, by least squares.

    Example:
        >>> round(exponent([1, 2, 4], [3, 12, 48]), 6)
        2.0
    """
    return linear_regression(list(map(math.log, x)), list(map(math.log, y))).slope


def spread(name: str, x: Sequence[float], seeds: Sequence[Sequence[float]]) -> Line:
    """The median over the seeds, with the band from the least to the largest.

    Args:
        name: of the line.
        x: positions.
        seeds: a curve per seed, a value per position.

    Example:
        >>> spread("a", [0, 1], [[1, 2], [3, 4], [2, 9]]).y
        [2, 4]
    """
    columns = list(zip(*seeds, strict=True))
    return Line(name, x, [*map(median, columns)], [*map(min, columns)], [*map(max, columns)])
