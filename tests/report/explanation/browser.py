"""A page in a headless browser, driven by its address and read off its document."""

import html
import json
import re
import shutil
import subprocess

import pytest

CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
in_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium is installed")

NARROWEST = 500  # pixels that a window of Chromium has at least
FRAME = """<!doctype html><title>-</title><iframe width="{}" height="740" srcdoc="{}"></iframe>
<script>onload = () => setInterval(() => {{ document.title = frames[0].document.title; }}, 50);
</script>"""


def dumped(page, folder, *, width=1280, address=""):
    """The document after its scripts ran."""
    path = folder / "page.html"
    narrow = FRAME.format(width, html.escape(page)) if width < NARROWEST else page
    path.write_text(narrow, encoding="utf-8")
    result = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-quic", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--disable-ipc-flooding-protection",  # hundreds of addresses in a second
         "--virtual-time-budget=20000", f"--window-size={width},900",
         f"--user-data-dir={folder / 'profile'}", "--dump-dom", path.as_uri() + address],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return result.stdout


def titled(page, folder, **how):
    """What the page's scripts left as its title, as JSON."""
    title = re.search(r"<title>(.*?)</title>", dumped(page, folder, **how), re.S).group(1)
    return json.loads(html.unescape(title))


# Opens each place of `wanted` by the page's address and notes what stands there.
READER = """
(async () => {
  const numbersOf = (place) =>
    [...place.querySelectorAll("[data-value]")].map((e) => Number(e.dataset.value));
  const seen = [];
  for (const place of WANTED) {
    const address = `#${new URLSearchParams(place)}`;
    if (location.hash !== address) {
      const changed = new Promise((done) => addEventListener("hashchange", done, { once: true }));
      location.hash = address;
      await changed;
    }
    for (const more of panel.querySelectorAll(".more")) while (!more.hidden) more.click();
    const agrees = panel.querySelector(".agrees");
    const result = panel.querySelector(".result .value");
    const rows = [...panel.querySelectorAll(".sum tr")].map((row) => numbersOf(row)[0]);
    seen.push({
      address: location.hash, name: panel.querySelector("h3").textContent,
      text: panel.textContent,
      result: result && Number(result.dataset.value),
      mine: agrees && Number(agrees.dataset.mine), agrees: agrees && agrees.dataset.agrees, rows,
      terms: [...panel.querySelectorAll(".term")].map((term) => ({
        sum: numbersOf(term.querySelector("p"))[0],
        grids: [...term.querySelectorAll(".product table")].map(numbersOf) })),
      table: [...panel.querySelectorAll(".table tbody tr")].map(numbersOf),
      note: panel.querySelector(".snapped") && panel.querySelector(".snapped").textContent,
      focusable: panel.querySelectorAll("[tabindex='0'], button:not([tabindex='-1'])").length,
      wide: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    });
  }
  const note = document.getElementById("answer-note");
  document.title = JSON.stringify({ seen, score: note && note.dataset.score });
})().catch((error) => { document.title = JSON.stringify({ error: String(error.stack) }); });
"""


def reader(places):
    """The script that opens places, each of layer, channel, y and x."""
    return READER.replace("WANTED", json.dumps(places))
