"""The page: self-contained, escaped, and working under a reader's clicks in a real browser."""

import json
import re
import shutil
import subprocess

import pytest
from torch import nn

from lamina.inspect import inspect
from lamina.report.inspect_html import to_page
from lamina.theory.limits import Machine
from tests.inspect.networks import Hand

MACHINE = Machine(peak_flops=100e9, bandwidth=10e9)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)

READER = """
const column = (name) => [...document.querySelectorAll('#layers th')]
  .findIndex((head) => head.textContent === name);
const macs = () => [...document.querySelectorAll('#layers tbody tr')]
  .map((row) => Number(row.cells[column('MACs')].dataset.value || 0));
const before = macs();
document.querySelectorAll('#layers th button')[column('MACs')].click();
const sorted = macs().slice(0, 7);
const block = document.querySelector('rect.block[data-macs="6"]');
const kind = block.getAttribute('class');
document.querySelector('input[name=colouring][value=macs]').click();
const heat = block.getAttribute('class');
const closed = document.querySelectorAll('details[open]').length;
block.dispatchEvent(new MouseEvent('click', { bubbles: true }));
const opened = [...document.querySelectorAll('details[open]')]
  .map((card) => card.querySelector('b').textContent);
document.querySelectorAll('#layers tbody tr')[0].click();
const filter = document.querySelector('input[type=search]');
filter.value = 'batch_norm2d';
filter.dispatchEvent(new Event('input'));
const left = [...document.querySelectorAll('#layers tbody tr')].filter((row) => !row.hidden).length;
document.title = JSON.stringify({ before, sorted, kind, heat, closed, opened, left,
  marked: document.querySelectorAll('.chosen').length });
"""


class Wicked(nn.Module):
    """Names that would break out of a page that does not escape them."""

    def __init__(self):
        super().__init__()
        self.add_module("</script><script>alert(1)</script>", nn.Conv2d(3, 4, 3))
        self.add_module('"onmouseover="alert(2)', nn.ReLU())

    def forward(self, x):
        for module in self.children():
            x = module(x)
        return x


Wicked.__name__ = Wicked.__qualname__ = "<img src=x onerror=alert(3)>"


def test_names_are_escaped_and_nothing_is_loaded():
    page = inspect(Wicked(), (1, 3, 8, 8)).to_html()
    assert "<script>alert" not in page and "<img" not in page
    assert '"onmouseover=' not in page
    assert "default-src &#x27;none&#x27;" in page
    assert not re.search(r"""(?:src|href)=["']?(?:https?:)?//""", page)


def test_the_page_holds_every_row_and_the_roofline_where_a_machine_is_known(tmp_path):
    account = inspect(Hand(), (1, 3, 32, 32), machine=MACHINE)
    page = account.to_html(tmp_path / "hand.html")
    assert (tmp_path / "hand.html").read_text() == page
    assert page.count('<details id="card-') == len(account.rows)
    assert "Roofline" in page and page.count("<circle") >= 15
    assert "Roofline" not in inspect(Hand(), (1, 3, 32, 32)).to_html()


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")
def test_sorting_colouring_and_opening_in_a_browser(tmp_path):
    path = tmp_path / "page.html"
    account = inspect(Hand(), (1, 3, 32, 32), machine=MACHINE)
    path.write_text(to_page(account, scripts=[READER]), encoding="utf-8")
    result = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-quic", "--disable-background-networking",
         "--disable-component-update", "--disable-sync",
         f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", result.stdout, re.S).group(1)
    seen = json.loads(title.replace("&amp;", "&"))
    expected = [row.macs for row in account.rows]
    assert seen["before"][: len(expected)] == expected
    assert seen["sorted"] == sorted(expected, reverse=True)[:7]
    assert seen["kind"] == "block kind-conv"
    assert seen["heat"] == "block heat-6"
    assert seen["closed"] == 0
    assert seen["opened"] == ["conv2d"]  # the layer with the most MACs
    assert seen["marked"] >= 2  # its block and its bars
    assert seen["left"] == 3
