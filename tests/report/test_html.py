"""Pages are escaped, load nothing, and run only their own scripts."""

import base64
import hashlib
import re

from lamina.report import html, svg
from lamina.report.table import Column, Table

EVIL = "</script><script>alert('&')</script>"


def test_text_is_escaped_in_content_attributes_and_tables():
    table = Table((Column("name", EVIL),), [{"name": EVIL}], {"name": EVIL}, title=EVIL)
    drawn = (
        html.tag("p", EVIL, title=EVIL)
        + html.table(table, identifier=EVIL)
        + html.section(EVIL, lede=EVIL, identifier=EVIL)
        + html.definitions({EVIL: EVIL})
        + html.stats([(EVIL, EVIL, EVIL)])
        + svg.line_chart([svg.Series(EVIL, [(0, 1.0)])], label=EVIL, x_title=EVIL, y_title=EVIL)
    )
    assert "<script" not in drawn
    assert "&lt;script&gt;" in drawn


def test_a_page_allows_its_own_styles_and_scripts_by_hash_and_nothing_else():
    page = html.page(EVIL, html.tag("p", EVIL), scripts=["let a = 1 < 2;"], styles=["p > b {}"])
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)[1]
    assert policy.startswith("default-src &#x27;none&#x27;")
    for kind in ("script", "style"):
        texts = re.findall(rf"<{kind}>(.*?)</{kind}>", page, re.DOTALL)
        assert len(texts) == 2
        for text in texts:
            digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
            assert f"sha256-{digest}" in policy
    assert "unsafe-inline" not in policy
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "style=" not in page, "an inline style would be refused by the page's own policy"


def test_numbers_sort_by_value_and_unknown_ones_carry_none():
    table = Table(
        (Column("macs", "MACs", "{:,}".format, "right"),), [{"macs": 1234}, {"macs": None}]
    )
    drawn = html.table(table)
    assert '<td class="number" data-value="1234">1,234</td>' in drawn
    assert '<td class="number">–</td>' in drawn
