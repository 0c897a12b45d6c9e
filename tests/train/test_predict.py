"""A run's answers to image files."""

import json
import shutil
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.errors import InputError
from lamina.train import load_run, predict
from lamina.train.data import load_data

predicting = sys.modules["lamina.train.predict"]  # the function has its name in the package


@pytest.fixture(scope="module")
def digit_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("digits")
    data = load_data("digits")
    for index in data.test[:70]:
        Image.fromarray(data.images[index, ..., 0]).save(folder / f"{index}.png")
    return [folder / f"{index}.png" for index in data.test[:70]], data


def test_a_file_is_answered_as_the_image_in_the_data_would_be(finished_run, digit_files):
    files, data = digit_files
    answers = predict(finished_run, files)
    model, facts = load_run(finished_run)
    with torch.no_grad():
        rows = model(facts.normalise(data.images[data.test[:70]])).softmax(dim=1)
    for answer, row, file in zip(answers, rows, files, strict=True):
        assert answer.image == str(file)
        assert answer.label == facts.classes[row.argmax()]
        assert list(answer.probabilities.values()) == pytest.approx(row.tolist(), abs=1e-6)
        assert answer.probability == max(answer.probabilities.values())
        assert sum(answer.probabilities.values()) == pytest.approx(1, abs=1e-5)
    right = [a.label == str(data.labels[i]) for a, i in zip(answers, data.test[:70], strict=True)]
    assert np.mean(right) >= 0.8


def test_a_folder_that_is_no_run_is_one_line(tmp_path, finished_run, digit_files):
    with pytest.raises(InputError, match=r"no run folder, config\.json cannot be read"):
        predict(tmp_path, digit_files[0])
    shutil.copy(finished_run / "config.json", tmp_path)
    with pytest.raises(InputError, match="expected a run with a whole checkpoint, it has none"):
        predict(tmp_path, digit_files[0])


def test_weights_of_another_model_are_refused(run_copy, digit_files):
    config = json.loads((run_copy / "config.json").read_text())
    config["data"]["classes"] = ["a", "b"]
    (run_copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=r"made for another model: 'dense\.weight' is"):
        predict(run_copy, digit_files[0])


def test_a_run_that_names_code_runs_it_only_if_told(run_copy, model_file, digit_files):
    config = json.loads((run_copy / "config.json").read_text())
    config["config"]["model"] = f"{model_file}:net"
    (run_copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match="its model is code outside of lamina"):
        predict(run_copy, digit_files[0])
    assert not (model_file.parent / "was_run").exists()
    with pytest.raises(InputError, match="made for another model"):
        predict(run_copy, digit_files[0], model=f"{model_file}:net")
    assert (model_file.parent / "was_run").exists()


def test_a_bad_image_is_named_before_any_answer(finished_run, digit_files, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    with pytest.raises(InputError, match=r"text\.png: not a readable PNG, JPEG.* --skip-bad"):
        predict(finished_run, [*digit_files[0], tmp_path / "text.png"])


def test_all_bad_images_are_named_at_once_or_passed_over_on_request(
    finished_run, digit_files, tmp_path
):
    good, _ = digit_files
    bad = [tmp_path / f"{number}.png" for number in range(3)]
    for path in bad[1:]:
        path.write_text("no image")
    files = [bad[0], *good[:2], bad[1], *good[2:], bad[2]]
    with pytest.raises(
        InputError, match=r"3 images cannot be read: \S*0.png, \S*1.png, \S*2.png; "
    ):
        predict(finished_run, files)
    lines = []
    answers = predict(finished_run, files, skip_bad=True, warn=lines.append)
    assert [answer.image for answer in answers] == [str(path) for path in good]
    assert [line.startswith("passed over: ") for line in lines] == [True] * 3
    with pytest.raises(InputError, match="3 images cannot be read"):
        predict(finished_run, bad, skip_bad=True, warn=lines.append)


def test_a_folder_stands_for_the_images_in_it(finished_run, digit_files, tmp_path):
    good, _ = digit_files
    (tmp_path / "in").mkdir()
    for path in good[:3]:
        shutil.copy(path, tmp_path / "in" / path.name)
    (tmp_path / "notes.txt").write_text("no image")
    answers = predict(finished_run, [tmp_path, good[4], good[4]])
    expected = sorted(tmp_path / "in" / path.name for path in good[:3])
    assert [answer.image for answer in answers] == [*map(str, expected), str(good[4]), str(good[4])]
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected image files in the folder, found none"):
        predict(finished_run, [tmp_path / "empty"])


def test_of_the_pixels_a_batch_at_a_time_is_in_memory(finished_run, digit_files, monkeypatch):
    sizes = []
    real = predicting.np.stack
    monkeypatch.setattr(predicting.np, "stack", lambda rows: sizes.append(len(rows)) or real(rows))
    monkeypatch.setattr(predicting, "_BATCH", 16)
    assert len(predict(finished_run, digit_files[0])) == 70
    assert sizes == [16, 16, 16, 16, 6]
