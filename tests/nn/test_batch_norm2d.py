"""BatchNorm2d against torch.nn's: outputs, gradients, statistics after several steps."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina import nn

from .parity import assert_agrees
from .strategies import few, images, small


@few
@given(
    small,
    st.sampled_from([1e-5, 1e-3, 0.1]),
    st.sampled_from([None, 0.0, 0.1, 1.0]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.data(),
)
def test_agrees_with_torch(channels, eps, momentum, affine, tracks, bias, training, data) -> None:
    x = data.draw(images(channels, batched=True))
    layers = [
        family.BatchNorm2d(channels, eps, momentum, affine, tracks, dtype=x.dtype, bias=bias)
        for family in (nn, torch.nn)
    ]
    for layer in layers:
        torch.manual_seed(0)
        for parameter in layer.parameters():
            torch.nn.init.normal_(parameter)
        if tracks:
            layer.running_var.fill_(2.0)
        layer.train(training)
    assert_agrees(*layers, x)


@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_after_several_steps(momentum) -> None:
    ours, theirs = nn.BatchNorm2d(3, momentum=momentum), torch.nn.BatchNorm2d(3, momentum=momentum)
    torch.manual_seed(0)
    for step in range(6):
        x = torch.randn(2, 3, 2 + step, 3) * (step + 1) + step
        torch.testing.assert_close(ours(x), theirs(x))
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())
    assert ours.num_batches_tracked == 6


def test_biased_running_variance_divides_by_n() -> None:
    x = torch.randn(3, 2, 2, 2)
    for law, correction in (("unbiased", 1), ("biased", 0)):
        layer = nn.BatchNorm2d(2, momentum=1.0, running_variance=law)
        layer(x)
        expected = x.var((0, 2, 3), correction=correction)
        torch.testing.assert_close(layer.running_var, expected)


def test_one_value_per_channel() -> None:
    x = torch.randn(1, 3, 1, 1)
    with pytest.raises(ValueError, match="more than one value per channel"):
        nn.BatchNorm2d(3)(x)
    biased = nn.BatchNorm2d(3, running_variance="biased")
    torch.nn.init.constant_(biased.bias, 0.5)
    assert biased(x).flatten().tolist() == [0.5] * 3
    assert nn.BatchNorm2d(3).eval()(x).shape == x.shape


@pytest.mark.parametrize("name", ["ReLU", "ReLU6", "LeakyReLU", "SiLU", "Hardswish"])
@pytest.mark.parametrize("training", [True, False])
def test_a_sequential_activates_in_the_same_pass(name: str, training: bool) -> None:
    x = torch.randn(4, 3, 5, 5) * 3
    gradients = []
    for kind in (nn, torch.nn):
        layers = kind.Sequential(kind.BatchNorm2d(3), getattr(kind, name)()).train(training)
        torch.nn.init.constant_(layers[0].weight, 2.0)
        leaf = x.clone().requires_grad_()
        y, inputs = layers(leaf), (leaf, *layers.parameters())
        gradients.append((y, *torch.autograd.grad(y.square().sum(), inputs)))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


def test_a_large_mean_does_not_eat_the_variance() -> None:
    x = torch.randn(8, 2, 16, 16) + 1000
    layer = nn.BatchNorm2d(2, affine=False)
    exact = torch.nn.BatchNorm2d(2, affine=False).double()(x.double())
    assert float((layer(x).double() - exact).abs().max()) < 2e-3
    assert float(layer.running_var.min()) > 0


def test_frozen_parameters_still_update_statistics_until_eval() -> None:
    layer = nn.BatchNorm2d(2).requires_grad_(False)
    layer(torch.ones(2, 2, 3, 3))
    assert layer.num_batches_tracked == 1
    before = layer.running_mean.clone()
    layer.eval()(torch.ones(2, 2, 3, 3))
    assert torch.equal(layer.running_mean, before)


def test_bfloat16_input_with_float32_parameters() -> None:
    x = torch.randn(2, 3, 4, 4).bfloat16()
    ours, theirs = nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    assert ours(x).dtype == torch.bfloat16
    torch.testing.assert_close(ours(x), theirs(x))


def test_converts_to_synchronised() -> None:
    model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(nn.Sequential(nn.BatchNorm2d(3)))
    assert isinstance(model[0], torch.nn.SyncBatchNorm)


@pytest.mark.parametrize("missing", ["running_mean", "running_var"])
@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("momentum", [0.1, None])
def test_one_statistic_without_the_other_is_refused(missing, training, momentum) -> None:
    layer = nn.BatchNorm2d(4, momentum=momentum).train(training)
    setattr(layer, missing, None)
    with pytest.raises(ValueError, match=f"{missing} is None"):
        layer(torch.randn(3, 4, 5, 5))


def test_without_both_statistics_the_batchs_are_taken() -> None:
    x = torch.randn(3, 4, 5, 5)
    layer = nn.BatchNorm2d(4)
    expected = layer(x)
    layer.running_mean = layer.running_var = None
    torch.testing.assert_close(layer(x), expected)
    torch.testing.assert_close(layer.eval()(x), expected)
