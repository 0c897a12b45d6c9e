"""Words are spelt as in British English, or stand in ``docs/words.txt``."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from spellchecker import SpellChecker

ROOT = Path(__file__).parents[2]
OWN = ROOT / "docs/words.txt"
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if not path.name.endswith(".ko.md")),
]
AMERICAN = re.compile(
    r"(?:normaliz|optimiz|synchroniz|initializ|quantiz|generaliz|recogniz|regulariz|color|neighbor"
    r"|center(?:ed|s)?\b|gray\b|behavior|analyz)"
)


@cache
def checker():
    made = SpellChecker(language="en")
    made.word_frequency.load_words(OWN.read_text().split())
    return made


def words(text: str) -> list[str]:
    """Of the prose: no code, no addresses, no names, which begin with a capital."""
    for left_out in (
        r"^```.*?^```",
        r"`[^`]*`",
        r"<[^>]*>",
        r"\]\([^)]*\)",
        r"https?://\S+",
        r"\{[^}]*\}",
        r"^:::.*$",
    ):
        text = re.sub(
            left_out, " ", text, flags=re.MULTILINE | re.DOTALL if "```" in left_out else re.M
        )
    found = re.findall(r"(?<![\w.-])[A-Za-z][a-z]+(?:'[a-z]+)?(?![\w=])", text)
    return [re.sub(r"'s?$", "", word) for word in found if word[0].islower()]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_word_is_known(page):
    found = set(words(page.read_text()))
    assert not checker().unknown(found), sorted(checker().unknown(found))
    assert not [word for word in found if AMERICAN.match(word)]


def test_a_misspelt_word_is_found():
    assert checker().unknown(words("The convolusion of an imege, `sme code`.")) == {
        "convolusion",
        "imege",
    }


def test_no_word_of_the_projects_own_is_idle():
    text = "\n".join(page.read_text() for page in PAGES)
    used = set(words(text))
    assert not set(OWN.read_text().split()) - used
