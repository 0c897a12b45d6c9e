"""Folders of classes, of parts, and tables: which image is of what, and for what."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from lamina.errors import InputError
from lamina.train import TrainConfig, resume, train
from lamina.train.data import load_data
from lamina.train.listing import PARTS, entries_of

CALLED = {"train": "train", "val": "validation", "Testing": "test"}


@pytest.fixture
def parted(tmp_path):
    """Twelve images of each of two classes for training, four and six of each for the others."""
    return drawn(tmp_path / "photos", {"train": 12, "val": 4, "Testing": 6})


def drawn(root, counts):
    draw = np.random.default_rng(0)
    for part, count in counts.items():
        for label, level in (("bright", 200), ("dark", 60)):
            (root / part / label).mkdir(parents=True)
            for place in range(count):
                pixels = draw.integers(level - 40, level + 40, (9, 9, 3), np.uint8)
                Image.fromarray(pixels).save(root / part / label / f"{place:02d}.png")
    return root


def table_of(root, rows, head="path,class,split"):
    file = root / "table.csv"
    file.write_text("\n".join([head, *rows]) + "\n")
    return file


def test_parts_are_taken_as_they_are(parted):
    data = load_data(str(parted), warn=pytest.fail)
    assert [len(p) for p in (data.train, data.validation, data.test)] == [24, 8, 12]
    assert data.facts.classes == ("bright", "dark") and data.name == "photos"
    for part in (data.train, data.validation, data.test):
        levels = data.images[part].mean(axis=(1, 2, 3))
        assert ((levels < 128) == (data.labels[part] == 1)).all()
    mean = data.images[data.train].reshape(-1, 3).mean(axis=0) / 255
    assert data.facts.mean == pytest.approx(mean.tolist(), rel=1e-12)


@given(st.sets(st.sampled_from(["val", "Testing"])))
def test_what_is_not_there_is_made_of_what_is(tmp_path_factory, missing):
    counts = {"train": 12, "val": 4, "Testing": 6}
    root = drawn(
        tmp_path_factory.mktemp("parts") / "x",
        {k: v for k, v in counts.items() if k not in missing},
    )
    lines = []
    data = load_data(str(root), warn=lines.append)
    train_count = 22 if "val" in missing else 24
    assert len(data.train) == train_count
    assert len(data.validation) == (2 if "val" in missing else 8)
    assert not set(data.train) & set(data.validation) and not set(data.train) & set(data.test)
    if "Testing" in missing:
        assert (data.test == data.validation).all()
        assert lines == [
            "no images for test: those of validation, by which the run is steered, judge it"
        ]
    else:
        assert len(data.test) == 12 and not lines


def test_a_table_says_the_same_as_the_folders(parted):
    entries = entries_of(parted, pytest.fail)
    assert {entry.part for entry in entries} == set(PARTS)
    rows = [f"{e.path.relative_to(parted)},{e.label},{e.part}" for e in entries]
    table = table_of(parted, rows)
    by_table, by_folder = load_data(str(table)), load_data(str(parted))
    assert (by_table.images == by_folder.images).all() and by_table.facts == by_folder.facts
    for part in ("train", "validation", "test"):
        assert (getattr(by_table, part) == getattr(by_folder, part)).all()


def test_a_table_without_a_split_is_split_as_a_folder_is(parted):
    rows = [f"{e.path.relative_to(parted)},{e.label}" for e in entries_of(parted / "train", print)]
    table = table_of(parted, rows, head="Filename,Label")
    assert (load_data(str(table)).test == load_data(str(parted / "train")).test).all()


ONE, TWO = "train/dark/00.png", "train/dark/01.png"


@pytest.mark.parametrize(
    "lines, said",
    [
        (["picture,kind", "a.png,x"], "expected the columns path and class, got picture, kind"),
        ([""], "expected the columns path and class, got "),
        (["path,class", "../out.png,x"], "line 2: '../out.png' leaves the table's folder"),
        (["path,class", "no.png,x"], "line 2: no file 'no.png'"),
        (["path,class", f"{ONE},"], "line 2: expected a class, got nothing"),
        (["path,class,split", f"{ONE},x,trial"], "line 2: expected a split .* got 'trial'"),
        (["path,class,split", f"{ONE},x"], "line 2: expected 3 columns, got 2"),
        (["path,class,split", f"{ONE},x,test"], "has no images for train, only for test"),
        (["path,class,split", f"{ONE},x,train", f"{TWO},y,test"], "'y' of .*01.png has no image"),
        (["path,class,split", f"{ONE},x,train", f"{TWO},y,"], "01.png: expected a split as the"),
    ],
)
def test_a_table_that_cannot_serve_is_refused_in_a_line(parted, lines, said):
    (parted.parent / "out.png").write_bytes((parted / ONE).read_bytes())
    head, *rows = lines
    with pytest.raises(InputError, match=said) as caught:
        load_data(str(table_of(parted, rows, head)), warn=print)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_table_is_refused(parted):
    (parted / "table.xlsx").write_bytes(b"PK")
    with pytest.raises(InputError, match=r"expected a folder or a .csv file, got .*table.xlsx"):
        load_data(str(parted / "table.xlsx"))
    (parted / "table.csv").write_bytes(b"path,class\n\xff\xfe,a\n")
    with pytest.raises(InputError, match="expected text in UTF-8"):
        load_data(str(parted / "table.csv"))


def test_a_link_from_one_part_to_another_is_followed_and_none_that_leaves(parted):
    (parted / "val/dark/link.png").symlink_to(parted / "train/dark/00.png")
    assert len(load_data(str(parted)).validation) == 9
    outside = parted.parent / "outside.png"
    outside.write_bytes((parted / "train/dark/00.png").read_bytes())
    (parted / "val/dark/out.png").symlink_to(outside)
    with pytest.raises(InputError, match="a link that leaves"):
        load_data(str(parted))


def test_a_run_of_parts_is_resumed(parted, tmp_path):
    console = Console(file=io.StringIO(), width=200)
    model = {"model": "lamina.models:digits_cnn", "batch_size": 8}
    first = train(
        TrainConfig(data=str(parted), epochs=1, **model), tmp_path / "run", console=console
    )
    again = resume(tmp_path / "run", model=model["model"], console=console)
    assert again.accuracy == first.accuracy
