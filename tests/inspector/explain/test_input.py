"""What an image may be, what a person must change, and pages within their bytes."""

from __future__ import annotations

import logging
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from lamina import inspect, models
from lamina.errors import InputError, RunError
from lamina.inspector.explain import explain, following
from lamina.inspector.explain.pictures import sizes_taken
from lamina.models import digits_cnn
from tests.inspector.explain.recompute import numbers
from tests.inspector.explain.test_networks import check


@pytest.fixture
def picture(tmp_path):
    draw = np.random.default_rng(0)
    path = tmp_path / "noise.png"
    Image.fromarray(draw.integers(0, 256, (40, 60, 3), np.uint8)).save(path)
    return path


def small():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def test_an_image_is_scaled_and_standardised_as_it_says(picture):
    record = explain(
        small(), picture, size=16, mean=(0.5, 0.4, 0.3), deviation=(0.2, 0.2, 0.1)
    ).record
    bytes_ = numbers(record.picture.pixels)
    wanted = (bytes_ / 255 - [0.5, 0.4, 0.3]) / [0.2, 0.2, 0.1]
    seen = numbers(record.tensors[record.layers[1].arithmetic.opened.whole])
    assert seen == pytest.approx(wanted.transpose(2, 0, 1), abs=1e-5)
    assert record.picture.name == "noise.png"
    assert "scaled and cropped to 16 × 16" in record.picture.preparation


def test_every_form_of_an_image_is_the_same_image(picture):
    opened = Image.open(picture)
    array = np.asarray(opened)
    forms = (picture, str(picture), opened, array, torch.tensor(array), array.transpose(2, 0, 1))
    scores = [explain(MODEL, form, size=(40, 60)).record.answer for form in forms]
    assert all(one == scores[0] for one in scores)


MODEL = small()


def test_a_size_is_found_by_trying(picture):
    flat = nn.Sequential(nn.Flatten(), nn.Linear(28 * 28, 10))
    assert explain(flat, picture).record.layers[0].output_shape == (1, 1, 28, 28)
    assert next(sizes_taken(small())) == (3, 224, 224)
    assert next(sizes_taken(digits_cnn())) == (1, 224, 224)


@pytest.mark.parametrize(
    "image, more, said",
    [
        ("nowhere.png", {}, r"nowhere\.png: no such image file"),
        (__file__, {}, r"not a readable image \(UnidentifiedImageError\)"),
        (7, {}, "image: expected a path, a Pillow image, an array or a tensor, got int"),
        (torch.zeros(2, 2, 2, 2), {}, r"image: expected .* got \(2, 2, 2, 2\)"),
        (torch.zeros(3, 8, 8, dtype=torch.int64), {}, "expected bytes or floats, got torch.int64"),
        (torch.full((3, 8, 8), torch.nan), {}, "expected finite numbers"),
        (torch.zeros(5, 8, 8), {}, "does not take an image of 5×8×8: .*; it takes 3×224×224"),
        (torch.zeros(3, 8, 8), {"classes": ["a"]}, "classes: expected 2 names, .* got 1"),
        (np.zeros((8, 8), np.uint8), {"size": (0, 3)}, r"size: expected .* got \(0, 3\)"),
        (np.zeros((8, 8), np.uint8), {"mean": [1.0]}, "mean: expected 3 numbers"),
        (np.zeros((8, 8), np.uint8), {"deviation": [0.0] * 3}, "deviation: expected numbers above"),
    ],
)
def test_what_cannot_be_an_image_is_refused_in_a_line(image, more, said):
    with pytest.raises(InputError) as caught:
        explain(MODEL, image, **more)
    assert re.search(said, str(caught.value)) and "\n" not in str(caught.value)


def test_a_size_that_the_model_refuses_names_one_that_it_takes():
    flat = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32 * 3, 10))
    with pytest.raises(InputError, match=r"image of 3×30×30: .*; it takes 3×32×32$"):
        explain(flat, torch.zeros(3, 30, 30))


def test_pytorch_logs_no_traceback_of_what_is_refused(capfd):
    """Its fake tensors would, for every size that is tried."""
    handler = logging.StreamHandler()
    log = logging.getLogger("torch._subclasses.fake_tensor")
    log.addHandler(handler)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(32 * 32 * 3, 10))
    with pytest.raises(InputError):
        explain(flat, torch.zeros(3, 30, 30))
    with pytest.raises(InputError):
        inspect(flat, input_size=(1, 3, 30, 30))
    log.removeHandler(handler)
    assert capfd.readouterr().err == ""


def test_what_is_no_module_is_refused():
    with pytest.raises(TypeError, match="got function"):
        explain(small, torch.zeros(3, 8, 8))


def test_too_little_memory_says_what_is_needed(monkeypatch):
    monkeypatch.setattr(following, "_available", lambda: 1000)
    with pytest.raises(
        RunError, match=r"needs .* KiB of memory, 1e\+03 B are free|1000 B are free"
    ):
        explain(MODEL, torch.zeros(3, 8, 8))


def test_an_output_that_ignores_the_image_is_refused():
    class Constant(nn.Module):
        def forward(self, x):
            return torch.zeros(1, 3)

    with pytest.raises(InputError, match="does not depend on the image"):
        explain(Constant(), torch.zeros(3, 8, 8))


def test_an_output_that_is_no_scores_is_shown_without_classes():
    record = explain(nn.Conv2d(3, 4, 3), torch.randn(3, 8, 8)).record
    assert record.answer is None and record.shifts is None and record.class_maps == ()
    assert record.notes[-1] == "the output is 1×4×6×6, not one score for each class"


def test_a_page_of_digits_is_small_and_opens_everywhere():
    page = explain(digits_cnn(), torch.randn(1, 8, 8), budget=300_000)
    assert len(page.html.encode()) <= 300_000
    record = page.record
    check(record, 14)
    for layer in record.layers[1:]:
        opened = getattr(layer.arithmetic, "opened", None)
        if opened is not None:
            assert (len(opened.rows), len(opened.columns)) == (layer.maps.rows, layer.maps.columns)


def test_a_page_is_kept_within_its_bytes():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 32, 3), nn.ReLU())
    image = torch.randn(3, 64, 64)
    whole, half = explain(model, image).record, explain(model, image, budget=400_000)
    assert whole.every_position and not half.record.every_position
    assert len(half.html.encode()) <= 400_000
    check(half.record, 4)
    for layer in half.record.layers[1:]:
        assert len(layer.arithmetic.opened.rows) >= 3
    with pytest.raises(RunError, match="the budget is 1,000"):
        explain(model, image, budget=1000)


@pytest.mark.slow  # the network at its own size: some seconds
def test_mobilenet_v2_fits_into_five_megabytes(plain_sums):
    model = models.get("mobilenet_v2")
    page = explain(model, torch.randn(3, 224, 224))
    assert 3_000_000 < len(page.html.encode()) <= 5_000_000
    record = page.record
    check(record, 150)
    assert record.macs == 300_774_272
    assert not any(layer.closed for layer in record.layers)
    assert min(len(layer.maps.channels) for layer in record.layers[1:]) >= 4
    sides = sorted(
        min(len(layer.arithmetic.opened.rows), len(layer.arithmetic.opened.columns))
        for layer in record.layers
        if getattr(layer.arithmetic, "opened", None) is not None and layer.maps.rows > 1
    )
    assert sides[0] >= 2 and sides[len(sides) // 2] >= 6


def test_a_page_saves_and_shows_itself(tmp_path):
    page = explain(MODEL, torch.randn(3, 8, 8), title="<net>")
    saved = page.save(tmp_path / "page.html")
    assert saved.read_text() == page.html and page.html.startswith("<!doctype html>")
    assert page._repr_html_().startswith('<iframe srcdoc="&lt;!doctype html&gt;')
    assert "<net>" not in page.html and repr(page).startswith("<<net>, 4 layers")
