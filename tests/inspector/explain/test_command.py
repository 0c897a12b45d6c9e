"""``lamina explain``: a model or a run and an image in, a page out, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from typer import Typer
from typer.testing import CliRunner

from lamina.cli import explanation
from lamina.errors import InputError
from lamina.models import digits_cnn

APP = Typer()
APP.command()(explanation.explain)


def run(*arguments):
    result = CliRunner().invoke(APP, [str(one) for one in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "four.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (8, 8), np.uint8)).save(path)
    return path


def test_a_name_is_explained_and_its_weights_are_called_random(tmp_path, image):
    out = tmp_path / "page.html"
    result = run("digits_cnn", image, "--size", "1,8,8", "-o", out)
    assert result.exit_code == 0 and result.output.splitlines()[-1] == f"page: {out}"
    page = out.read_text()
    assert "four.png" in page and "The weights are random" in page


def test_weights_and_names_of_classes_are_read(tmp_path, image):
    model = digits_cnn()
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    names = tmp_path / "names.txt"
    names.write_text("\n".join(f"digit {n}" for n in range(10)))
    out = tmp_path / "page.html"
    more = ("--weights", tmp_path / "weights.pt", "--classes", names, "--size", "1,8,8")
    result = run("digits_cnn", image, "-o", out, *more)
    with torch.no_grad():
        pixels = torch.tensor(np.asarray(Image.open(image))) / 255
        best = int(model.eval()(pixels[None, None]).argmax())
    assert result.output.startswith(f"digit {best}\t")
    assert "The weights are random" not in out.read_text()


@pytest.mark.parametrize(
    "more, said",
    [
        (("--size", "a"), "size: expected numbers"),
        (("--size", "1.5"), "size: expected one to three whole numbers"),
        (("--mean", "x,y"), "mean: expected numbers such as"),
        (("--classes", "nowhere.txt"), "classes: cannot read nowhere.txt"),
        (("--model", "a:b"), "model: speaks of a run's folder"),
        (("--out", "/nowhere/page.html"), "there is no folder /nowhere"),
        (("--weights", "nowhere.pt"), "no file 'nowhere.pt'"),
    ],
)
def test_what_was_typed_wrong_is_one_line(image, more, said):
    with pytest.raises(InputError, match=said):
        run("digits_cnn", image, *more)
