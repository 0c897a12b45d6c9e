"""The training report: complete, escaped, and true to what it was given."""

import io
import re
from dataclasses import replace

import pytest
from PIL import Image

from lamina.report.confusion import Example, confusion_matrix, data_address, png_bytes
from lamina.report.layers import LayerRow, layer_column, layer_table
from lamina.report.training import EpochMetrics, TrainingReport, training_page

EVIL = "<script>alert('&')</script>"


def report(**changes):
    rows = [
        EpochMetrics(epoch, 10 * epoch, 0.1, 2 / epoch, 0.5, 1 / epoch, 0.6 + epoch / 10, 1.0)
        for epoch in (1, 2, 3)
    ]
    layers = [
        LayerRow("conv", "Conv2d", (1, 8, 6, 6), 80, 2592, 0.9),
        LayerRow("dense", "Linear", (1, 2), 18, 288, 0.1),
    ]
    png = png_bytes(bytes(range(4)), 2, 2, 1)
    values = {
        "title": "net on data",
        "accuracy": 0.75,
        "loss": 0.5,
        "seconds": 3.0,
        "images": (20, 4, 4),
        "history": rows,
        "input_shape": (1, 1, 8, 8),
        "layers": layers,
        "classes": ["cat", "dog"],
        "confusion": [[2, 0], [1, 1]],
        "examples": [Example(png, "dog", "cat", 0.9), Example(png, "cat", "cat", 0.6)],
        "config": {"lr": 0.1, "image_size": None, "augment": True},
        "environment": {"torch": "2.13.0"},
    }
    return TrainingReport(**(values | changes))


def test_the_page_says_what_it_was_given():
    page = training_page(report())
    for fact in (
        *("75.00 %", "3 of 4 images", "0.5000", "3.0 s", "3 epochs", "2.88 k"),
        *("90.0 % after epoch 3", "1 of 4 test images", "cat</b>, is dog", "2.13.0"),
        "dog taken for cat: 1 (50.0 %)",
    ):
        assert fact in page, fact


def test_no_name_gets_out_of_its_place():
    page = training_page(
        report(
            title=EVIL,
            layers=[LayerRow(EVIL, EVIL, (1, 8, 6, 6), 80, None)],
            classes=[EVIL, EVIL],
            examples=[Example(b"", EVIL, EVIL, 0.5)],
            config={EVIL: EVIL},
            environment={EVIL: EVIL},
            skipped=[EVIL],
        )
    )
    assert "<script>alert" not in page
    assert page.count("<script") == 1, "the page's own"
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


def test_unknown_macs_are_a_dash_and_the_total_says_so():
    table = layer_table(
        [LayerRow("a", "Custom", (1, 2), 3, None), LayerRow("b", "ReLU", (1, 2), 0, 0)]
    )
    assert table.total["name"] == "total of what is counted"
    assert "partly counted" in training_page(report(layers=[LayerRow("a", "C", (1, 2), 3, None)]))


def test_the_column_is_as_wide_as_the_channels():
    rows = [
        LayerRow("a", "Conv2d", (1, 4, 8, 8), 1, 1),
        LayerRow("b", "Conv2d", (1, 16, 4, 4), 1, 1),
    ]
    drawn = layer_column(rows, (1, 1, 8, 8))
    widths = [float(width) for width in re.findall(r'<rect [^>]*?width="([\d.]+)"', drawn)]
    heights = [float(height) for height in re.findall(r'<rect [^>]*?height="([\d.]+)"', drawn)]
    assert widths[2] == pytest.approx(2 * widths[1], abs=0.1)  # square roots: 16 to 4 is 4 to 2
    assert heights[1] == pytest.approx(2**0.5 * heights[2], abs=0.1)


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
    page = training_page(report(config={"augment": True, "label_smoothing": 0.1}))
    assert "with smoothed labels, on augmented images; that is why" in page
    page = training_page(report(config={"augment": False, "label_smoothing": 0.0}))
    assert "with dropout where the model has it; that is why" in page


def test_what_the_model_mistakes_comes_before_what_it_is_made_of():
    page = training_page(report())
    places = [
        page.index(f">{title}<") for title in ("How it learnt", "Where it errs", "The network")
    ]
    assert places == sorted(places)
    assert "Mistaken, and nearly so" in page
    flawless = training_page(report(confusion=[[2, 0], [0, 2]]))
    assert "Nearly mistaken" in flawless and "Mistaken, and nearly so" not in flawless
