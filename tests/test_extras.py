"""What works with PyTorch and NumPy alone, and the line that names the extra for the rest."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from lamina.errors import MissingExtraError
from lamina.extras import EXTRAS, missing, require, version

ROOT = Path(__file__).parents[1]
IMPORTED_AS = {"pillow": "PIL", "scikit-learn": "sklearn"}

HIDE = """
import sys
for name in {hidden!r}:
    sys.modules[name] = None  # as if it were not installed
"""


def python(program, *, without):
    """Run a program in a process that has no package of these extras, but those of the others."""
    kept = {package for extra, names in EXTRAS.items() if extra not in without for package in names}
    packages = {package for extra in without for package in EXTRAS[extra]} - kept
    hidden = sorted(IMPORTED_AS.get(package, package) for package in packages)
    return subprocess.run(
        [sys.executable, "-c", HIDE.format(hidden=hidden) + program],
        capture_output=True,
        text=True,
    )


def command(*arguments, without):
    """The command line in such a process."""
    call = f"sys.argv = {['lamina', *map(str, arguments)]!r}"
    return python(f"{call}\nfrom lamina.__main__ import main\nmain()", without=without)


def test_the_extras_are_those_of_the_project():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    stated = project["optional-dependencies"]
    for extra, packages in EXTRAS.items():
        assert {re.split("[<>=]", line)[0] for line in stated[extra]} == set(packages)
    assert stated["all"] == [f"lamina[{','.join(EXTRAS)}]"]


def test_layers_theory_inspect_and_optimize_need_no_extra():
    program = """
import torch
import lamina
from lamina import nn

model = nn.Sequential(
    nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.DepthwiseConv2d(8, 3),
    nn.SeparableConv2d(8, 8, 3), nn.SqueezeExcite(8, 2), nn.Dropout(), nn.GlobalAvgPool2d(),
    nn.Flatten(), nn.Linear(8, 2),
)
model(torch.zeros(2, 3, 32, 32)).sum().backward()
account = lamina.inspect(model, (2, 3, 32, 32))
for text in (str(account), account.to_json(), account.to_markdown(), account.to_html()):
    assert "conv2d" in text
plain = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.GroupNorm(2, 8))
assert "not called yet" in str(lamina.optimize(plain).lamina_report)
lamina.restore(plain)
assert str(lamina.theory.conv2d_algorithms.complexity("direct"))
lamina.models.get("mobilenet_v2")
import lamina.interchange, lamina.bench.benchmark, lamina.bench.layer_rows
"""
    done = python(program, without=EXTRAS)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("extra", "program"),
    [
        ("train", "import lamina.train"),
        ("train", "from lamina.train import TrainConfig"),
        ("train", "from lamina.train.data import load_data"),
        ("keras", "import lamina.layers"),
        ("keras", "import lamina; lamina.layers"),
        ("keras", "from lamina.layers import Conv2D"),
        ("keras", "from lamina.interchange import load_keras_file as f; f('{file}')"),
        ("cli", "from lamina.doctor import diagnose; diagnose()"),
    ],
)
def test_what_needs_an_extra_names_it(extra, program, tmp_path):
    file = tmp_path / "model.keras"
    file.touch()
    done = python(program.format(file=file), without=EXTRAS)
    last = done.stderr.splitlines()[-1]
    assert last.startswith("lamina.errors.MissingExtraError: ")
    assert last.endswith(f": pip install 'lamina[{extra}]'")


@pytest.mark.parametrize(
    ("without", "arguments"),
    [
        ("cli", "--help"),
        ("cli", "doctor"),
        ("train", "train"),
        ("train", "predict run image.png"),
        ("train", "inspect digits_cnn --train --data digits"),
        ("keras", "inspect {file}"),
    ],
)
def test_a_command_without_its_extra_is_one_line_and_exit_code_2(without, arguments, tmp_path):
    file = tmp_path / "model.keras"
    file.touch()
    hidden = EXTRAS if without == "cli" else [without]
    done = command(*arguments.format(file=file).split(), without=hidden)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert done.stderr.endswith(f": pip install 'lamina[{without}]'\n")


@pytest.mark.parametrize("arguments", ["--help", "doctor", "inspect digits_cnn --input 1,1,8,8"])
def test_the_command_line_needs_its_own_extra_alone(arguments):
    done = command(*arguments.split(), without=["train", "keras"])
    assert done.returncode == 0, done.stderr


def test_doctor_says_which_extras_are_here():
    done = command("doctor", without=["keras"])
    assert re.search(r"lamina\[keras\] +without keras, h5py", done.stdout)
    assert re.search(r"lamina\[cli\] +installed", done.stdout)


def test_a_package_that_is_not_installed_is_missing(monkeypatch):
    monkeypatch.setitem(EXTRAS, "cli", ("rich", "no-such-distribution"))
    assert missing("cli") == ["no-such-distribution"]
    assert version("no-such-distribution") == "not installed"
    with pytest.raises(
        MissingExtraError, match=r"^this needs no-such-distribution: pip install 'lamina\[cli\]'$"
    ):
        require("cli", "this")
