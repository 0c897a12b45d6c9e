"""Dense by hand; flattened shapes are torch's."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.theory import dense
from lamina.theory.complexity import evaluate
from lamina.theory.cost import Cost

SHAPE, ELEMENTS = (2, 3, 4, 5), 120


def test_dense():
    forward = dense.cost((4, 5, 6), 7)
    assert dense.output_shape((4, 5, 6), 7) == (4, 5, 7)
    assert (forward.macs, forward.other_flops, forward.parameters) == (20 * 42, 20 * 7, 49)
    assert (forward.bytes_read, forward.bytes_written) == (4 * (120 + 49), 4 * 140)
    backward = dense.cost((4, 5, 6), 7, direction="backward")
    assert backward.macs == 2 * forward.macs
    first = dense.cost((4, 5, 6), 7, direction="backward", input_gradient=False)
    assert backward.bytes_read - first.bytes_read == 4 * 42
    assert backward.bytes_written - first.bytes_written == 4 * 120
    assert evaluate(dense.complexity(), N=20, C=6, M=7) == 2 * forward.macs
    with pytest.raises(ValueError, match=r"^out_features must be a positive integer, got -1$"):
        dense.cost((4, 5), -1)
    with pytest.raises(
        ValueError, match=r"^input_shape must be \(\.\.\., in_features\), got \(\)$"
    ):
        dense.cost((), 3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(0, 4), max_size=4), st.integers(-5, 4), st.integers(-5, 4))
def test_flatten_is_torchs(shape, start_dim, end_dim):
    try:
        expected = tuple(torch.zeros(shape).flatten(start_dim, end_dim).shape)
    except (IndexError, RuntimeError):
        with pytest.raises(ValueError, match=r"^(start|end)_dim must "):
            dense.flatten_output_shape(shape, start_dim, end_dim)
    else:
        assert dense.flatten_output_shape(shape, start_dim, end_dim) == expected


def test_flatten_moves_only_what_it_reorders():
    assert dense.flatten_cost(SHAPE) == Cost()
    assert dense.flatten_cost(SHAPE, copies=True).bytes_moved == 8 * ELEMENTS
