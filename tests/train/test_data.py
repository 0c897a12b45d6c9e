"""Data: split without overlap, standardised, and refused in one line where they cannot serve."""

import math
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.errors import InputError
from lamina.train.data import Facts, load_data


def test_the_digits_are_split_whole_without_overlap_and_in_proportion():
    data = load_data("digits")
    parts = [data.train, data.validation, data.test]
    assert sorted(np.concatenate(parts)) == list(range(1797))
    for part, share in zip(parts, (0.7, 0.1, 0.2), strict=True):
        counts = np.bincount(data.labels[part], minlength=10)
        assert counts == pytest.approx(np.bincount(data.labels) * share, abs=1)


def test_the_digits_are_scikit_learns():
    from sklearn.datasets import load_digits

    data, theirs = load_data("digits"), load_digits()
    assert (data.labels == theirs.target).all()
    assert np.allclose(data.images[..., 0] * (16 / 255), theirs.images, atol=0.04)


def test_training_data_bring_no_second_openmp_runtime():
    program = (
        "import torch, threadpoolctl\n"
        "from lamina.train.data import load_data\n"
        "load_data('digits')\n"
        "pools = [p for p in threadpoolctl.threadpool_info() if p['user_api'] == 'openmp']\n"
        "print(len({p['filepath'] for p in pools}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "1", done.stderr


def test_a_training_batch_has_mean_zero_and_deviation_one(image_folder):
    for data in (load_data("digits"), load_data(str(image_folder))):
        x = data.facts.normalise(data.images[data.train])
        assert x.shape == (len(data.train), *data.facts.input_shape[1:])
        assert x.is_contiguous(memory_format=torch.channels_last)
        assert x.mean(dim=(0, 2, 3)).abs().max() < 1e-4
        assert (x.std(dim=(0, 2, 3)) - 1).abs().max() < 1e-3


def test_a_constant_channel_does_not_divide_by_zero(image_folder):
    for path in image_folder.rglob("*.*"):
        Image.new("RGB", (8, 8), (7, 0, 255)).save(path)
    data = load_data(str(image_folder))
    assert torch.isfinite(data.facts.normalise(data.images)).all()


def test_a_folder_gives_its_classes_in_order_and_the_size_asked_for(image_folder):
    data = load_data(str(image_folder), image_size=12)
    assert data.facts.classes == ("bright", "dark")
    assert data.images.shape == (24, 12, 12, 3)
    means = [data.images[data.labels == number].mean() for number in (0, 1)]
    assert means[0] > 150 > 100 > means[1]
    assert load_data(str(image_folder)).facts.size == (17, 17)  # the median of the shorter sides


def test_the_split_does_not_depend_on_anything_but_the_files(image_folder):
    first, second = load_data(str(image_folder)), load_data(str(image_folder))
    assert (first.test == second.test).all()
    assert first.facts == second.facts


def test_an_unreadable_image_is_named_and_left_out_only_where_asked(image_folder):
    (image_folder / "dark" / "03.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    with pytest.raises(InputError, match=r"dark/03\.png: not a readable .* --on-bad-image skip"):
        load_data(str(image_folder))
    (image_folder / "bright" / "00.JPG").write_bytes(b"")
    with pytest.raises(InputError, match=r"2 images cannot be read: \S*bright/00.JPG, \S*dark/03"):
        load_data(str(image_folder))
    Image.new("RGB", (16, 16), (200, 200, 200)).save(image_folder / "bright" / "00.JPG")
    lines = []
    data = load_data(str(image_folder), on_bad_image="skip", warn=lines.append)
    assert len(data.labels) == 23
    assert [path.endswith("dark/03.png") for path in data.skipped] == [True]
    assert len(lines) == 1
    assert "dark/03.png" in lines[0]


@pytest.mark.parametrize("size", [None, 16])
def test_leaving_out_is_counted_and_capped(image_folder, size):
    for count, path in enumerate(sorted(image_folder.rglob("*.*")), start=1):
        path.write_bytes(b"")
        if count in (3, 24):
            with pytest.raises(InputError, match=f"{count} of 24 images are unreadable; at most"):
                load_data(
                    str(image_folder),
                    image_size=size,
                    on_bad_image="skip",
                    warn=lambda line: None,
                )


def test_folders_that_are_no_data(image_folder, tmp_path):
    with pytest.raises(
        InputError, match=r"expected digits, a folder of images or a .csv file, got 'digit'; did"
    ):
        load_data("digit")
    with pytest.raises(InputError, match="image_size: expected none for digits"):
        load_data("digits", image_size=8)
    with pytest.raises(InputError, match="24 images of 9000x9000 pixels take more than 4 GiB"):
        load_data(str(image_folder), image_size=9000)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"at least two classes .* found no class"):
        load_data(str(tmp_path / "empty"))
    for path in list((image_folder / "dark").iterdir())[2:]:
        path.unlink()
    with pytest.raises(InputError, match=r"at least 3 images per class .* found 2 of 'dark'"):
        load_data(str(image_folder))
    shutil.rmtree(image_folder / "dark")
    with pytest.raises(InputError, match="found only the class 'bright'"):
        load_data(str(image_folder))


@pytest.mark.parametrize("bits", [12, 16])
def test_deep_images_are_scaled_by_the_deepest_of_the_folder(image_folder, bits):
    draw = np.random.default_rng(0)
    for path in image_folder.rglob("*.*"):
        path.unlink()
    for name, share in (("bright", 1.0), ("dark", 0.2)):
        for number in range(5):
            levels = draw.integers(0, int(share * 2**bits), size=(16, 16)).astype(np.uint16)
            levels[0, 0] = share * 2**bits - 1
            Image.fromarray(levels).save(image_folder / name / f"{number}.png")
    data = load_data(str(image_folder))
    assert data.facts.bits == bits
    assert data.images[data.labels == 0].max() == 255
    assert len(np.unique(data.images[data.labels == 0])) > 200
    assert 45 <= data.images[data.labels == 1].max() <= 51, "a dark image stays dark"
    assert Facts.from_dict(data.facts.to_dict()) == data.facts
    older = {name: value for name, value in data.facts.to_dict().items() if name != "bits"}
    assert Facts.from_dict(older).bits == 16


def test_facts_are_read_back_and_damaged_ones_refused():
    facts = load_data("digits").facts
    assert Facts.from_dict(facts.to_dict()) == facts
    for change in (
        {"channels": 2},
        {"size": [8]},
        {"size": [0, 8]},
        {"size": [10_000, 10_000]},
        {"size": [math.inf, 8]},
        {"classes": ["one"]},
        {"mean": ["x"]},
        {"deviation": []},
        {"bits": 8},
        {"bits": 17},
    ):
        with pytest.raises(InputError, match="facts of the data are damaged"):
            Facts.from_dict(facts.to_dict() | change)
    with pytest.raises(InputError, match="facts of the data are damaged"):
        Facts.from_dict({})
