"""Every number of a record, computed again in float64 from the record alone."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lamina import nn as ours
from lamina.inspector.explain import explain
from lamina.report.explanation import records
from tests.inspector.explain.recompute import misses, numbers
from tests.inspector.networks import Wrap

KINDS = {
    "stride and padding": nn.Conv2d(3, 5, 3, stride=2, padding=1),
    "dilation": nn.Conv2d(3, 5, (3, 2), dilation=(2, 3), padding=(2, 0)),
    "groups": nn.Conv2d(4, 6, 3, groups=2, padding=1),
    "no bias": nn.Conv2d(3, 5, 5, bias=False),
    "depthwise": nn.Conv2d(4, 4, 3, groups=4, padding=1),
    "depthwise twice": nn.Conv2d(4, 8, 3, groups=4, padding=1),
    "pointwise": nn.Conv2d(3, 20, 1),
    "reflected": nn.Conv2d(3, 4, 3, padding=1, padding_mode="reflect"),
    "ours": ours.Conv2d(3, 5, 3, stride=2, padding="same"),
    "ours, depthwise": ours.DepthwiseConv2d(4, 3, padding=1),
    "maximum": nn.MaxPool2d(2),
    "maximum, padding": nn.MaxPool2d(3, 2, padding=1),
    "maximum, ceil": nn.MaxPool2d(3, 2, ceil_mode=True),
    "maximum, dilation": nn.MaxPool2d(3, 2, dilation=2, padding=1),
    "mean": nn.AvgPool2d(3, 2, padding=1),
    "mean, ceil": nn.AvgPool2d(3, 2, padding=1, ceil_mode=True),
    "mean, no padding counted": nn.AvgPool2d(3, 2, padding=1, count_include_pad=False),
    "mean, divisor": nn.AvgPool2d(2, divisor_override=3),
    "mean, ours": ours.AvgPool2d(3, 2, padding="same", count_include_pad=False),
    "maximum, ours": ours.MaxPool2d(3, 2, padding="same"),
    "adaptive mean": nn.AdaptiveAvgPool2d((3, 5)),
    "adaptive maximum": nn.AdaptiveMaxPool2d(4),
    "global mean": nn.AdaptiveAvgPool2d(1),
    "global maximum": nn.AdaptiveMaxPool2d(1),
    "global mean, ours": ours.GlobalAvgPool2d(),
    "normalisation": nn.BatchNorm2d(4),
    "normalisation, plain": nn.BatchNorm2d(4, affine=False),
    "normalisation, ours": ours.BatchNorm2d(4),
    "squeeze and excite": ours.SqueezeExcite(8, 2),
    "squeeze and excite, hard": ours.SqueezeExcite(8, 2, gate="hardsigmoid"),
    "hardsigmoid, ours": ours.Hardsigmoid(),
    "hardswish, ours": ours.Hardswish(),
    **{
        type(one).__name__: one
        for one in (
            *(nn.ReLU(), nn.ReLU6(), nn.Hardtanh(), nn.LeakyReLU(0.1), nn.ELU(), nn.SiLU()),
            *(nn.Sigmoid(), nn.Tanh(), nn.GELU(), nn.Hardswish(), nn.Hardsigmoid()),
        )
    },
}
CHANNELS = {"groups": 4, "depthwise": 4, "depthwise twice": 4, "ours, depthwise": 4,
            "normalisation": 4, "normalisation, plain": 4, "normalisation, ours": 4,
            "squeeze and excite": 8, "squeeze and excite, hard": 8}  # fmt: skip


def trained(model: nn.Module) -> nn.Module:
    """Statistics and weights as after a training, not as they start."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight, 1, 0.2)
                nn.init.normal_(module.bias)
    return model


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_of_a_layer_are_the_models_own(kind, form, plain_sums):
    module = trained(KINDS[kind]).to(memory_format=form)
    image = 3 * torch.randn(CHANNELS.get(kind, 3), 11, 9)
    record = explain(module, image).record
    layer = record.layers[-1]
    assert layer.closed == "" and layer.arithmetic is not None
    assert misses(record, layer) <= 1
    # With gradients: without any, kernels of ours add up in another order.
    output = module.eval()(image[None].requires_grad_())[0].detach()
    opened, maps = layer.arithmetic.opened, layer.maps
    wanted = output[list(maps.channels)][:, list(opened.rows)][:, :, list(opened.columns)]
    assert np.array_equal(numbers(opened.results), wanted.double().numpy())
    assert (len(opened.rows), len(opened.columns)) == output.shape[1:], "everything fits"
    assert record.every_position


def test_a_padded_maximum_says_where_it_won():
    image = torch.randn(3, 9, 9)
    layer = explain(nn.MaxPool2d(3, 2, padding=1), image).record.layers[-1]
    _, places = F.max_pool2d(image[None], 3, 2, 1, return_indices=True)
    pool = layer.arithmetic
    for r, k in np.ndindex(5, 5):
        rows = slice(pool.first_row[r], pool.end_row[r])
        columns = slice(pool.first_column[k], pool.end_column[k])
        for channel in layer.maps.channels:
            window = image[channel, rows, columns]
            row, column = divmod(int(window.argmax()), window.shape[1])
            seen = (pool.first_row[r] + row) * 9 + pool.first_column[k] + column
            assert seen == places[0, channel, r, k]


def test_the_terms_of_a_dense_output_are_its_largest():
    dense = nn.Linear(300, 20)
    image = torch.randn(3, 10, 10)
    record = explain(nn.Sequential(nn.Flatten(), dense), image).record
    layer = record.layers[-1]
    found = layer.arithmetic
    assert isinstance(found, records.Dense)
    assert (found.in_features, found.out_features) == (300, 20)
    x = image.flatten().double().numpy()
    weight = dense.weight.detach().double().numpy()
    for s, channel in enumerate(layer.maps.channels):
        products = weight[channel] * x
        order = np.argsort(-np.abs(products), kind="stable")
        assert numbers(found.indices)[s].tolist() == order[:12].tolist()
        assert found.rest[s] == pytest.approx(products[order[12:]].sum(), rel=1e-12, abs=1e-12)
        whole = products.sum() + float(dense.bias.detach()[channel])
        bound = 302 * 2.0**-24 * (np.abs(products).sum() + 1)
        assert abs(numbers(found.results)[s] - whole) <= bound


def test_an_activation_counts_what_it_cuts():
    image = torch.linspace(-2, 10, 120).reshape(1, 10, 12)
    found = explain(nn.ReLU6(), image).record.layers[-1].arithmetic
    assert found.cut == float((image <= 0).double().mean())
    assert found.capped == float((image >= 6).double().mean())
    assert found.formula == "min(max(x, 0), 6)"
    assert sum(found.before.counts) == sum(found.after.counts) == 120
    assert (found.before.low, found.before.high) == (-2, 10)


@pytest.mark.parametrize(
    "module, unit",
    [(nn.Dropout(0.25), "value"), (nn.Dropout2d(0.5), "channel"), (ours.Dropout(0.25), "value")],
)
def test_dropout_shows_the_mask_of_a_training_step(module, unit):
    layer = explain(module, torch.ones(8, 12, 12)).record.layers[-1]
    found = layer.arithmetic
    assert isinstance(found, records.Dropout)
    assert found.rate == module.p and found.scale == pytest.approx(1 / (1 - module.p))
    mask = numbers(found.mask)
    assert found.unit == unit and mask.shape == layer.maps.pixels.shape
    assert set(np.unique(mask)) <= {0, 1}
    assert found.kept == pytest.approx(mask.mean())
    assert abs(found.kept - (1 - module.p)) < (0.1 if unit == "value" else 0.5)


def test_a_batch_norm_shows_its_channels_before_and_after():
    layer = explain(trained(nn.BatchNorm2d(3)), torch.randn(3, 16, 16)).record.layers[-1]
    found = layer.arithmetic
    assert all(sum(one.counts) == 256 for one in (*found.before, *found.after))
    scale = numbers(found.weight) / np.sqrt(numbers(found.variance) + found.epsilon)
    for s in range(3):
        ends = [found.before[s].low, found.before[s].high]
        mapped = (np.array(ends) - numbers(found.mean)[s]) * scale[s] + numbers(found.bias)[s]
        after = sorted([found.after[s].low, found.after[s].high])
        assert sorted(mapped) == pytest.approx(after, abs=1e-5)


def test_branches_are_joined_with_what_comes_from_where():
    def forward(x, conv, pool):
        return torch.cat([conv(x) + x, pool(x) * 2], 1)

    model = Wrap(forward, conv=nn.Conv2d(3, 3, 1), pool=nn.MaxPool2d(3, 1, 1))
    record = explain(model, torch.randn(3, 6, 6)).record
    layers = {layer.kind: layer for layer in record.layers}
    add, double, cat = layers["add"], layers["mul"], layers["cat"]
    assert add.arithmetic.inputs == (layers["pointwise_conv2d"].id, 0)
    assert double.arithmetic.inputs == (layers["max_pool2d"].id, None)
    assert cat.arithmetic.inputs == (add.id, double.id)
    assert misses(record, add) <= 1 and misses(record, double) <= 1
    parts = {0: add, 1: double}
    for s, (operand, channel) in enumerate(cat.arithmetic.origin):
        source = parts[operand]
        place = source.maps.channels.index(channel)
        assert np.array_equal(
            numbers(cat.arithmetic.opened.results)[s],
            numbers(source.arithmetic.opened.results)[place],
        )


def test_gates_are_those_of_the_layer():
    module, image = ours.SqueezeExcite(8, 2), torch.randn(8, 5, 5)
    layer = explain(module, image).record.layers[-1]
    assert layer.kind == "squeeze_excite"
    with torch.no_grad():
        means = image.mean((1, 2))
        hidden = (module.fc1.weight.flatten(1) @ means + module.fc1.bias).relu()
        gates = (module.fc2.weight.flatten(1) @ hidden + module.fc2.bias).sigmoid()
    found = layer.arithmetic
    for array, wanted in ((found.means, means), (found.hidden, hidden), (found.gates, gates)):
        assert numbers(array) == pytest.approx(wanted.double().numpy(), abs=1e-6)


@pytest.mark.parametrize(
    "module, named",
    [
        (nn.ConvTranspose2d(3, 2, 2), "operation is not opened: convolution"),
        (nn.Linear(6, 4), "its result is 18×4: neither an image nor one vector"),
        (nn.GroupNorm(3, 3), "group_norm"),
        (nn.Upsample(scale_factor=2), "upsample"),
    ],
)
def test_what_cannot_be_opened_is_closed_and_says_why(module, named):
    layer = explain(module, torch.randn(3, 6, 6)).record.layers[-1]
    assert layer.arithmetic is None and named in layer.closed
    assert layer.maps is not None, "its maps are there all the same"
    assert math.isnan(misses(explain(module, torch.randn(3, 6, 6)).record, layer))
