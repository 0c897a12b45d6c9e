"""Both languages have the same pages, figures and code."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from book.reference import MODULES, page, path_of, public_names

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
TRANSLATED = sorted(
    [DOCS / "index.md", DOCS / "findings.md", *DOCS.glob("kinds/*.md"), *DOCS.glob("findings/*.md")]
)
TRANSLATED = [path for path in TRANSLATED if not path.name.endswith(".ko.md")]
CODE = re.compile(r"^(```.*?^```)", re.MULTILINE | re.DOTALL)
PICTURE = re.compile(r"[\w/.-]+\.(?:svg|png)")


def korean(path: Path) -> Path:
    return path.with_suffix(".ko.md")


def test_every_translated_page_has_its_other_language():
    assert len(TRANSLATED) == 21  # the start, ten kinds, the gallery and its nine findings
    assert sorted(DOCS.rglob("*.ko.md")) == sorted(map(korean, TRANSLATED))


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.stem)
def test_code_is_the_same_to_the_byte(path):
    ours, theirs = (CODE.findall(one.read_text()) for one in (path, korean(path)))
    assert [block for block in ours if block.startswith("```python")] == [
        block for block in theirs if block.startswith("```python")
    ]
    assert len(ours) == len(theirs)


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.stem)
def test_figures_are_the_same_in_the_pages_own_language(path):
    ours, theirs = (PICTURE.findall(one.read_text()) for one in (path, korean(path)))
    expected = []
    for picture in ours:
        translated = picture.replace(".svg", "-ko.svg")
        has_words = (path.parent / translated).exists()
        expected.append(translated if has_words else picture)
    assert theirs == expected
    for picture in (*ours, *theirs):
        assert (path.parent / picture).exists(), picture
        is_drawn = picture.endswith(".svg")
        assert not is_drawn or picture in ours or picture.endswith("-ko.svg"), picture


@pytest.mark.parametrize("path", TRANSLATED, ids=lambda path: path.stem)
def test_sections_are_as_many_and_korean(path):
    ours, theirs = (
        re.findall(r"^#+ .*$", CODE.sub("", one.read_text()), re.MULTILINE)
        for one in (path, korean(path))
    )
    assert [head.split(" ")[0] for head in ours] == [head.split(" ")[0] for head in theirs]
    text = CODE.sub("", korean(path).read_text())
    letters = re.findall(r"[가-힣]", text)
    assert len(letters) > 0.15 * len(text), "a page in English under a Korean name"


@pytest.mark.parametrize("name", MODULES)
def test_the_reference_has_every_public_name(name):
    from importlib import import_module

    text = path_of(name).read_text()
    assert text == page(name)
    module = import_module(name)
    for one in public_names(module):
        home = getattr(getattr(module, one), "__name__", "")
        assert f".{one}\n" in text or home in MODULES, one
