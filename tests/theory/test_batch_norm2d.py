"""Batch norm: operations by the derivation, what it owns by torch, bytes by hand."""

import pytest
import torch

from lamina.theory import batch_norm2d
from lamina.theory.complexity import evaluate

SHAPE, ELEMENTS = (2, 3, 4, 5), 120
SIZES = {"N": 2, "C": 3, "H": 4, "W": 5}


@pytest.mark.parametrize(
    ("arguments", "forward_flops", "backward_flops", "reads"),
    [
        ({}, 2, 5, 2),
        ({"affine": False}, 2, 1, 1),
        ({"training": True}, 6, 8, 4),
        ({"training": True, "activation": "relu"}, 7, 11, 4),
        ({"affine": False, "activation": "relu"}, 3, 4, 2),
    ],
)
def test_batch_norm(arguments, forward_flops, backward_flops, reads):
    forward = batch_norm2d.cost(SHAPE, **arguments)
    backward = batch_norm2d.cost(SHAPE, **arguments, direction="backward")
    assert forward.other_flops == forward_flops * ELEMENTS
    assert backward.other_flops == backward_flops * ELEMENTS
    parameters = 6 if arguments.get("affine", True) else 0
    assert backward.bytes_read == 4 * (reads * ELEMENTS + 6 + parameters)


def test_batch_norm_owns_and_keeps():
    layer = torch.nn.BatchNorm2d(3)
    training = batch_norm2d.cost(SHAPE, training=True)
    assert training.parameters == sum(p.numel() for p in layer.parameters())
    assert training.buffers == sum(b.numel() for b in layer.buffers())
    assert training.saved_bytes == 4 * (ELEMENTS + 3 + 3)
    assert (
        training.saved_bytes
        == batch_norm2d.cost(SHAPE, training=True, activation="silu").saved_bytes
    )
    assert batch_norm2d.cost(SHAPE, track_running_stats=False).buffers == 0
    for mode in (False, True):
        flops = batch_norm2d.cost(SHAPE, training=mode).flops
        assert evaluate(batch_norm2d.complexity(mode), **SIZES) == flops


def test_batch_norm_refuses():
    with pytest.raises(ValueError, match=r"^input_shape must be \(N, C, \.\.\.\), got \(3,\)$"):
        batch_norm2d.cost((3,))
    with pytest.raises(ValueError, match=r"^the input must have 4 channels, got 3 in"):
        batch_norm2d.output_shape(SHAPE, num_features=4)
