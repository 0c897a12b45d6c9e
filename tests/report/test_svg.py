"""Axes and charts: what is drawn is where the values say."""

import itertools
import math
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.report import svg


@settings(max_examples=50)
@given(low=st.floats(-1e6, 1e6), span=st.floats(1e-3, 1e6), about=st.integers(2, 8))
def test_ticks_are_evenly_spaced_and_within_the_axis(low, span, about):
    axis = svg.Axis(low, low + span, 0, 100)
    ticks = axis.ticks(about)
    assert 1 <= len(ticks) <= 2.5 * about + 1
    assert all(low - span * 1e-6 <= tick <= low + span * 1.000001 for tick in ticks)
    steps = [b - a for a, b in itertools.pairwise(ticks)]
    assert all(step == pytest.approx(steps[0], rel=1e-3) for step in steps)


def test_a_logarithmic_axis_ticks_at_powers_of_ten():
    axis = svg.Axis(0.01, 100, 0, 400, log=True)
    assert axis.ticks() == [0.01, 0.1, 1.0, 10.0, 100.0]
    assert axis(1.0) == pytest.approx(200)


def test_a_gap_in_the_values_is_a_gap_in_the_line():
    points = [(0, 1.0), (1, 2.0), (2, math.nan), (3, 3.0), (4, 2.0)]
    chart = svg.line_chart([svg.Series("loss", points)], label="loss")
    path = re.search(r'<path d="([^"]*)"', chart)[1]
    assert path.count("M") == 2
    assert path.count("L") == 2
    assert "nan" not in chart


@pytest.mark.parametrize("points", [[], [(0, math.nan)], [(0, math.inf)]])
def test_a_chart_of_nothing_says_so(points):
    assert "no finite values" in svg.line_chart([svg.Series("loss", points)], label="loss")


@pytest.mark.parametrize("value", [0.0, 5.0, -3.0])
def test_a_constant_line_is_drawn(value):
    chart = svg.line_chart([svg.Series("a", [(0, value), (1, value)])], label="a")
    assert "nan" not in chart
    assert "<path" in chart


def test_a_long_name_is_cut_in_its_middle():
    assert svg.shortened("features.denseblock4.denselayer16.conv2", 140) == "features.d…r16.conv2"
    assert svg.shortened("conv1", 140) == "conv1"
