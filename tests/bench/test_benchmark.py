"""The benchmark's bookkeeping; no time is tested."""

import json
from dataclasses import asdict, replace
from itertools import pairwise

import pytest
import torch

from book import goals, performance
from lamina.bench import benchmark, layer_rows
from lamina.bench.cases import SHAPES, cases
from lamina.theory.limits import Machine

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


def test_the_pages_show_the_results_that_are_checked_in():
    results = performance.read()
    for page in performance.PAGES:
        assert performance.render(page.read_text(), results) == page.read_text(), page.name
    for name, text in performance.figures(results).items():
        assert (performance.IMAGES / name).read_text() == text, name


def test_a_page_follows_what_was_measured():
    results = performance.read()
    known, rows = results.networks
    faster = [
        replace(row, median_ms=row.median_ms / 3)
        if row.side == "lamina-optimize" and row.median_ms
        else row
        for row in rows
    ]
    results = results._replace(networks=(known, faster))
    page = performance.render(performance.PAGES[1].read_text(), results)
    assert "Whole networks run 5.4 times as fast" in page.replace("\n", " ")


def test_a_goal_counts_the_rows_that_reach_it():
    (_, rows), wider, *_ = performance.read()
    goal = next(goal for goal in goals.GOALS if goal.name == "3×3, both ways")
    about = [row for row in rows if goal.holds_for(row)]
    assert {row.case for row in about} == {"3×3"} and len(about) == 4
    assert {(row.direction, row.layout) for row in about} == {("both", "channels_last")}
    for row, ratio in zip(about, (goal.aim, goal.aim - 0.01, 3.0, 3.0), strict=True):
        row.ratio_best = ratio
    (shown,) = goals.goals_table([goal], rows, wider).rows
    assert shown["met"] == "3 of 4" and shown["reached"] == "1.79× to 3.00×"
    assert shown["met_wider"] == "3 of 4" and shown["reached_wider"] == "1.78× to 2.53×"


def test_the_best_peer_is_one_without_huge_pages():
    (case,) = (case for case in small("pool2d") if case.name == "max 2×2")
    row = benchmark.measure_case(case, "nchw", MACHINE, seconds=0.01, compiled=False)[2]
    row.peers_ms = {"torch channels_last": 3.0, "torch nchw": 4.0, "torch nchw, huge pages": 1.0}
    row.ours_ms = 2.0
    (shown,) = layer_rows.table(MACHINE, [row]).rows
    assert shown["best"].endswith("× channels_last") and shown["ratio_huge_pages"] == 0.5
