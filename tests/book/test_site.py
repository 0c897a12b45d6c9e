"""The site as it is built: it loads nothing, every link leads somewhere, and it fits a phone."""

from __future__ import annotations

import html
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin

import pytest

from tests.report.explanation.browser import CHROMIUM, in_chromium

ROOT = Path(__file__).parents[2]
LANGUAGES = ("en", "ko")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    made = subprocess.run(
        [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--site-dir", out],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert made.returncode == 0, made.stdout + made.stderr
    return out


def pages(site):
    return sorted(path for path in site.rglob("*.html") if path.name != "404.html")


def targets(text):
    """What a page loads or leads to, and the anchors that it has."""
    found = re.findall(r'\b(href|src|srcset)=("[^"]*"|[^\s>]+)', text)
    return [(kind, html.unescape(value.strip('"'))) for kind, value in found]


def test_nothing_is_loaded_from_a_network(site):
    for page in pages(site):
        text = page.read_text()
        for tag in re.findall(r"<(?:script|link|img|source|iframe)\b[^>]*>", text):
            if re.search(r'rel="?(?:canonical|alternate|next|prev)', tag):
                continue
            assert not re.search(r"=\"?(?:https?:)?//", tag), (page.name, tag)
    for style in site.rglob("*.css"):
        outside = re.findall(r"url\((?!data:|[\"']?data:)([^)]*)\)", style.read_text())
        assert not [one for one in outside if "//" in one], style.name


def test_every_link_and_anchor_resolves(site):
    anchors = {
        path: set(map(html.unescape, re.findall(r'\bid=["\']?([^"\'\s>]+)', path.read_text())))
        for path in pages(site)
    }
    wrong = []
    for page in pages(site):
        for kind, value in targets(page.read_text()):
            if re.match(r"[a-z]+:|//|#__|javascript", value) or not value:
                continue
            address, anchor = urldefrag(urljoin(page.as_uri(), value))
            place = Path(unquote(address.removeprefix("file://")).partition("?")[0])
            if place.is_dir():
                place = place / "index.html"
            if not place.exists() or (
                kind == "href"
                and anchor
                and place in anchors
                and unquote(anchor) not in anchors[place]
            ):
                wrong.append((str(page.relative_to(site)), value))
    assert not wrong, wrong[:20]


def test_the_search_finds_a_page_once_and_in_the_language_it_has(site):
    found = json.loads((site / "search/search_index.json").read_text())["docs"]
    places = {entry["location"] for entry in found}
    assert "kinds/conv2d.html" in places and "ko/kinds/conv2d.html" in places
    assert "reference/cli.html" in places and "ko/reference/cli.html" not in places


# A frame of a phone's width for each page, all in one document; their widths as its title.
WIDTHS = """<!doctype html><meta charset="utf-8"><title>-</title><body><script>
const pages = PAGES, seen = {}, width = 360;
const next = () => {
  if (!pages.length) { document.title = JSON.stringify(seen); return; }
  const page = pages.pop();
  const frame = document.createElement("iframe");
  frame.width = width;
  frame.height = 700;
  frame.onload = () => setTimeout(() => {
    const root = frame.contentDocument.documentElement;
    const left = [...frame.contentDocument.querySelectorAll("main *")]
      .filter((e) => e.getBoundingClientRect().right > width + 1 && !e.closest(SCROLLS))
      .slice(0, 3).map((e) => `${e.tagName}.${e.className}`);
    seen[page] = [root.scrollWidth, left];
    frame.remove();
    next();
  }, 60);
  frame.src = page;
  document.body.append(frame);
};
next();
</script>"""
SCROLLS = "pre, .md-typeset__scrollwrap, .highlight, .scrolls, .md-clipboard, .md-code__nav"


def in_frames(site, program, folder):
    """What a program that opens all pages in frames leaves as its title."""
    for script in site.rglob("bundle*.js"):  # pages stand still, and the frames' origin is theirs
        script.write_text("document.documentElement.classList.replace('no-js', 'js');")
    names = [str(page.relative_to(site)) for page in pages(site)]
    path = site / "frames.html"
    path.write_text(program.replace("PAGES", json.dumps(names)))
    done = subprocess.run(
        [CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
         "--disable-quic", "--disable-background-networking", "--disable-component-update",
         "--disable-sync", "--allow-file-access-from-files", "--virtual-time-budget=120000",
         "--window-size=1400,900", f"--user-data-dir={folder / 'profile'}", "--dump-dom",
         path.as_uri()],
        capture_output=True, text=True, timeout=300, check=True,
    ).stdout  # fmt: skip
    path.unlink()
    return json.loads(html.unescape(re.search(r"<title>(.*?)</title>", done, re.S).group(1)))


@in_chromium
def test_no_page_scrolls_sideways_on_a_phone(site, tmp_path):
    seen = in_frames(site, WIDTHS.replace("SCROLLS", json.dumps(SCROLLS)), tmp_path)
    assert len(seen) == len(pages(site)) > 60
    wide = {page: found for page, found in seen.items() if found[0] > 360}
    assert not wide, wide


# Of each page in both schemes: text whose contrast with what lies behind it is below AA's 4.5, or
# 3 where it is large.
CONTRAST = """<!doctype html><meta charset="utf-8"><title>-</title><body><script>
const pages = PAGES, seen = [];
const channels = (colour) => {
  const [r, g, b, a = 1] = colour.match(/[\\d.]+/g).map(Number);
  return { rgb: [r, g, b], a };
};
const over = (top, below) => top.rgb.map((v, i) => v * top.a + below[i] * (1 - top.a));
const luminance = (rgb) => {
  const [r, g, b] = rgb.map((v) => v / 255)
    .map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const behind = (element, view) => {
  const layers = [];
  for (let at = element; at; at = at.parentElement) {
    const layer = channels(view.getComputedStyle(at).backgroundColor);
    if (layer.a > 0) layers.push(layer);
    if (layer.a === 1) break;
  }
  return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
};
const look = (page, scheme, frame) => {
  const { contentDocument: doc, contentWindow: view } = frame;
  doc.body.setAttribute("data-md-color-scheme", scheme);
  const walker = doc.createTreeWalker(doc.body, NodeFilter.SHOW_TEXT);
  for (let node; (node = walker.nextNode());) {
    const element = node.parentElement;
    const style = view.getComputedStyle(element);
    const box = element.getBoundingClientRect();
    const hidden = !node.textContent.trim() || !box.width || !box.height
      || style.visibility !== "visible" || style.opacity !== "1"
      || element.closest("svg, .md-clipboard, .headerlink");
    if (hidden) continue;
    const ground = behind(element, view);
    const ink = over(channels(style.color), ground);
    const [light, dark] = [luminance(ink), luminance(ground)].sort((a, b) => b - a);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const ratio = (light + 0.05) / (dark + 0.05);
    if (ratio < (large ? 3 : 4.5)) {
      seen.push([page, scheme, `${element.tagName}.${element.className}`, ratio.toFixed(2),
        node.textContent.trim().slice(0, 30)]);
    }
  }
};
const next = () => {
  if (!pages.length) { document.title = JSON.stringify(seen); return; }
  const page = pages.pop();
  const frame = document.createElement("iframe");
  frame.width = 1300;
  frame.height = 900;
  frame.onload = () => setTimeout(() => {
    const still = frame.contentDocument.createElement("style");
    still.textContent = "* { transition: none !important; }";
    frame.contentDocument.head.append(still);
    for (const scheme of ["default", "slate"]) look(page, scheme, frame);
    frame.remove();
    next();
  }, 60);
  frame.src = page;
  document.body.append(frame);
};
next();
</script>"""


@in_chromium
def test_text_stands_out_in_both_schemes(site, tmp_path):
    found = in_frames(site, CONTRAST, tmp_path)
    kinds = {(scheme, element): (page, ratio, text) for page, scheme, element, ratio, text in found}
    said = [f"{key}: {value}" for key, value in kinds.items()]
    assert not kinds, "\n".join(said)
