"""The training report: complete, escaped, and true to what it was given."""

import io
import re
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from lamina.report.account import Account
from lamina.report.confusion import (
    Example,
    class_table,
    confusion_matrix,
    data_address,
    png_bytes,
    wilson_interval,
)
from lamina.report.records import Row, Totals
from lamina.report.svg import shortened
from lamina.report.training import EpochMetrics, TrainingReport, training_page
from lamina.theory.cost import Cost

EVIL = "<script>alert('&')</script>"


def account(name, uncounted=()):
    """Of a network of one layer."""
    cost = Cost(macs=2880)
    row = Row(name, 0, name, "conv2d", name, 0, None, output_shapes=[(1, 8, 6, 6)], forward=cost)
    totals = Totals(98, 0, 0, cost, Cost(), 0, 0, 0, dict(uncounted))
    return Account(model=name, rows=[row], totals=totals, inputs=[(1, 1, 8, 8)], training=True)


def report(**changes):
    rows = [
        EpochMetrics(epoch, 10 * epoch, 0.1, 2 / epoch, 0.5, 1 / epoch, 0.6 + epoch / 10, 1.0)
        for epoch in (1, 2, 3)
    ]
    png = png_bytes(bytes(range(4)), 2, 2, 1)
    values = {
        "title": "net on data",
        "accuracy": 0.75,
        "loss": 0.5,
        "seconds": 3.0,
        "parameters": 98,
        "images": (20, 4, 4),
        "history": rows,
        "input_shape": (1, 1, 8, 8),
        "classes": ["cat", "dog"],
        "confusion": [[2, 0], [1, 1]],
        "examples": [Example(png, "dog", "cat", 0.9), Example(png, "cat", "cat", 0.6)],
        "config": {"lr": 0.1, "image_size": None, "augment": "light"},
        "environment": {"torch": "2.13.0"},
    }
    return TrainingReport(**(values | changes))


def test_the_page_says_what_it_was_given():
    page = training_page(report())
    for fact in (
        *("75.00 %", "3 of 4 images", "0.5000", "3.0 s", "3 epochs", "95 %: 30.1 to 95.4 %"),
        *("90.0 % after epoch 3", "1 of 4 test images", "cat</b>, is dog", "2.13.0"),
        "dog taken for cat: 1 (50.0 %)",
    ):
        assert fact in page, fact


def test_no_name_gets_out_of_its_place():
    page = training_page(
        report(
            title=EVIL,
            account=account(EVIL),
            classes=[EVIL, EVIL],
            examples=[Example(b"", EVIL, EVIL, 0.5)],
            config={EVIL: EVIL},
            environment={EVIL: EVIL},
            skipped=[EVIL],
        )
    )
    assert "<script>alert" not in page
    assert page.count("<script") == 2, "the page's own and the account's"
    assert "alert(&#x27;&amp;&#x27;)" in page


def test_the_page_loads_nothing_from_anywhere():
    page = training_page(report())
    assert not re.findall(r"(?:src|href|url)\s*[=(]\s*[\"']?(?!data:)\w", page)
    assert "http://" not in page
    assert "https://" not in page


@pytest.mark.parametrize("history", [1, 3])
def test_a_loss_that_is_not_finite_or_a_single_epoch_is_drawn(history):
    rows = [replace(row, train_loss=float("nan")) for row in report().history[:history]]
    page = training_page(report(history=rows))
    assert 'd="M' in page
    assert (page.count('class="point') > 0) == (history == 1)
    assert not re.search(r'="(nan|inf|-inf)"', page)


def test_what_is_not_wholly_counted_says_so():
    page = training_page(report(account=account("net", uncounted={"aten::mystery": 1})))
    assert "2.88 k" in page and "per image, partly counted" in page
    assert "per image, partly counted" not in training_page(report(account=account("net")))
    assert "MACs" not in training_page(report())


@pytest.mark.parametrize(
    ("right", "total", "low", "high"),
    # Wilson's by another way: the roots of (p̂ − p)² = z² p (1 − p) / n.
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (81, 263, 0.2553, 0.3662),
        (1, 2, 0.0945, 0.9055),
    ],
)
def test_wilsons_interval(right, total, low, high):
    assert wilson_interval(right, total) == pytest.approx((low, high), abs=1e-4)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_what_was_seen_and_narrows_with_more(seen):
    right, total = seen
    low, high = wilson_interval(right, total)
    assert 0 <= low <= right / total <= high <= 1
    narrow = wilson_interval(10 * right, 10 * total)
    assert narrow[1] - narrow[0] < high - low


def test_each_class_has_recall_and_precision():
    table = class_table([[3, 1, 0], [2, 2, 0], [0, 0, 0]], ["cat", "dog", "none"])
    cat, dog, none = table.rows
    assert (cat["recall"], cat["precision"], cat["f1"]) == (0.75, 0.6, 6 / 9)
    assert (dog["recall"], dog["precision"]) == (0.5, 2 / 3)
    assert [none[key] for key in ("recall", "precision", "f1", "interval")] == [None] * 4
    assert cat["interval"] == "30 to 95 %"


def test_epochs_are_counted_in_whole_numbers():
    for epochs in (1, 2, 3, 7, 40):
        rows = [EpochMetrics(e, e, 0.1, 1 / e, 0.5, 1 / e, 0.5, 1.0) for e in range(1, epochs + 1)]
        page = training_page(report(history=rows))
        # The ticks of x stand in one line below the axis, which ends where the epoch's title is.
        ticks = re.findall(r'<text x="[\d.]+" y="250" text-anchor="middle"[^>]*>([^<]+)<', page)
        assert ticks and all(tick.isdigit() for tick in ticks), ticks


@pytest.mark.parametrize("total", [2, 5, 6, 10, 20, 33])
@pytest.mark.parametrize("name", ["{}", "class {}", "a rather long name of number {}"])
def test_names_above_the_columns_do_not_overlap(total, name):
    names = [name.format(index) for index in range(total)]
    drawn = confusion_matrix([[1] * total for _ in range(total)], names)
    labels = re.findall(
        r'<text x="([\d.]+)" y="([\d.]+)" text-anchor="(start|middle)"[^>]*?'
        r'(transform="rotate[^"]*")?[^>]*>([^<]+)</text>',
        drawn,
    )
    slanted = [float(x) for x in re.findall(r'x="([\d.]+)"[^>]*transform="rotate\(-45', drawn)]
    if slanted:
        steps = [after - before for before, after in pairwise(slanted)]
        assert len(slanted) == total and min(steps) >= 12  # apart by 8.5 pixels across
        return
    top = min(float(y) for _, y, _, _, said in labels if said in {shortened(n, 999) for n in names})
    spans = [
        (float(x) - 3.6 * len(said), float(x) + 3.6 * len(said))
        for x, y, anchor, _, said in labels
        if anchor == "middle" and float(y) == top
    ]
    assert all(left[1] <= right[0] for left, right in pairwise(spans))


def test_many_classes_with_long_names_stay_legible():
    names = [f"class number {index} of a long list" for index in range(60)]
    counts = [[int(row == column) for column in range(60)] for row in range(60)]
    drawn = confusion_matrix(counts, names)
    assert drawn.count("<rect") == 3600
    assert "class number 7 of a long list taken for class number 7" in drawn


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB")])
def test_a_written_png_is_read_back_by_pillow(channels, mode):
    pixels = bytes(range(6 * channels))
    image = Image.open(io.BytesIO(png_bytes(pixels, 3, 2, channels)))
    assert (image.mode, image.size) == (mode, (3, 2))
    assert image.tobytes() == pixels
    assert data_address(b"\x00").endswith("base64,AA==")


def test_the_curves_are_explained_by_what_the_run_did():
    page = training_page(report(config={"augment": "light", "label_smoothing": 0.1}))
    assert "with smoothed labels, on augmented images; that is why" in page
    page = training_page(report(config={"augment": "none", "label_smoothing": 0.0}))
    assert "with dropout where the model has it; that is why" in page


def test_what_the_model_mistakes_comes_before_what_it_is_made_of():
    page = training_page(report(account=account("net")))
    places = [
        page.index(f">{title}<")
        for title in ("How it learnt", "Where it errs", "From input to output")
    ]
    assert places == sorted(places)
    assert "Mistaken, and nearly so" in page
    flawless = training_page(report(confusion=[[2, 0], [0, 2]]))
    assert "Nearly mistaken" in flawless and "Mistaken, and nearly so" not in flawless


def test_pages_beside_the_report_are_linked_by_name():
    followed = {"explain-1.html": f"test image 3, a {EVIL}", "explain-2.html": "test image 5"}
    page = training_page(report(followed=followed))
    assert re.findall(r'href="(explain-\d.html)"', page) == list(followed)
    assert EVIL not in page and "test image 5" in page
    assert "explain-" not in training_page(report())
