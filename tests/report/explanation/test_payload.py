"""Data in a page: numbers come back bit for bit, and no text ends the element it stands in."""

import base64
import json

import numpy as np

from lamina.report.explanation.payload import data_block, plain
from tests.report.explanation.hand import EVIL, packed


def test_an_array_comes_back_bit_for_bit():
    values = np.random.default_rng(0).normal(size=(2, 3)).astype(np.float32)
    made = json.loads(json.dumps(plain(packed(values))))
    assert made["shape"] == [2, 3] and made["dtype"] == "float32"
    assert np.array_equal(
        np.frombuffer(base64.b64decode(made["data"]), "<f4").reshape(2, 3), values
    )


def test_no_text_ends_the_element_and_numbers_that_are_not_finite_are_said():
    block = data_block("data", {EVIL: (EVIL, float("nan"), float("inf"), -float("inf"))})
    text = block.removeprefix('<script type="application/json" id="data">')
    text = text.removesuffix("</script>")
    assert "<" not in text
    assert json.loads(text) == {EVIL: [EVIL, "NaN", "Infinity", "-Infinity"]}
