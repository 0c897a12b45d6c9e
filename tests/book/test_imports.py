"""Examples that a reader copies: Keras takes its backend from whoever imports it first."""

import re

import pytest

from tests.book.test_pages import BLOCK, PAGES

OURS = re.compile(r"^from lamina import .*\blayers\b|^(?:import|from) lamina\.layers\b", re.M)
KERAS = re.compile(r"^(import|from) keras\b", re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_our_layers_are_imported_before_keras(page):
    source = "".join(block.group(1) for block in BLOCK.finditer(page.read_text()))
    if keras := KERAS.search(source):
        ours = OURS.search(source)
        assert ours and ours.start() < keras.start()
