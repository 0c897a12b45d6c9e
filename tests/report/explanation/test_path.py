"""The drawn way: every arrow begins and ends at its layers, and nothing else stands in its lane."""

import itertools
import re

import pytest

from lamina.report.explanation.path import ROW, lanes, rails
from lamina.report.html import asset

CHAIN = [[], [0], [1], [2]]
RESIDUAL = [[], [0], [1], [2, 0], [3], [4], [3, 5]]
INCEPTION = [[], [0], [0], [2], [0], [4], [1, 3, 5], [6]]
DENSE = [[], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3]]
GATED = [[], [0], [1], [2], [0, 3], [4, 0]]


@pytest.mark.parametrize("inputs", [CHAIN, RESIDUAL, INCEPTION, DENSE, GATED])
def test_what_is_still_needed_keeps_its_lane(inputs):
    placed = lanes(inputs)
    last = [max([p for p, sources in enumerate(inputs) if i in sources], default=i)
            for i in range(len(inputs))]  # fmt: skip
    for place, lane in enumerate(placed):
        passing = [i for i in range(place) if last[i] > place]
        assert lane not in [placed[i] for i in passing]
    for one, other in itertools.combinations(range(len(inputs)), 2):
        if placed[one] == placed[other]:
            assert last[one] <= other


def test_a_chain_is_a_straight_line_and_a_shortcut_stays_in_its_lane():
    assert lanes(CHAIN) == [0, 0, 0, 0]
    assert lanes(RESIDUAL) == [0, 1, 1, 0, 1, 1, 0]


def test_every_connection_is_drawn_from_its_layer_to_the_next():
    drawn = rails(INCEPTION, [False] * 7 + [True])
    points = re.findall(r'<circle cx="([\d.]+)" cy="([\d.]+)"', drawn)
    assert len(points) == 8 and drawn.count('class="stop closed"') == 1
    ends = re.findall(r'd="M([\d.]+) ([\d.]+)V.*? ([\d.]+) ([\d.]+)"', drawn)
    wanted = [(*points[source], *points[place])
              for place, sources in enumerate(INCEPTION) for source in sources]  # fmt: skip
    assert sorted(ends) == sorted(wanted)


def test_the_style_sheet_sets_rows_as_high_as_they_are_drawn():
    assert f"height: {ROW}px" in asset("explain/explain.css")
