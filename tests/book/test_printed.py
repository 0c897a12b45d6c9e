"""What a how-to shows as printed, its examples print; digits aside, which a machine rounds."""

import contextlib
import io
import re

import pytest

from tests.book.test_pages import BLOCK, ROOT

SHOWN = re.compile(r"^```\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL)
PAGES = {
    "start.md": 1,
    "guides/budget.md": 5,
    "guides/why_training_fails.md": 4,
}
"""Pages, and how many blocks of text they show as printed."""


def without_digits(text):
    return re.sub(r"\d+(\.\d+)?(e[+-]\d+)?", "#", " ".join(text.split()))


@pytest.mark.parametrize("page", PAGES)
def test_what_is_shown_is_printed(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    text = (ROOT / "docs" / page).read_text()
    printed, namespace = io.StringIO(), {"__name__": "__main__"}
    with contextlib.redirect_stdout(printed):
        for block in BLOCK.finditer(text):
            exec(compile(block.group(1), page, "exec"), namespace)
    lines = without_digits(printed.getvalue())
    shown = [
        block["text"]
        for block in SHOWN.finditer(BLOCK.sub("", text))
        if not re.match(r"lamina |cd |torchrun |python ", block["text"])
    ]
    assert len(shown) == PAGES[page]
    for block in shown:
        assert without_digits(block) in lines
