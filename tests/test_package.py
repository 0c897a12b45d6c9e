"""``import lamina``: what it brings, when, and under which types."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import lamina

ROOT = Path(__file__).parents[1]

HEAVY = ("torch", "numpy", "lightning", "keras", "sympy")


def modules_after(program):
    """The heavy packages that a program has imported when it ends."""
    show = f"import sys\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"try:\n    {program}\nexcept SystemExit: pass\n{show}"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize(
    "program",
    [
        "import lamina",
        "from lamina.__main__ import main; sys.argv[1:] = ['--help']; main()",
        "from lamina.cli import main; main(['train', '--help'])",
        "from lamina.cli import main; main(['bench', 'layers', '--help'])",
        "from lamina.cli import main; main(['trian'])",
    ],
)
def test_nothing_heavy_is_imported_before_it_is_asked_for(program):
    assert modules_after(f"import sys; {program}") == "[]"


def test_every_name_is_there_after_import_lamina_alone():
    program = (
        "import lamina\n"
        "for name in [*lamina.__all__, 'layers']:\n"
        "    assert name in dir(lamina), name\n"
        "    getattr(lamina, name)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_name_that_is_none_is_named():
    with pytest.raises(AttributeError, match="module 'lamina' has no attribute 'nnn'"):
        lamina.nnn  # noqa: B018


def test_functions_are_functions_whatever_was_imported_before():
    program = (
        "import lamina.inspector, lamina.optimiser, lamina\n"
        "from lamina import inspect, optimize\n"
        "assert lamina.inspect is inspect is lamina.inspector.inspect\n"
        "assert lamina.optimize is optimize is lamina.optimiser.optimize\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_strict_type_checker_knows_the_names(tmp_path, monkeypatch):
    api = pytest.importorskip("mypy.api")
    program = tmp_path / "user.py"
    program.write_text(
        "import torch\n"
        "import lamina\n"
        "layer: torch.nn.Module = lamina.nn.Conv2d(3, 8, 3)\n"
        "same: lamina.nn.Conv2d = lamina.optimize(lamina.nn.Conv2d(3, 8, 3))\n"
        "macs: int | float = lamina.inspect(layer, (1, 3, 8, 8)).totals.macs\n"
        "dialect = lamina.layers\n"
        "lamina.nnn\n"
        "lamina.inspect(3)\n"
    )
    monkeypatch.chdir(ROOT)  # where the configuration is, and a cache that the linter has filled
    monkeypatch.setenv("MYPYPATH", str(ROOT / "src"))
    found, errors, _ = api.run(["--no-error-summary", str(program)])
    assert not errors
    assert re.findall(r"user\.py:(\d+): error", found) == ["7", "8"], found
