"""A page holds on any machine: no path of one of them, no host of a package registry."""

import re

import pytest

from tests.book.test_pages import PAGES, ROOT

PATH = re.compile(r"(?<![\w./~-])/(?:home|root|work|tmp|mnt|opt|Users)/|\b[A-Z]:\\Users")
REGISTRY = re.compile(
    r"\b(?:pypi|pythonhosted|anaconda|artifactory|nexus|devpi)\b|/simple\b"
    r"|--(?:extra-)?index-url[ =](?P<url>\S+)"
)
TORCH = "https://download.pytorch.org/whl/"  # the one place where PyTorch's CPU builds lie


def tied(text):
    """What ties a text to a machine or a registry."""
    registries = [
        found[0] for found in REGISTRY.finditer(text) if not (found["url"] or "").startswith(TORCH)
    ]
    return [found[0] for found in PATH.finditer(text)] + registries


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.stem
)
def test_a_page_is_tied_to_no_machine(page):
    assert not tied(page.read_text())


@pytest.mark.parametrize(
    "text",
    ["open /home/me/runs/report.html", r"C:\Users\me", "pip install --index-url http://mirror/x a",
     "see https://pypi.org/project/lamina", "http://10.0.0.1:3141/root/simple"],
)  # fmt: skip
def test_what_ties_is_found(text):
    assert tied(text)
