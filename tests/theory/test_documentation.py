"""Theory explains itself: examples, which run with all others, and docstrings."""

import doctest
import importlib
import inspect
import pkgutil
import subprocess
import sys

import pytest

import lamina.theory

MODULES = [
    importlib.import_module(f"lamina.theory.{info.name}")
    for info in pkgutil.iter_modules(lamina.theory.__path__)
]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_room_has_an_example(module):
    assert any(test.examples for test in doctest.DocTestFinder().find(module))


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_public_functions_and_classes_are_documented(module):
    own = [
        member
        for name, member in inspect.getmembers(module)
        if getattr(member, "__module__", None) == module.__name__
        and not name.startswith("_")
        and (inspect.isfunction(member) or inspect.isclass(member))
    ]
    assert own
    assert [member.__name__ for member in own if not inspect.getdoc(member)] == []


def test_theory_needs_neither_torch_nor_sympy_to_be_imported():
    """The floor by itself: a bare package stands in for lamina, which imports the floors above."""
    imports = "\n".join(f"import {module.__name__}" for module in MODULES)
    script = (
        "import sys, types\n"
        "sys.modules['lamina'] = types.ModuleType('lamina')\n"
        f"sys.modules['lamina'].__path__ = {lamina.__path__!r}\n"
        f"{imports}\n"
        "print(sorted({'torch', 'sympy', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == "[]"
