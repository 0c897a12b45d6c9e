"""Pages that follow an image through a run's model."""

import json
import re

import pytest
import torch
from PIL import Image

from lamina.errors import InputError
from lamina.settings import TrainConfig
from lamina.train import load_run
from lamina.train.data import load_data
from lamina.train.evaluation import evaluate
from lamina.train.explained import explain_file, explain_tests
from lamina.train.run import train
from tests.inspector.explain.test_command import run as explain_command

PAGES = ("explain-1.html", "explain-2.html", "explain-3.html")


def test_a_run_leaves_small_pages_of_three_test_images(finished_run):
    for name in PAGES:
        page = (finished_run / name).read_bytes()
        assert len(page) <= 300_000
        assert re.search(r"test image \d+, a \d", page.decode())


def test_the_images_are_the_surest_the_middle_and_the_worst(finished_run):
    network, _ = load_run(finished_run)
    data = load_data("digits")
    test = evaluate(network, data, data.test, 64)
    pages = explain_tests(network, data, test, "digits_cnn")
    assert tuple(pages) == PAGES
    right = test.probabilities[range(len(test.labels)), test.labels]
    seen = []
    for page in pages.values():
        record = page.record
        index = int(re.match(r"test image (\d+)", record.picture.name)[1])
        place = test.indices.tolist().index(index)
        seen.append(float(right[place]))
        shares = {score.index: score.probability for score in record.answer.classes}
        for number, share in shares.items():
            assert share == pytest.approx(float(test.probabilities[place, number]), abs=1e-5)
        assert record.picture.pixels.data == data.images[index].tobytes()
    assert seen[0] == max(right) and seen[2] == min(right) and seen[0] >= seen[1] >= seen[2]


def test_a_file_is_prepared_as_the_runs_images(finished_run, tmp_path):
    network, facts = load_run(finished_run)
    data = load_data("digits")
    path = tmp_path / "digit.png"
    Image.fromarray(data.images[5, ..., 0]).save(path)
    record = explain_file(network, facts, path, title="digits").record
    with torch.no_grad():
        scores = network(facts.normalise(data.images[5:6]))[0]
    best = record.answer.classes[0]
    assert best.name == facts.classes[int(scores.argmax())]
    assert best.score == pytest.approx(float(scores.max()), abs=1e-4)


def test_the_command_takes_a_run(finished_run, tmp_path):
    path, out = tmp_path / "digit.png", tmp_path / "page.html"
    Image.fromarray(load_data("digits").images[5, ..., 0]).save(path)
    result = explain_command(finished_run, path, "-o", out)
    assert result.exit_code == 0 and out.stat().st_size <= 5_000_000
    with pytest.raises(InputError, match=r"size: the run .* knows it; leave it out"):
        explain_command(finished_run, path, "-o", out, "--size", "8")
    with pytest.raises(InputError, match=r"nowhere\.png: no such image file"):
        explain_command(finished_run, tmp_path / "nowhere.png", "-o", out)


def test_a_run_whose_pages_cannot_be_made_is_not_lost(tmp_path, silent, monkeypatch):
    def refuse(*_):
        raise InputError("no such luck")

    monkeypatch.setattr("lamina.train.run.explain_tests", refuse)
    train(TrainConfig(epochs=1), tmp_path / "run", console=silent)
    assert "without pages that follow an image: no such luck" in silent.file.getvalue()
    assert json.loads((tmp_path / "run" / "result.json").read_text())["epochs"] == 1
