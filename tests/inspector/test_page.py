"""The page: self-contained, escaped, and working under a reader's clicks in a real browser."""

import base64
import hashlib
import html
import itertools
import json
import re
import shutil
import subprocess
from importlib import resources

import pytest
from torch import nn

from lamina import models
from lamina.inspector import inspect
from lamina.report.inspection.page import to_page
from lamina.theory.limits import Machine
from tests.inspector.networks import Hand

MACHINE = Machine(peak_flops=100e9, bandwidth=10e9)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)


def digest(text):
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


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
const before_opening = document.documentElement.scrollHeight;
block.dispatchEvent(new MouseEvent('click', { bubbles: true }));
const opened = [...document.querySelectorAll('details.card[open]')]
  .map((card) => card.querySelector('b').textContent);
document.querySelectorAll('#layers tbody tr')[0].click();
const filter = document.querySelector('input[type=search]');
filter.value = 'batch_norm2d';
filter.dispatchEvent(new Event('input'));
const left = [...document.querySelectorAll('#layers tbody tr')].filter((row) => !row.hidden).length;
const room = document.documentElement;
document.title = JSON.stringify({
  before, sorted, kind, heat, closed, opened, left, width: room.clientWidth,
  tooWide: room.scrollWidth - room.clientWidth,
  height: before_opening,
  table: document.getElementById('layers').parentElement.clientWidth,
  main: document.querySelector('main').clientWidth,
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


NARROWEST = 500  # pixels that a window of Chromium has at least
FRAME = """<!doctype html><title>-</title><iframe width="{}" height="740" srcdoc="{}"></iframe>
<script>onload = () => {{ document.title = frames[0].document.title; }};</script>"""


def in_a_browser(page, folder, width):
    """What the page's scripts left as its title, as JSON."""
    path = folder / "page.html"
    narrow = FRAME.format(width, html.escape(page)) if width < NARROWEST else page
    path.write_text(narrow, encoding="utf-8")
    result = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-quic", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", f"--window-size={width},900",
         f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri()],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    title = re.search(r"<title>(.*?)</title>", result.stdout, re.S).group(1)
    return json.loads(html.unescape(title))


in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")


@in_chromium
@pytest.mark.parametrize("width", [360, 1280])
def test_sorting_colouring_and_opening_in_a_browser(tmp_path, width):
    account = inspect(Hand(), (1, 3, 32, 32), machine=MACHINE)
    seen = in_a_browser(to_page(account, scripts=[READER]), tmp_path, width)
    assert seen["width"] == pytest.approx(width, abs=20)  # less a scroll bar
    assert seen["tooWide"] <= 0  # nothing but the table's own frame scrolls sideways
    expected = [row.macs for row in account.rows]
    assert seen["before"][: len(expected)] == expected
    assert seen["sorted"] == sorted(expected, reverse=True)[:7]
    assert seen["kind"] == "block kind-conv"
    assert seen["heat"] == "block heat-6"
    assert seen["closed"] == 0
    assert seen["opened"] == ["conv2d"]  # the layer with the most MACs
    assert seen["marked"] >= 2  # its block and its bars
    assert seen["left"] == 3
    assert seen["table"] <= seen["main"]  # what is wider scrolls inside of it


@in_chromium
@pytest.mark.parametrize(("width", "most"), [(390, 16_000), (1280, 10_000)])
def test_a_deep_network_is_no_endless_page(tmp_path, width, most):
    account = inspect(models.get("mobilenet_v2"), (1, 3, 224, 224))
    seen = in_a_browser(to_page(account, scripts=[READER]), tmp_path, width)
    # Its cards alone, one for each of 152 layers, took 15,000 pixels of a telephone's page.
    assert seen["height"] < most
    assert seen["tooWide"] <= 0


def texts(page):
    """Place and content of every label beside the drawing of the network, column by column."""
    for drawing in re.findall(r"<svg[^>]*from input to output, \d+ layers.*?</svg>", page, re.S):
        found = re.findall(r"<text([^>]*)>(.*?)</text>", drawing, re.S)
        yield [
            (float(re.search(r'\bx="?([\d.]+)', where)[1]),
             float(re.search(r'\by="?([\d.]+)', where)[1]), content)
            for where, content in found
        ]  # fmt: skip


class Thin(nn.Module):
    """Thin rows, each of another size, under names of their own."""

    def __init__(self):
        super().__init__()
        self.stages = nn.ModuleDict({f"s{i}": nn.Sequential(nn.Identity()) for i in range(9)})

    def forward(self, x):
        for stage in self.stages.values():
            x = stage(x).relu()[:, :, 1:, 2:]
        return x


def test_labels_say_both_sides_and_stand_apart():
    page = inspect(Thin(), (1, 4, 64, 128)).to_html()
    assert "4 × 64×128" in page and "4 × 64²" not in page
    for column in texts(page):
        for edge in (0.0, 470.0):
            places = sorted(y for x, y, _ in column if x == edge)
            assert all(below - above >= 11 for above, below in itertools.pairwise(places))


class Shared(nn.Module):
    """One activation under the names of several blocks."""

    def __init__(self):
        super().__init__()
        act = nn.ReLU()
        self.first, self.second, self.third = (
            nn.Sequential(nn.Conv2d(3, 3, 1), act, nn.Conv2d(3, 3, 1)) for _ in range(3)
        )

    def forward(self, x):
        return self.third(self.second(self.first(x)))


def test_a_shared_module_stands_in_the_block_that_calls_it():
    (column,) = texts(inspect(Shared(), (1, 3, 8, 8)).to_html())
    assert [said for x, _, said in column if x == 0] == ["first", "second", "third"]


def test_a_deep_network_is_drawn_in_columns():
    account = inspect(models.get("mobilenet_v2"), (1, 3, 224, 224))
    columns = list(texts(account.to_html()))
    assert len(columns) == 2
    ends = [[said for x, _, said in column if x == 240] for column in columns]
    assert ends == [["input", "continues"], ["continued", "output"]]
    assert len(list(texts(inspect(Hand(), (1, 3, 32, 32)).to_html()))) == 1


@in_chromium
def test_on_paper_every_column_is_there(tmp_path):
    """The widest table lies on landscape pages: what is printed is no cut."""
    model = models.get("mobilenet_v2")
    account = inspect(model, (1, 3, 224, 224), measure=True, seconds=0.05)
    reader = """
    const table = document.getElementById('layers');
    const frame = table.parentElement;
    document.title = JSON.stringify({ cut: table.scrollWidth - frame.clientWidth });
    """
    css = (resources.files("lamina.report") / "assets" / "inspect.css").read_text()
    printed = css.replace("@media print {", "@media screen {")
    page = to_page(account, scripts=[reader]).replace(css, printed)
    # Styles are allowed by hash: the changed one has one of its own.
    page = page.replace(digest(css), digest(printed))
    landscape = 1040  # CSS pixels of A4 between margins of 10 mm
    assert in_a_browser(page, tmp_path, landscape)["cut"] <= 0
