"""Sizes told by the first input, or by the first loaded state."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch

from lamina import nn

LAZY = {
    "Conv2d": (lambda: nn.Conv2d(None, 6, 3, groups=2), lambda: nn.Conv2d(4, 6, 3, groups=2)),
    "PointwiseConv2d": (lambda: nn.PointwiseConv2d(None, 6), lambda: nn.PointwiseConv2d(4, 6)),
    "DepthwiseConv2d": (
        lambda: nn.DepthwiseConv2d(None, 3, depth_multiplier=2),
        lambda: nn.DepthwiseConv2d(4, 3, depth_multiplier=2),
    ),
    "SeparableConv2d": (
        lambda: nn.SeparableConv2d(None, 6, 3),
        lambda: nn.SeparableConv2d(4, 6, 3),
    ),
    "BatchNorm2d": (lambda: nn.BatchNorm2d(None), lambda: nn.BatchNorm2d(4)),
    "BatchNorm2d-bare": (
        lambda: nn.BatchNorm2d(None, affine=False),
        lambda: nn.BatchNorm2d(4, affine=False),
    ),
    "Linear": (lambda: nn.Linear(None, 5), lambda: nn.Linear(6, 5)),
}
every_lazy_layer = pytest.mark.parametrize(("lazy", "eager"), LAZY.values(), ids=LAZY)


def image() -> torch.Tensor:
    return torch.randn((2, 4, 5, 6), generator=torch.Generator().manual_seed(0))


@every_lazy_layer
def test_the_first_call_makes_the_same_layer(lazy, eager) -> None:
    torch.manual_seed(0)
    layer = lazy()
    y = layer(image())
    torch.manual_seed(0)
    expected = eager()
    torch.testing.assert_close(y, expected(image()))
    torch.testing.assert_close(layer.state_dict(), expected.state_dict())
    assert repr(layer) == repr(expected)


@every_lazy_layer
def test_a_loaded_state_tells_the_size(lazy, eager) -> None:
    layer, source = lazy(), eager()
    layer.load_state_dict(source.state_dict())
    torch.testing.assert_close(layer.eval()(image()), source.eval()(image()))


@every_lazy_layer
def test_copies_before_the_first_call(lazy, eager) -> None:
    for copied in (copy.deepcopy(lazy()), pickle.loads(pickle.dumps(lazy()))):
        assert copied(image()).shape == eager()(image()).shape


@every_lazy_layer
def test_theory_needs_no_parameters(lazy, eager) -> None:
    shape = (2, 4, 5, 6)
    assert lazy().output_shape(shape) == eager().output_shape(shape)
    assert lazy().cost(shape) == eager().cost(shape)


@every_lazy_layer
def test_dtype_is_kept(lazy, eager) -> None:
    assert lazy().double()(image().double()).dtype == torch.float64


@every_lazy_layer
def test_the_state_of_a_layer_without_size_is_a_clear_error(lazy, eager) -> None:
    with pytest.raises(ValueError, match="uninitialized parameter"):
        lazy().state_dict()


def test_draws_nothing_before_it_knows_its_size() -> None:
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    for lazy, _ in LAZY.values():
        lazy()
    assert torch.rand(1) == expected


def test_is_torchs_lazy_layer_by_another_way() -> None:
    torch.manual_seed(0)
    theirs = torch.nn.LazyConv2d(6, 3)
    theirs(image())
    torch.manual_seed(0)
    ours = nn.Conv2d(None, 6, 3)
    ours(image())
    torch.testing.assert_close(ours.state_dict(), theirs.state_dict())


def test_an_optimizer_made_before_the_first_call_trains_the_layer() -> None:
    model = nn.Sequential(nn.Conv2d(None, 3, 3), nn.Flatten(), nn.Linear(None, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    loss = model(image()).square().sum()
    before = model[0].weight.detach().clone()
    loss.backward()
    optimizer.step()
    assert not torch.equal(before, model[0].weight)


def test_groups_that_do_not_divide_the_channels_that_came() -> None:
    with pytest.raises(ValueError, match="groups must divide in_channels = 4, got 3"):
        nn.Conv2d(None, 6, 3, groups=3)(image())
