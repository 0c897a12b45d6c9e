"""Height and width are open where module and layers let them be, and then they are right."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lamina import models
from lamina.interchange import from_torch
from lamina.interchange.proof import verify
from tests.interchange.from_torch.agreement import difference, draw_statistics, flat, laid_out
from tests.interchange.from_torch.small_modules import CROSS, Apply

IMAGES = [name for name, (_, shapes) in CROSS.items() if len(shapes[0]) == 4]
# The layer that needs the number; None where PyTorch itself takes no other size.
FIXED = {
    "batch_norm_flattened": None,
    "group_norm": "0",
    "instance_norm": "0",
    "layer_norm_image": None,
    "flatten_dense": None,
    "flatten_kept": "1",
    "max_pool_ceil": "0",
    "avg_pool_excluding": "0",
    "avg_pool_ceil": "0",
    "adaptive_pools": "0",
    "adaptive_uneven": "0",
    "channel_shuffle": "view",
    "pixel_shuffle": "0",
    "attention": "reshape",
    "attention_in_heads": "reshape",
    "in_place_by_name": "flatten",
    "bilinear_to_size": "0",
    "nearest_to_size": "0",
    "batch_of_groups": "reshape",
    "two_inputs": "flatten",
}


def is_open(crossing):
    return None in crossing.keras_model.inputs[0].shape[1:]


def compare(crossing, module, *sizes):
    inputs = [torch.randn(2, *size) for size in sizes]
    with torch.no_grad():
        theirs = flat(module(*inputs))
        given = [laid_out(x, axes) for x, axes in zip(inputs, crossing.input_axes, strict=True)]
        ours = flat(crossing.keras_model(given if len(given) > 1 else given[0]))
    for y, right, axes in zip(ours, theirs, crossing.output_axes, strict=True):
        assert difference(y.numpy(), laid_out(right, axes)) < 1e-4


@pytest.mark.parametrize("name", IMAGES)
def test_a_model_takes_every_size_or_a_note_names_the_layer(name):
    module, shapes = CROSS[name]
    module = draw_statistics(copy.deepcopy(module))
    crossing = from_torch.cross(module, shapes)
    asked = [note.layer for note in crossing.notes if note.trap == "image-size"]
    if name in FIXED:
        assert not is_open(crossing)
        assert asked == ([] if FIXED[name] is None else [FIXED[name]])
        return
    assert is_open(crossing) and not asked
    free = [size is None for size in crossing.keras_model.inputs[0].shape[1:3]]
    for by in ((1, 0), (0, 1), (3, 5), (6, 2)):
        rows, columns = (
            n * EVEN.get(name, 1) * is_free for n, is_free in zip(by, free, strict=True)
        )
        compare(crossing, module, *[(s[1], s[2] + rows, s[3] + columns) for s in shapes])


EVEN = {"pyramid": 2}  # PyTorch, too, takes it in even sizes alone


def padded_to_even(self, x):
    return self.a(F.pad(x, (0, 0, 0, 1)) if x.shape[2] % 2 else x)


def large_or_small(self, x):
    return self.a(x) if x.shape[3] > 12 else x


def by_its_area(self, x):
    return self.a(x).sum((2, 3)) / (x.shape[2] * x.shape[3])


@pytest.mark.parametrize("size", [(9, 8), (8, 8), (16, 16)])
@pytest.mark.parametrize("function", [padded_to_even, large_or_small, by_its_area])
def test_what_depends_on_the_size_is_not_open(function, size):
    module = Apply(function, a=nn.Conv2d(4, 4, 3, padding=1)).eval()
    crossing = from_torch.cross(module, (1, 4, *size))
    assert not is_open(crossing)
    compare(crossing, module, (4, *size))


def test_a_proof_is_of_the_example_s_size():
    module = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4))
    crossing = from_torch.cross(module, (1, 3, 12, 10))
    assert crossing.sizes == [(12, 10, 3)]
    proof = verify(crossing, backend="torch")
    assert proof.holds and proof.inputs == [(2, 12, 10, 3)]
    other = verify(crossing, backend="torch", sizes=[(7, 9, 3)])
    assert other.holds and other.inputs == [(2, 7, 9, 3)]


def test_the_source_says_none():
    crossing = from_torch.cross(nn.Sequential(nn.Conv2d(3, 4, 3)), (1, 3, 12, 10))
    text = from_torch.source(crossing)
    assert 'keras.Input((None, None, 3), name="input")' in text
    assert '"""(N, H, W, 3) to (N, H, W, 4)."""' in text


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", "mobilenet_v3_small"])
def test_a_network_of_ours_takes_every_size(name):
    module = draw_statistics(models.get(name, num_classes=5))
    crossing = from_torch.cross(module, (1, 3, 64, 64))
    assert is_open(crossing)
    compare(crossing, module, (3, 75, 98))
