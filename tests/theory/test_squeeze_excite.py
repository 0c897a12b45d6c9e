"""Squeeze-and-excitation by hand."""

import pytest

from lamina.theory import squeeze_excite
from lamina.theory.complexity import evaluate

SHAPE, ELEMENTS = (2, 3, 4, 5), 120
SIZES = {"N": 2, "C": 3, "H": 4, "W": 5}


def test_squeeze_excite():
    forward = squeeze_excite.cost(SHAPE, 6)
    assert forward.macs == 2 * (3 * 6 + 6 * 3)
    assert forward.parameters == 3 * 6 + 6 + 6 * 3 + 3
    # 2 per element; per sample: 6 biases, 6 relu, 3 biases, 3 sigmoid of 3 operations
    assert forward.other_flops == 2 * ELEMENTS + 2 * (6 + 6 + 3 + 9)
    assert forward.bytes_moved == 4 * (3 * ELEMENTS + 45)
    assert forward.saved_bytes == 4 * (ELEMENTS + 2 * (3 + 6 + 3))
    hard = squeeze_excite.cost(SHAPE, 6, gate="hardsigmoid")
    assert hard.saved_bytes - forward.saved_bytes == 4 * 2 * 3
    backward = squeeze_excite.cost(SHAPE, 6, direction="backward")
    assert backward.macs == 2 * forward.macs
    assert backward.bytes_moved == 4 * (4 * ELEMENTS + 2 * 45)
    assert evaluate(squeeze_excite.complexity(), **SIZES, S=6) == (2 * forward.macs + 2 * ELEMENTS)
    with pytest.raises(ValueError, match=r"^squeeze_channels must be a positive integer, got 0$"):
        squeeze_excite.cost(SHAPE, 0)
