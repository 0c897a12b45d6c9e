"""What the pages on speed say in sentences follows what was measured."""

from dataclasses import replace

import pytest

from book import claims, performance


@pytest.fixture(scope="module")
def results():
    return performance.read()


def test_a_network_that_falls_behind_is_counted(results):
    rows = results.networks[1]
    slow = [
        replace(row, median_ms=1e6)
        if (row.side, row.case, row.network) == ("lamina-optimize", "training", "mobilenet_v2")
        else row
        for row in rows
    ]
    assert "in 5 of 6 networks" in claims.shortfalls(rows)
    assert "mobilenet_v2" not in claims.shortfalls(rows)
    assert "mobilenet_v2" in claims.shortfalls(slow)
    fast = [replace(row, median_ms=1e-6) if row.side == "lamina-optimize" else row for row in rows]
    said = claims.shortfalls(fast).replace("\n", " ")
    assert "in 0 of 6 networks" in said and said.endswith("in the training of 0 of 6.")


def test_the_readme_says_that_runtimes_are_faster_for_one_image_of_most_networks(results):
    """The word stands in its table of what other people's tools do better."""
    rows = results.networks[1]
    images, behind = claims.behind(rows, "inference-1", claims.RUNTIMES)
    assert len(behind) > images / 2
    assert "less time for one image of most networks" in performance.PAGES[0].read_text()


def test_errors_are_told_by_their_median_and_their_largest():
    rows = [{"our_error": error, "torch_error": 2e-6} for error in (2e-6, 3e-6, 9e-6)]
    said = claims.accuracy([*rows, {"our_error": 0.0, "torch_error": 0.0}]).replace("\n", " ")
    assert "1.5 times as far" in said and "at most 4.5 times" in said


def test_a_layer_past_the_caches_moves_the_range(results):
    rows = [replace(row) for row in results.layers[1]]
    past = [row for row in rows if list(row.shape) == [32, 96, 112, 112] and row.kind == "dropout"]
    next(row for row in past if row.direction == "both").limit_fraction = 0.123
    assert " 50 to 111 % " in claims.memory(results.layers[1]).replace("\n", " ")
    assert " 12 to 111 % " in claims.memory(rows).replace("\n", " ")


def test_products_compare_both_sides_with_one_limit(results):
    rows = [replace(row) for row in results.layers[1]]
    for row in rows:
        row.limit_fraction, row.peers_ms = 0.5, {"torch nchw": row.limit_ms / 0.25, "other": 1e9}
    said = claims.products(rows).replace("\n", " ")
    assert "best runs at 25 to 25 % of the limit forward and we at 50 to 50 %" in said
