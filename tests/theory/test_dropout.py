"""Dropout costs an element a multiplication, and nothing where it does nothing."""

import pytest

from lamina.theory import dropout
from lamina.theory.complexity import evaluate
from lamina.theory.cost import Cost

SHAPE, ELEMENTS = (2, 3, 4, 5), 120
SIZES = {"N": 2, "C": 3, "H": 4, "W": 5}


def test_dropout():
    forward = dropout.cost(SHAPE, 0.3)
    assert forward == Cost(
        other_flops=ELEMENTS,
        bytes_read=4 * ELEMENTS,
        bytes_written=4 * ELEMENTS,
        saved_bytes=16,
    )
    assert dropout.cost(SHAPE, 0.3, direction="backward").saved_bytes == 0
    assert dropout.cost(SHAPE, 0.0) == dropout.cost(SHAPE, 0.3, training=False) == Cost()
    assert evaluate(dropout.complexity(), **SIZES) == forward.flops
    with pytest.raises(ValueError, match=r"^p must be a number in \[0, 1\], got 1.5$"):
        dropout.cost(SHAPE, 1.5)
