"""Every code block of every page runs, in order, each page in a namespace of its own.

Korean pages have the same code, to the byte: ``test_languages.py``. It runs once.
"""

import contextlib
import io
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
ENGLISH = [page for page in PAGES if not page.name.endswith(".ko.md")]
BLOCK = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
SHOWN = re.compile(r"^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
PRINTED = {"docs/start.md": 1, "docs/guides/budget.md": 5, "docs/guides/why_training_fails.md": 4}
"""Pages, and how many blocks of text they show as printed."""


def without_digits(text):
    return re.sub(r"\d+(\.\d+)?(e[+-]\d+)?", "#", " ".join(text.split()))


@pytest.mark.parametrize("page", ENGLISH, ids=lambda page: page.stem)
def test_examples_run_and_print_what_is_shown(page, tmp_path, monkeypatch):
    """Digits aside, which a machine rounds."""
    monkeypatch.chdir(tmp_path)
    text = page.read_text()
    printed, namespace = io.StringIO(), {"__name__": "__main__"}
    with contextlib.redirect_stdout(printed):
        for block in BLOCK.finditer(text):
            line = text.count("\n", 0, block.start()) + 2
            source = "\n" * (line - 1) + block.group(1)
            exec(compile(source, str(page), "exec"), namespace)
    if expected := PRINTED.get(page.relative_to(ROOT).as_posix()):
        shown = [
            block
            for block in SHOWN.findall(BLOCK.sub("", text))
            if not re.match(r"lamina |cd |torchrun |python ", block)
        ]
        assert len(shown) == expected
        for block in shown:
            assert without_digits(block) in without_digits(printed.getvalue())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name}: {target} does not exist"
