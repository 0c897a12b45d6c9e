"""Activations by the table, under the names of both dialects."""

import pytest

from lamina.theory import activation
from lamina.theory.complexity import evaluate

SHAPE, ELEMENTS = (2, 3, 4, 5), 120
SIZES = {"N": 2, "C": 3, "H": 4, "W": 5}


@pytest.mark.parametrize("name", sorted(activation.ACTIVATIONS))
def test_activation(name):
    row = activation.ACTIVATIONS[name]
    forward = activation.cost(SHAPE, name)
    backward = activation.cost(SHAPE, name, direction="backward")
    assert forward.flops == row.forward_flops * ELEMENTS
    assert backward.flops == row.backward_flops * ELEMENTS
    assert evaluate(activation.complexity(name), **SIZES) == forward.flops
    moves = name != "linear"
    assert forward.saved_bytes == (4 * ELEMENTS if moves else 0)
    assert (forward.bytes_moved, backward.bytes_moved) == (
        (8 * ELEMENTS, 12 * ELEMENTS) if moves else (0, 0)
    )


def test_activation_names_of_both_dialects():
    for keras_name, torch_name in [("hard_sigmoid", "hardsigmoid"), ("swish", "silu")]:
        assert activation.cost(SHAPE, keras_name) == activation.cost(SHAPE, torch_name)
    with pytest.raises(ValueError, match=r"^activation must be one of 'linear', .* got 'maxout'$"):
        activation.cost(SHAPE, "maxout")
