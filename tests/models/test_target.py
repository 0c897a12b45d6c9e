"""What a person may type for a model, and what is said when it cannot be built."""

import pytest
import torch

from lamina.errors import InputError
from lamina.models.target import is_code, load_model


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(
        "import torch\n"
        "def net(num_classes): return torch.nn.Linear(4, num_classes)\n"
        "def anything(**arguments): return torch.nn.Linear(4, len(arguments))\n"
        "def number(): return 3\n"
        "def broken(): raise RuntimeError('no\\nluck')\n"
        "constant = 1\n"
        "class Plain(torch.nn.Module): pass\n"
    )
    return path


def test_a_file_and_a_module_are_built_with_the_arguments_they_take(file):
    assert load_model(f"{file}:net", num_classes=7, in_channels=3).out_features == 7
    assert load_model(f"{file}:anything", num_classes=7, in_channels=3).out_features == 2
    assert type(load_model(f"{file}:Plain", num_classes=7)).__name__ == "Plain"
    assert isinstance(load_model("torch.nn:Identity", num_classes=7), torch.nn.Identity)


def test_a_module_in_the_working_directory_is_found(file, monkeypatch):
    monkeypatch.chdir(file.parent)
    assert load_model("mine:net", num_classes=2).out_features == 2


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("{file}:nett", r"has no factory 'nett'; did you mean 'net'\?"),
        ("{file}:constant", "'constant' .* must be a function or a class, it is int"),
        ("{file}:number", "must return a torch.nn.Module, it returned int"),
        ("{file}:broken", "the factory raised RuntimeError: no$"),
        ("{file}:", "expected a name of lamina.models, pkg.mod:factory or file.py:factory"),
        ("absent.py:net", "no file 'absent.py'"),
        ("lamina_absent.models:net", "importing lamina_absent.models failed: ModuleNotFoundError"),
        ("../up:net", "got the module '../up'"),
        ("no_such_network", "expected a name of lamina.models, .* got 'no_such_network'"),
        ("", "got ''"),
    ],
)
def test_what_cannot_be_built_is_one_line(file, target, message):
    with pytest.raises(InputError, match=message) as caught:
        load_model(target.format(file=file))
    assert "\n" not in str(caught.value)


def test_a_file_that_fails_is_one_line_and_leaves_no_module_behind(tmp_path):
    import sys

    path = tmp_path / "syntax.py"
    path.write_text("def net(:\n")
    with pytest.raises(InputError, match=r"running .*syntax\.py failed: SyntaxError"):
        load_model(f"{path}:net")
    assert not any("syntax" in name and name.startswith("_lamina") for name in sys.modules)


def test_names_are_not_code():
    assert is_code("pkg.mod:factory")
    assert not is_code("digits_cnn")
