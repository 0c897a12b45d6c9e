"""Wherever a page speaks of an experiment, it says what the experiment's record says."""

import re
from pathlib import Path

import pytest

from book.words import korean
from lamina.lab.folder import kept
from lamina.report.finding.markdown import said_verdict

ROOT = Path(__file__).parents[2]
FINDINGS = {finding.name: finding for finding in kept(ROOT / "docs/findings")}
PAGES = [*sorted((ROOT / "docs/kinds").glob("*.md")), ROOT / "docs/reference/conv2d_algorithms.md"]
VERDICT = re.compile(r"\*\*([^*]+)\.\*\* \[[^]]+\]\(\.\./findings/([a-z0-9-]+)\.md\)")
CLAIM = re.compile(r"(?<!\*)\*([^*]{40,})\*(?!\*) " + VERDICT.pattern)
LINK = re.compile(r"\]\(\.\./findings/([a-z0-9-]+)\.md\)")
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
SHARE = re.compile(r"\d+\.\d+ ?%")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_verdict_beside_a_link_is_the_record_s(page):
    words = korean() if page.name.endswith(".ko.md") else None
    for said, name in VERDICT.findall(" ".join(page.read_text().split())):
        assert said.lower() == said_verdict(FINDINGS[name], words).lower()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_claim_above_a_verdict_is_the_record_s(page):
    words = korean() if page.name.endswith(".ko.md") else {}
    for said, _, name in CLAIM.findall(" ".join(page.read_text().split())):
        claim = FINDINGS[name].claim
        assert said == words.get(claim, claim)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_measured_share_stands_in_a_finding_or_is_asserted(page):
    text = page.read_text()
    sources = [ROOT / f"docs/findings/{name}.md" for name in LINK.findall(text)]
    known = " ".join([*CODE.findall(text), *(source.read_text() for source in sources)])
    said = {share.replace(" ", "") for share in SHARE.findall(CODE.sub("", text))}
    assert said <= {share.replace(" ", "") for share in SHARE.findall(known)}


def test_the_pages_have_them():
    text = " ".join(" ".join(page.read_text().split()) for page in PAGES)
    assert len(VERDICT.findall(text)) >= 20 and len(SHARE.findall(text)) >= 40
    assert len(CLAIM.findall(text)) >= 18
