"""Gallery, pages and figures are what the kept findings say, in both languages, and all of it."""

import re
from xml.etree import ElementTree

import pytest

from book.findings import CARDS, DOCS, KEPT, files
from book.words import Catalogue, korean
from lamina import lab
from lamina.lab.folder import kept
from lamina.report.finding.drawing import NARROW
from lamina.report.finding.markdown import said_verdict

FINDINGS = kept(KEPT)
HANGUL = re.compile("[가-힣]")


@pytest.fixture(scope="module")
def words():
    """Of Korean, after everything has been said."""
    said = korean()
    list(files(FINDINGS, said))
    return said


def test_every_experiment_is_kept_in_full():
    assert [one.name for one in FINDINGS] == list(lab.NAMES) == list(CARDS)
    assert all(len(one.seeds) >= 5 and not one.fast for one in FINDINGS)


@pytest.mark.parametrize("words", [None, korean()], ids=["English", "Korean"])
def test_files_are_the_findings(words):
    written = dict(files(FINDINGS, words))
    different = [name for name, text in written.items() if (DOCS / name).read_text() != text]
    assert not different, "python -m book.findings writes them"


def test_no_other_file_lies_there():
    made = {name for words in (None, korean()) for name, _ in files(FINDINGS, words)}
    lying = {f"findings/{path.name}" for path in KEPT.iterdir() if path.suffix != ".json"}
    assert lying == {name for name in made if name.startswith("findings/")}


def test_a_kept_finding_was_judged_by_the_rule_that_stands():
    for one in FINDINGS:
        criteria = lab.experiment(one.name).criteria
        judged = [criterion.applied(one.results) for criterion in criteria]
        assert judged == list(one.judgements), one.name


def test_every_text_has_its_korean(words):
    assert not words.missing


def test_every_entry_is_said(words):
    assert set(words) - words.used == {"does not hold"}, "of every claim so far, some is true"


def test_what_an_experiment_would_say_now_has_its_korean(words):
    """Of what the code says and a kept finding might not: texts that changed since."""
    for name in lab.NAMES:
        one = lab.experiment(name)
        texts = [one.title, one.claim, one.theory, one.method]
        for criterion in one.criteria:
            texts += [criterion.statement, criterion.limit]
        assert [text for text in texts if text not in words] == [], name


def test_both_languages_say_the_same(words):
    """The same numbers, links, figures and commands, in the same order within each line."""
    english, other = dict(files(FINDINGS)), dict(files(FINDINGS, words))
    for one in FINDINGS:
        mine = english[f"findings/{one.name}.md"]
        theirs = other[f"findings/{one.name}.ko.md"]
        assert [line.count("|") for line in mine.splitlines()] == [
            line.count("|") for line in theirs.splitlines()
        ]
        assert re.findall(r"`[^`]+`", mine) == re.findall(r"`[^`]+`", theirs)
        figures = re.findall(r'(?:src|srcset)="([^"]+)\.svg"', mine)
        assert [f"{name}-ko" for name in figures] == re.findall(
            r'(?:src|srcset)="([^"]+)\.svg"', theirs
        )
        assert _numbers(mine) == _numbers(theirs)


def _numbers(page):
    """Of the cells of a page's table, but for the names of its rows."""
    cells = [line.split("|")[2:] for line in page.splitlines() if "|" in line]
    return [re.findall(r"[\d.]*\d(?:e[+-]\d+)?", " ".join(row)) for row in cells]


def test_korean_keeps_the_numbers_of_a_sentence(words):
    """An exponent in a claim is not lost in translation; English words for numbers may be."""
    for one in FINDINGS:
        for text in [one.theory, one.method, one.claim]:
            said = words[text]
            assert HANGUL.search(said)
            numbers = set(re.findall(r"\d+(?:[.,]\d+)*", text))
            lost = {number for number in numbers if number not in said}
            assert not lost, (one.name, lost)


def test_a_verdict_is_said_in_both_languages(words):
    for one in FINDINGS:
        assert said_verdict(one).lower() == one.verdict.lower()
        said = said_verdict(one, words)
        assert said.endswith("성립합니다") and HANGUL.search(said)
        assert all(words[limit] in said for limit in one.limits)


def test_the_gallery_keeps_the_anchors_of_the_titles():
    for name in ("findings.md", "findings.ko.md"):
        page = (DOCS / name).read_text()
        for anchor in ("what-does-a-convolution-see", "does-dropout-fight-over-fitting"):
            assert f'<a id="{anchor}"></a>' in page
        assert page.count('<a id="') == page.count(".svg)](") == len(FINDINGS)


def test_no_text_leaves_its_figure(words):
    """A text's width by its letters, for want of a browser's: none reaches beyond an edge."""
    from lamina.report.finding.sheet import LETTER
    from lamina.report.svg import letters

    for name, text in [*files(FINDINGS), *files(FINDINGS, words)]:
        if not name.endswith(".svg"):
            continue
        root = ElementTree.fromstring(text)
        for panel in root.iter("{http://www.w3.org/2000/svg}g"):
            if "transform" not in panel.attrib:
                continue
            width = NARROW if "narrow" in name or "card" in name else 460
            for one in panel.iter("{http://www.w3.org/2000/svg}text"):
                letter = 8.2 if one.attrib["class"] == "title" else LETTER
                long = letter * letters(one.text)
                left = float(one.attrib["x"])
                left -= {"start": 0, "middle": long / 2, "end": long}[one.attrib["text-anchor"]]
                assert left >= 0 and left + long <= width, (name, one.text)


def test_a_catalogue_tells_what_it_lacks():
    words = Catalogue({"rate {}": "비율 {}", "loss": "손실"})
    assert words["loss, rate 0.5"] == "손실, 비율 0.5"
    assert words.get("gap, rate 1", "gap") == "gap"
    assert words.missing == {"gap, rate 1"} and words.used == {"loss", "rate {}"}
