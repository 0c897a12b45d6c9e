"""Whole networks: what is a layer, what comes from where, and that the model stays as it was."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lamina
from lamina.inspector.explain import explain
from lamina.models import digits_cnn
from lamina.report.explanation import records
from lamina.report.explanation.records import arrays_in
from tests.inspector.explain.recompute import misses, numbers
from tests.inspector.explain.test_arithmetic import trained
from tests.inspector.networks import Branches, Hand, Wrap


def check(record, fewest):
    """Every opened layer's numbers are right; at least so many layers are opened."""
    worst = {layer.name: misses(record, layer) for layer in record.layers}
    assert all(math.isnan(value) or value <= 1 for value in worst.values()), worst
    assert sum(not math.isnan(value) for value in worst.values()) >= fewest, worst
    for place, layer in enumerate(record.layers):
        assert layer.id == place and all(one < place for one in layer.inputs)


def by_name(record):
    return {layer.name: layer for layer in record.layers}


def test_functions_shared_modules_and_plain_parameters_are_layers():
    record = explain(trained(Hand()), torch.randn(3, 32, 32)).record
    check(record, 14)
    layers = by_name(record)
    assert [layers[f"shared#{call}"].kind for call in (0, 1)] == ["pointwise_conv2d"] * 2
    assert layers["shared#1"].inputs == (layers["shared#0"].id,)
    assert layers["shared#0"].cost.parameters == 32 * 33 and layers["shared#1"].cost.parameters == 0
    add = layers["add"]
    assert add.inputs == (layers["relu#2"].id, layers["shared#1"].id)
    assert layers["conv2d"].cost.macs == 32 * 32 * 9 * 16 * 16
    books = lamina.inspect(Hand(), (1, 3, 32, 32))
    assert sum(layer.cost.macs for layer in record.layers if layer.cost) == books.totals.macs
    assert record.macs == books.totals.macs and record.parameters == books.totals.parameters


@pytest.mark.parametrize("activation", [nn.ReLU, nn.ReLU6, nn.SiLU, nn.Hardswish])
def test_an_activation_in_place_does_not_spoil_what_came_before(activation):
    torch.manual_seed(1)
    layers = [nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), activation(inplace=True), nn.Conv2d(4, 2, 3)]
    inplace = trained(nn.Sequential(*layers))
    plain = copy.deepcopy(inplace)
    plain[2].inplace = False
    image = torch.randn(3, 10, 10)
    first, second = (explain(model, image).record for model in (inplace, plain))
    check(first, 4)
    assert [array.data for array in arrays_in(first.layers)] == [
        array.data for array in arrays_in(second.layers)
    ]
    assert numbers(first.layers[2].arithmetic.opened.results).min() < 0


def test_the_first_layer_may_write_into_the_image():
    image = torch.randn(3, 6, 6)
    kept = image.clone()
    record = explain(nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(3, 2, 1)), image).record
    check(record, 2)
    assert torch.equal(image, kept)
    assert numbers(record.layers[1].arithmetic.opened.windows).min() < 0


def test_a_residual_network_is_followed_through_its_shortcuts():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4)

        def forward(self, x):
            y = self.norm(self.conv(x))
            y += x
            return F.relu(y, inplace=True)

    model = trained(
        nn.Sequential(Block(), Block(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))
    )
    record = explain(model, torch.randn(4, 8, 8)).record
    check(record, 10)
    sums = [layer for layer in record.layers if layer.kind == "add"]
    assert [len(layer.inputs) for layer in sums] == [2, 2]
    assert 0 in sums[0].inputs and sums[0].arithmetic.inputs[1] == 0
    (relu,) = [layer for layer in record.layers if layer.inputs == (sums[0].id,)]
    assert sums[1].inputs[1] == relu.id


def test_branches_of_every_reach_are_opened():
    check(explain(Branches(), torch.randn(3, 32, 32)).record, 10)


def test_a_separable_convolution_is_two_layers(plain_sums):
    record = explain(trained(digits_cnn()), torch.randn(1, 8, 8)).record
    check(record, 17)
    names = [layer.name for layer in record.layers]
    assert names[8:11] == [
        "separable3.depthwise_conv2d",
        "separable3.pointwise_conv2d",
        "norm3",
    ]
    assert record.layers[9].inputs == (8,)
    assert record.parameters == 17_546 and record.macs == 721_024
    assert sum(layer.cost.parameters for layer in record.layers if layer.cost) == 17_546
    assert [layer.kind for layer in record.layers[-2:]] == ["dropout", "dense"]


def test_every_value_of_the_answer_is_the_models():
    model = digits_cnn().eval()
    image = torch.randn(1, 8, 8)
    record = explain(model, image, classes=list("abcdefghij")).record
    with torch.no_grad():
        scores = model(image[None])[0]
    shares = scores.softmax(0)
    assert [score.index for score in record.answer.classes] == shares.argsort(
        descending=True
    ).tolist()
    for score in record.answer.classes:
        assert score.name == "abcdefghij"[score.index]
        assert score.score == pytest.approx(float(scores[score.index]), abs=1e-5)
        assert score.probability == pytest.approx(float(shares[score.index]), abs=1e-5)
    assert (record.answer.total, record.answer.is_probability) == (10, False)


def test_the_mean_of_a_class_activation_map_is_the_score():
    record = explain(digits_cnn(), torch.randn(1, 8, 8)).record
    assert len(record.class_maps) == 3
    for score, found in zip(record.answer.classes[:3], record.class_maps, strict=True):
        assert (found.method, found.index) == ("class activation map", score.index)
        assert record.layers[found.layer].kind == "activation"
        values = numbers(found.values)
        assert values.shape == (4, 4)
        assert values.mean() + found.bias == pytest.approx(score.score, abs=1e-5)


def test_without_pooling_there_is_a_gradient_map():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Flatten(), nn.Linear(48, 4))
    image = torch.randn(2, 6, 6)
    record = explain(model, image).record
    best = record.answer.classes[0].index
    leaf = image[None].double().requires_grad_()
    (slope,) = torch.autograd.grad(model.double()(leaf)[0, best], leaf)
    found = record.class_maps[0]
    assert found.method == "gradient map" and found.layer == 0
    assert numbers(found.values) == pytest.approx(slope[0].abs().amax(0).numpy(), abs=1e-6)


def test_a_shift_moves_the_image_and_repeats_its_edge():
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 3))
    image = torch.randn(1, 8, 8)
    shifts = explain(model, image, classes=["a", "b", "c"]).record.shifts
    assert shifts.offsets == (-2, -1, 0, 1, 2)
    found = numbers(shifts.probabilities)
    rows, columns = torch.arange(8), torch.arange(8)
    for d, down in enumerate(shifts.offsets):
        for r, right in enumerate(shifts.offsets):
            moved = image[:, (rows - down).clamp(0, 7)][:, :, (columns - right).clamp(0, 7)]
            with torch.no_grad():
                shares = model(moved[None]).softmax(1)[0]
            assert found[:, d, r] == pytest.approx(shares[list(shifts.classes)].numpy(), abs=1e-6)
            best = int(numbers(shifts.best)[d, r])
            assert best == int(shares.argmax()) and shifts.best_names[best] == "abc"[best]


@pytest.mark.parametrize("make", [Hand, Branches, digits_cnn])
def test_the_model_stays_as_it_was(make):
    model = make().train()
    image = torch.randn(1 if make is digits_cnn else 3, 32, 32)
    before = copy.deepcopy(model.state_dict())
    attributes = [dict(vars(module)) for module in model.modules()]
    chance = torch.random.get_rng_state()
    explain(model, image)
    assert torch.equal(chance, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert [dict(vars(module)) for module in model.modules()] == attributes
    assert all(module.training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())


def test_an_optimised_and_a_compiled_model_are_explained_as_their_layers():
    model = trained(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU())).eval()
    image = torch.randn(3, 12, 12)
    plain = explain(model, image).record
    ours, compiled = lamina.optimize(model, copy=True), torch.compile(model, backend="eager")
    inside = copy.deepcopy(model)
    inside.compile(backend="eager")
    for other in (ours, compiled, inside):
        with torch.no_grad():
            expected = other(image[None])
        record = explain(other, image).record
        assert [layer.kind for layer in record.layers] == [layer.kind for layer in plain.layers]
        check(record, 3)
        with torch.no_grad():
            assert torch.equal(other(image[None]), expected)


def test_a_receptive_field_holds_every_pixel_that_matters():
    layers = [
        nn.Conv2d(1, 2, 3, stride=2, padding=1),
        nn.MaxPool2d(2),
        nn.Conv2d(2, 1, 3, dilation=2),
    ]
    model = nn.Sequential(*layers).double()
    record = explain(copy.deepcopy(model).float(), torch.randn(1, 40, 36)).record
    x = torch.randn(1, 1, 40, 36, dtype=torch.float64, requires_grad=True)
    y = x
    for module, layer in zip(model, record.layers[1:], strict=True):
        y = module(y)
        field = layer.field
        hit = torch.zeros(y.shape[2:])
        for i, j in ((0, 0), (1, 2), (y.shape[2] - 1, y.shape[3] - 1)):
            seen = torch.zeros(40, 36)
            for _ in range(3):  # a maximum passes one pixel's gradient at a time
                with torch.no_grad():
                    x.normal_()
                z = x
                for inner in model[: layer.id]:
                    z = inner(z)
                (slope,) = torch.autograd.grad(z[0, :, i, j].sum(), x)
                seen += slope[0, 0].abs()
            box = [
                range(
                    max(0, int(start + at * step)),
                    min(limit, int(start + at * step) + size),
                )
                for start, step, size, at, limit in zip(
                    field.start, field.step, field.size, (i, j), (40, 36), strict=True
                )
            ]
            rows, columns = (seen.sum(axis).nonzero().flatten().tolist() for axis in (1, 0))
            assert box[0].start <= rows[0] and rows[-1] < box[0].stop
            assert box[1].start <= columns[0] and columns[-1] < box[1].stop
            hit[i, j] = 1
            if not isinstance(module, nn.MaxPool2d) and layer.id == 1:
                assert (rows[0], rows[-1]) == (box[0].start, box[0].stop - 1)
    assert record.layers[1].field == records.Field((-1, -1), (2, 2), (3, 3))
    assert record.layers[2].field == records.Field((-1, -1), (4, 4), (5, 5))
    assert record.layers[3].field == records.Field((-1, -1), (4, 4), (21, 21))


def test_maps_are_the_most_active_channels_on_one_scale():
    model = nn.Conv2d(1, 20, 3)
    image = torch.randn(1, 12, 12)
    maps = explain(model, image).record.layers[1].maps
    with torch.no_grad():
        output = model(image[None])[0].double()
    activity = output.abs().mean((1, 2))
    assert list(maps.channels) == activity.argsort(descending=True)[:8].tolist()
    assert maps.activity == pytest.approx(activity[list(maps.channels)].tolist(), rel=1e-5)
    shown = output[list(maps.channels)]
    assert (maps.low, maps.high) == (float(shown.min()), float(shown.max()))
    values = maps.low + numbers(maps.pixels) * (maps.high - maps.low) / 255
    assert np.abs(values - shown.numpy()).max() <= (maps.high - maps.low) / 510 * 1.001


def test_a_function_that_changes_layout_passes_its_source_on():
    def forward(x, conv, dense):
        return dense(conv(x).permute(0, 2, 3, 1).contiguous().reshape(1, -1)[:, :50])

    model = Wrap(forward, conv=nn.Conv2d(1, 2, 3), dense=nn.Linear(50, 3))
    record = explain(model, torch.randn(1, 8, 8)).record
    check(record, 2)
    assert record.layers[-1].kind == "dense"
    assert all(layer.arithmetic is None and layer.closed == "" for layer in record.layers[2:-1])
