"""Saved bytes against autograd's own hooks on a real run; peaks against what must be alive."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from lamina.inspector import inspect
from tests.inspector.networks import Branches, Hand


def saved_in_a_real_run(model, x):
    kept = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        output = model(x)
    own = {t.untyped_storage().data_ptr() for t in [*model.parameters(), *model.buffers()]}
    bytes_kept = sum(storage.nbytes() for pointer, storage in kept.items() if pointer not in own)
    assert output is not None
    return bytes_kept


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("build", [Hand, Branches])
def test_saved_bytes_are_what_autograd_saves(build, training):
    model = build().train(training)
    account = inspect(model, (2, 3, 32, 32), training=training)
    assert account.totals.saved_bytes == saved_in_a_real_run(model, torch.randn(2, 3, 32, 32))


def test_the_known_figure():
    assert inspect(Hand(), (1, 3, 32, 32), training=True).totals.saved_bytes == 393_728


def test_in_place_layers_share_their_storage():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Conv2d(8, 8, 3))
    account = inspect(model, (1, 3, 8, 8))
    assert account.totals.saved_bytes == saved_in_a_real_run(model, torch.randn(1, 3, 8, 8))


def test_peaks():
    model = nn.Sequential(*[nn.ReLU() for _ in range(10)])
    size = 4 * 1000 * 1000
    account = inspect(model, (1000, 1000), backward=True)
    # Input and output of the layer that runs, and the input that the caller holds.
    assert account.totals.peak_inference == 3 * size
    x = torch.zeros(1000, 1000, requires_grad=True)
    # Every output is kept for the backward pass; then two gradients at a time and the seed.
    peak = inspect(model, input_data=x).totals.peak_training
    assert 11 * size <= peak <= 14 * size


def test_an_expanded_tensor_is_read_once():
    row = inspect(nn.Identity(), input_data=torch.ones(1)).rows[0]
    assert row.forward.bytes_moved == 0
    wide = inspect(nn.ReLU(), input_data=torch.ones(4, 1).expand(4, 100)).rows[0]
    assert (wide.forward.bytes_read, wide.forward.bytes_written) == (16, 1600)


PROGRAM = """
import resource
import torch
from torch import nn
from lamina import models
from lamina.inspector import inspect

def most():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

inspect(nn.Linear(2, 2), (1, 2))  # what PyTorch imports once
model = models.get("resnet50")
before = most()
account = inspect(model, (16, 3, 224, 224), training=True)
print((most() - before) / account.totals.peak_training)
"""


def test_counting_takes_under_a_tenth_of_the_memory_of_a_real_run():
    result = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=300
    )
    assert float(result.stdout.split()[-1]) < 0.1
