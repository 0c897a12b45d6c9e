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


@pytest.mark.parametrize("name", ["relu", "relu6", "leaky_relu", "hardsigmoid"])
def test_two_slopes_keep_a_bit_of_each_element_of_large_inputs(name):
    large, elements, bits = (2, 4, 181, 182), 2 * 4 * 181 * 182, 4 * 8236
    forward = activation.cost(large, name)
    backward = activation.cost(large, name, direction="backward")
    assert forward.saved_bytes == bits
    assert forward.bytes_moved == 8 * elements + bits
    assert backward.bytes_moved == 8 * elements + bits
    assert activation.cost(large, name, itemsize=2).saved_bytes == 2 * elements


def test_activation_names_of_both_dialects():
    for keras_name, torch_name in [("hard_sigmoid", "hardsigmoid"), ("swish", "silu")]:
        assert activation.cost(SHAPE, keras_name) == activation.cost(SHAPE, torch_name)
    with pytest.raises(ValueError, match=r"^activation must be one of 'linear', .* got 'maxout'$"):
        activation.cost(SHAPE, "maxout")
