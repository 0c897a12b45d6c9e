"""A conversion's report: verdict first, every name escaped, nothing left out of the page."""

import math

import pytest
from rich.console import Console

from lamina.report.conversion import (
    Change,
    Comparison,
    Conversion,
    Proof,
    changes_table,
    conversion_page,
    layers_table,
    render,
    to_plain,
)

EVIL = "<script>alert('x')</script>\x1b[2J"


def change(layer, fate="changed", what="momentum 0.99 became 0.01"):
    return Change(layer, fate, what, "momentum", "statistics that hardly move")


def proof(*rows, **options):
    return Proof(rows, ["Keras on TensorFlow 2.21.0"], "", [(2, 8, 8, 3)], 0, **options)


RIGHT = proof(
    Comparison("output", "stem", "stem", 1e-15, 1e-5),
    Comparison("output", EVIL, EVIL, 3e-15, 1e-5),
    Comparison("statistic", "norm", "norm/moving_mean", 0.0, 1e-5),
    Comparison("gradient", "stem", "stem/kernel", 2e-14, 1e-5),
)
WRONG = proof(
    Comparison("output", "stem", "stem", 1e-15, 1e-5),
    Comparison("statistic", "norm", "norm/moving_mean", 0.3, 1e-5),
    Comparison("gradient", "stem", "stem/kernel", math.inf, 1e-5, "shape (3,) in Keras, (4,) in "),
    trap="momentum",
    suspicion="likely momentum",
)


def conversion(proven=None, changes=()):
    return Conversion("a.keras", "a.pt", ["stem", "norm", EVIL, "stem"], 12_345, changes, proven)


def text(done):
    console = Console(width=300)
    with console.capture() as captured:
        console.print(render(done))
    return captured.get()


def test_the_verdict_stands_first():
    assert text(conversion(RIGHT)).startswith("proven: 4 tensors agree, outputs within 3.0e-15")
    said = " ".join(text(conversion(WRONG)).split())
    assert said.startswith(
        "differs: statistic of layer 'norm' (norm/moving_mean): differs by 3.0e-01, "
        "allowed 1.0e-05; likely momentum"
    )
    assert text(conversion()).startswith("not verified; --verify proves it")


def test_the_first_to_differ_is_marked_and_what_cannot_be_compared_is_said():
    rows = {row["layer"]: row for row in layers_table(WRONG).rows}
    assert rows["norm"]["said"] == "first to differ" and rows["stem"]["said"] == "differs"
    assert "cannot be compared" in text(conversion(WRONG))
    assert not any(row["said"] for row in layers_table(RIGHT).rows)


def test_a_nan_does_not_hold():
    assert proof(Comparison("output", "a", "a", math.nan, 1e-5)).first is not None


def test_lossless_layers_are_those_without_a_note():
    done = conversion(changes=[change("norm")])
    assert done.lossless == ["stem", EVIL]


def test_what_is_said_of_many_layers_is_said_once():
    changes = [change(f"norm_{number}") for number in range(9)]
    changes.append(change("gone", "dropped", "an L2 regulariser"))
    rows = changes_table(conversion(changes=changes), grouped=True).rows
    assert [row["layer"] for row in rows] == [["gone"], [f"norm_{n}" for n in range(9)]]
    assert "norm_0 and 8 more" in " ".join(text(conversion(changes=changes)).split())
    assert len(changes_table(conversion(changes=changes)).rows) == 10


@pytest.mark.parametrize("proven", [RIGHT, WRONG, None])
def test_a_page_escapes_every_name(proven):
    page = conversion_page(conversion(proven, [change(EVIL)]))
    assert "\x1b" not in conversion_page(conversion(proven))
    assert "<script>alert" not in page and "\x1b" not in page and "&lt;script&gt;" in page
    verdict = page.index("subtitle")
    assert verdict < page.index("What is not as it was") < page.index("As they were")
    assert "Content-Security-Policy" in page


def test_what_is_piped_is_not_cut():
    lines = to_plain(conversion(WRONG, [change("norm")])).splitlines()
    assert lines[0] == WRONG.verdict
    (row,) = (line for line in lines if "momentum 0.99 became 0.01" in line)
    assert row.split()[0] == "norm" and row.endswith("statistics that hardly move")


def test_a_terminal_is_not_driven_by_a_name():
    assert "\x1b[2J" not in text(conversion(RIGHT, [change(EVIL)]))
