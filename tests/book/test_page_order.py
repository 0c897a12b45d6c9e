"""A kind's page has one order: the picture first, then the same eight sections."""

import re
from pathlib import Path

import pytest

KINDS = Path(__file__).parents[2] / "docs/kinds"
ENGLISH = [
    "What it computes",
    "Its role",
    "Its theory",
    "Inside and cost",
    "Both dialects",
    "Traps",
    "When not to use it",
    "Sources",
]
KOREAN = [
    "무엇을 계산하는가",
    "역할",
    "이론",
    "내부와 비용",
    "두 방언 나란히",
    "함정",
    "쓰지 말아야 할 때",
    "출처",
]


@pytest.mark.parametrize("page", sorted(KINDS.glob("*.md")), ids=lambda page: page.name)
def test_a_picture_and_the_sections_in_order(page):
    text = page.read_text()
    figures = r"-ko\.svg" if page.name.endswith(".ko.md") else r"(?<!-ko)\.svg"
    assert re.search(rf"!\[[^]]+\]\(\.\./images/\w+{figures}\)", text.split("\n## ")[0])
    headings = [heading.split(",")[0] for heading in re.findall(r"^## (.+)$", text, re.MULTILINE)]
    assert headings == (KOREAN if page.name.endswith(".ko.md") else ENGLISH)
