"""Addresses in a page's own HTML lead to the documentation's files from wherever the page lies."""

from types import SimpleNamespace

import pytest

from book.addresses import on_page_markdown


class Files:
    """One figure, which a page two folders further up finds there."""

    def get_file_from_path(self, path):
        if path == "findings/a-ko.svg":
            return SimpleNamespace(url_relative_to=lambda page: "../../findings/a-ko.svg")
        return None


@pytest.mark.parametrize(
    "source, text",
    [
        ("findings/a.ko.md", '<img src="a-ko.svg">'),
        ("findings.ko.md", '<source srcset="findings/a-ko.svg">'),
        ("kinds/b.ko.md", '<img src="../findings/a-ko.svg">'),
    ],
)
def test_an_address_is_made_the_pages_own(source, text):
    page = SimpleNamespace(file=SimpleNamespace(src_uri=source))
    assert '="../../findings/a-ko.svg"' in on_page_markdown(text, page=page, files=Files())


@pytest.mark.parametrize(
    "text", ['<img src="https://example.org/a-ko.svg">', '<img src="other.svg">', "[a](a-ko.svg)"]
)
def test_what_is_no_file_of_the_documentation_stays(text):
    page = SimpleNamespace(file=SimpleNamespace(src_uri="findings/a.ko.md"))
    assert on_page_markdown(text, page=page, files=Files()) == text
