"""A finding says what was found: its verdict by its judgements, its file, its figure, its page."""

import math
import re
from xml.etree import ElementTree

import pytest

from lamina.report.finding.chart import Bars, Chart, Gallery, Line, Panel, Picture, Points
from lamina.report.finding.drawing import figure, panels
from lamina.report.finding.page import gallery_page, results_table, to_page
from lamina.report.finding.pictures import grey, signed
from lamina.report.finding.records import Finding, Judgement, Measurement

EVIL = "<script>alert('x')</script>"

CHART = Chart(
    "what a test draws",
    [
        Panel(
            "lines",
            [
                Line("ours", [1, 2, 3], [1.0, math.nan, 9.0], [0.5, 1, 8], [2, 2, 10]),
                Line("theory", [1, 2, 3], [1, 4, 9], dashed=True),
                Points(EVIL, [2], [3], labels=["here"]),
            ],
            x_title="size",
            y_title="seconds",
            y_log=True,
        ),
        Panel("bars", [Bars("ours", ["a", "b"], [1.0, 2.0], [0.5, 1.5], [1.5, 2.5])]),
        Gallery(
            "pictures",
            [Picture("one", grey([[0, 1], [1, 0]])), Picture("two", signed([[1.0]]))],
        ),
    ],
)


def finding(*judgements, chart=CHART):
    return Finding(
        name="conv2d-sees",
        title=f"Is it so? {EVIL}",
        claim="it is",
        source="somebody, section 1",
        theory="one",
        method="measured",
        judgements=list(judgements),
        results={"gap": Measurement((0.1, 0.2, math.inf), "%", 0.15)},
        chart=chart,
        seeds=[0, 1, 2],
        fast=True,
        data="digits",
        seconds=1.5,
        machine={"processor": "a processor", "threads": "2"},
    )


MET, UNMET = Judgement("a is below b", True), Judgement("c is below d", False)
WITHIN = Judgement("e is below f", False, "images are few")


@pytest.mark.parametrize(
    "judgements, verdict",
    [
        ([MET], "holds"),
        ([MET, UNMET], "does not hold"),
        ([MET, WITHIN], "holds where images are few"),
        ([UNMET, WITHIN], "does not hold"),
        ([WITHIN, Judgement("g", False, "d")], "holds where images are few and d"),
    ],
)
def test_the_verdict_follows_from_the_judgements(judgements, verdict):
    found = finding(*judgements)
    assert found.verdict == verdict
    assert found.holds == verdict.startswith("holds")


def test_most_seeds_must_agree():
    low, high = Measurement((1, 1, 1, 1, 9)), Measurement((2, 2, 2, 2, 2))
    assert low.below(high) and not high.below(low)
    assert not Measurement((1, 1, 1, 9, 9)).below(high), "three of five would come by chance"
    assert low.below(3) and low.below(high, 0.6) and not low.below(high, 0.5)
    assert low.near(1.05, 0.1) and not low.near(1.2, 0.1)


def test_a_file_gives_the_finding_back():
    found = finding(MET, WITHIN)
    read = Finding.from_json(found.to_json())
    assert read.to_json() == found.to_json()
    assert read.results == found.results and read.judgements == found.judgements
    assert math.isnan(read.chart.panels[0].marks[0].y[1])
    assert figure(read.chart) == figure(found.chart)
    assert "Infinity" not in found.to_json() and "NaN" not in found.to_json()


def test_a_name_has_one_colour_and_nothing_is_markup():
    drawn = figure(CHART)
    root = ElementTree.fromstring(drawn)
    assert root.attrib["viewBox"].startswith("0 0 920 ")
    assert EVIL not in drawn
    named = {text.text for text in root.iter("{http://www.w3.org/2000/svg}text")}
    assert {"ours", "theory", EVIL, "here", "a", "b", "one", "two", "size", "seconds"} <= named
    # The first name is the first colour in every panel: a line here, a bar there.
    first, second, _ = map(str, panels(CHART))
    assert 'class="series-1"' in first and 'class="series-2"' in first and "fill-3" in first
    assert 'class="fill-1"' in second and "fill-2" not in second


def test_a_gap_is_left_where_there_is_no_number():
    (path,) = re.findall(r'<path d="([^"]*)" class="series-1"', panels(CHART)[0])
    assert path.count("M") == 2 and path.count("L") == 0


def test_words_of_another_language():
    drawn = figure(CHART, {"ours": "우리", "bars": "막대", "a": "가"})
    assert "우리" in drawn and "막대" in drawn and ">ours<" not in drawn


def test_the_page_says_the_verdict_first():
    text = to_page(finding(MET, WITHIN))
    body = text[text.index("<main") :]
    assert body.index("Holds where images are few") < body.index("<svg") < body.index("The rule")
    assert EVIL not in body
    assert "10.0 %" in body and "15.0 %" in body  # least, and theory


def test_the_gallery_links_each_page():
    text = gallery_page([finding(MET), finding(UNMET)])
    assert text.count('href="conv2d-sees.html"') == 2
    assert "1 of 2 claims hold" in text


def test_results_show_median_and_spread():
    (row,) = results_table(finding(MET).results).rows
    assert row == {
        "name": "gap",
        "median": "20.0 %",
        "spread": "10.0 % to inf %",
        "predicted": "15.0 %",
    }
