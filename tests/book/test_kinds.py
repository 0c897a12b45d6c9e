"""What a kind's page tells of its experiment in numbers is what the experiment measured."""

import re
from pathlib import Path
from statistics import median

import pytest

from lamina.lab.folder import kept

ROOT = Path(__file__).parents[2]
FINDINGS = {finding.name: finding for finding in kept(ROOT / "docs/findings")}
SECTION = re.compile(r"^## .*\n", re.MULTILINE)
CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(r'src="\.\./findings/([a-z0-9-]+?)(?:-ko)?\.svg"')
UNSAID = re.compile(r"<picture>.*?</picture>|\]\([^)]*\)|`[^`]*`", re.DOTALL)
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*(?:\.\d+)?(?:e[-+]\d+)?")


def role_of(page):
    """The section on the layer's role, the second of the page."""
    return SECTION.split(page.read_text())[2]


CITING = {
    page: FINDINGS[figure[1]]
    for page in sorted((ROOT / "docs/kinds").glob("*.md"))
    if (figure := FIGURE.search(role_of(page)))
}


def test_every_kind_but_one_shows_an_experiment():
    without = set((ROOT / "docs/kinds").glob("*.md")) - set(CITING)
    assert {page.name.split(".")[0] for page in without} == {"squeeze_excite"}


@pytest.mark.parametrize("page", CITING, ids=lambda page: page.name)
def test_numbers_are_the_experiment_s(page):
    """As the finding's own page prints them, as medians, or as a code block there asserts."""
    finding, role = CITING[page], role_of(page)
    known = set(NUMBER.findall((ROOT / f"docs/findings/{finding.name}.md").read_text()))
    known |= {f"{median(result.values):,.0f}" for result in finding.results.values()}
    known |= set(NUMBER.findall(" ".join(CODE.findall(role))))
    assert not set(NUMBER.findall(UNSAID.sub("", CODE.sub("", role)))) - known
