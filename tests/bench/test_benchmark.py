"""The benchmark's bookkeeping; no time is tested."""

import json
import runpy
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from lamina.bench import benchmark, layer_rows, network_rows
from lamina.bench.cases import SHAPES, cases
from lamina.bench.network_figure import network_figure, zoo_figure
from lamina.theory.limits import Machine

ROOT = Path(__file__).parents[2]
MACHINE = Machine(peak_flops=1e11, bandwidth=1e10)


def small(kind: str):
    return [case for case in cases(kind) if case.shape == SHAPES[0]]


@pytest.mark.parametrize("case", [c for c in cases() if c.shape == SHAPES[0]], ids=lambda c: c.name)
def test_both_sides_of_a_case_are_one_layer(case):
    """The same input gives the same shapes and as many parameters: the comparison is fair."""
    ours, torchs = case.ours(), case.torchs()
    x = torch.randn(case.shape)
    assert ours(x).flatten(1).shape == torchs(x).flatten(1).shape
    assert sum(p.numel() for p in ours.parameters()) == sum(p.numel() for p in torchs.parameters())


@pytest.mark.parametrize("layout", benchmark.LAYOUTS)
def test_rows_carry_what_they_promise(layout):
    (case,) = (case for case in small("pool2d") if case.name == "max 2×2")
    rows = benchmark.measure_case(case, layout, MACHINE, seconds=0.01, compiled=False)
    assert [row.direction for row in rows] == ["forward", "backward", "both"]
    for row in rows:
        assert row.trials >= 7 and row.ours_ms > 0
        assert set(row.peers_ms) == {"torch channels_last", "torch nchw"}
        assert row.ratio_best == pytest.approx(min(row.peers_ms.values()) / row.ours_ms)
        assert row.ratio_same_layout == pytest.approx(row.peers_ms[f"torch {layout}"] / row.ours_ms)
        assert row.limit_fraction == pytest.approx(row.limit_ms / row.ours_ms)
    document = json.loads(layer_rows.to_json(MACHINE, rows))
    assert document["rows"] == [json.loads(json.dumps(asdict(row))) for row in rows]
    facts, read = layer_rows.from_json(layer_rows.to_json(MACHINE, rows))
    assert read == rows and facts["bandwidth"] == rows[0].bandwidth == 1e10
    assert document["peak_flops"] == 1e11 and document["threads"] == torch.get_num_threads()


def test_saved_bytes_count_each_memory_once():
    x = torch.randn(2, 3, 4, 4, requires_grad=True)
    product = torch.nn.Module()
    product.forward = lambda x: x * x  # saves x twice
    assert benchmark.saved_bytes(product, x) == x.nbytes


def test_no_side_always_follows_the_same_one():
    turns = []

    class Named:
        x = torch.empty(0)

        def __init__(self, name):
            self.name = name

        def round(self, *, keep=True):
            if keep:
                turns.append(self.name)

    benchmark._run_rounds([Named("a"), Named("b"), Named("c")], seconds=0.0)
    rounds = [turns[at : at + 3] for at in range(0, len(turns), 3)]
    assert len(rounds) == 7 and all(sorted(names) == ["a", "b", "c"] for names in rounds)
    assert {before for before, name in pairwise(turns) if name == "a"} >= {"b", "c"}


def test_an_unknown_kind_is_one_line():
    with pytest.raises(
        ValueError, match=r"kind: expected one of .*, got 'pool'; did you mean 'pool2d'"
    ):
        cases("pool")


def test_the_page_shows_the_results_that_are_checked_in():
    performance = runpy.run_path(str(ROOT / "book/performance.py"))
    page = performance["PAGE"].read_text()
    files = [performance[name].read_text() for name in ("RESULTS", "WIDER", "NETWORKS", "ZOO")]
    assert performance["render"](page, *files) == page
    networks, zoo = network_rows.from_json(files[2]), performance["zoo_of"](files[3])
    assert performance["FIGURE"].read_text() == network_figure(*networks)
    assert performance["ZOO_FIGURE"].read_text() == zoo_figure(*zoo)


def test_a_goal_counts_the_rows_that_reach_it():
    performance = runpy.run_path(str(ROOT / "book/performance.py"))
    _, rows = layer_rows.from_json(performance["RESULTS"].read_text())
    goal = next(goal for goal in performance["GOALS"] if goal.name == "3×3, with backward")
    about = [row for row in rows if goal.holds_for(row)]
    assert {row.case for row in about} == {"3×3"} and len(about) == 4
    assert {(row.direction, row.layout) for row in about} == {("both", "channels_last")}
    for row, ratio in zip(about, (goal.aim, goal.aim - 0.01, 3.0, 3.0), strict=True):
        row.ratio_best = ratio
    _, wider = layer_rows.from_json(performance["WIDER"].read_text())
    (shown,) = performance["_goals"]([goal], rows, wider).rows
    assert shown["met"] == "3 of 4" and shown["reached"] == "1.79× to 3.00×"
    assert shown["met_wider"] == "3 of 4" and shown["reached_wider"] == "1.78× to 2.53×"


def test_the_best_peer_is_one_without_huge_pages():
    (case,) = (case for case in small("pool2d") if case.name == "max 2×2")
    row = benchmark.measure_case(case, "nchw", MACHINE, seconds=0.01, compiled=False)[2]
    row.peers_ms = {"torch channels_last": 3.0, "torch nchw": 4.0, "torch nchw, huge pages": 1.0}
    row.ours_ms = 2.0
    (shown,) = layer_rows.table(MACHINE, [row]).rows
    assert shown["best"].endswith("× channels_last") and shown["ratio_huge_pages"] == 0.5
