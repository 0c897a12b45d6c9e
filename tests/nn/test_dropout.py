"""Dropout, Dropout2d and DropPath: rates, shapes of the mask, seeds, and torch.nn's manners."""

from __future__ import annotations

import copy
import importlib
import pickle
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.checkpoint import checkpoint

from lamina import nn

SEEDED: list[Callable[[int | None], torch.nn.Module]] = [
    lambda seed: nn.Dropout(0.5, seed=seed),
    lambda seed: nn.Dropout(0.5, noise_shape=(None, 1, 1), seed=seed),
    lambda seed: nn.Dropout2d(0.5, seed=seed),
    lambda seed: nn.DropPath(0.5, seed=seed),
]


@pytest.fixture(scope="module")
def scaled_by_the_kernel():
    """Masks of channels and samples go to their kernel at every size."""
    op = importlib.import_module("lamina.ops.dropout")  # the package has a function of its name
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(op, "_SMALLEST", 0)
        yield


seeded_layers = pytest.mark.parametrize(
    "make", SEEDED, ids=["elements", "noise_shape", "channels", "samples"]
)


def kept(y: torch.Tensor) -> torch.Tensor:
    return (y != 0).double()


@pytest.mark.parametrize("p", [0.1, 0.5, 0.9])
def test_zeroes_p_of_the_elements_and_keeps_the_mean(p: float) -> None:
    y = nn.Dropout(p, seed=1)(torch.ones(200_000))
    assert float(kept(y).mean()) == pytest.approx(1 - p, abs=0.006)
    assert sorted(set(y.tolist())) == pytest.approx([0.0, 1 / (1 - p)])


def test_the_gradient_goes_through_the_same_mask() -> None:
    x = torch.randn(4, 3, 5, 5, requires_grad=True)
    for layer in (nn.Dropout(0.5), nn.Dropout(0.5, seed=1), nn.Dropout2d(0.5), nn.DropPath(0.5)):
        y = layer(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(gradient * x, y)


def test_noise_shape_shares_one_draw() -> None:
    y = nn.Dropout(0.5, noise_shape=(None, 1, 4, 1), seed=2)(torch.ones(64, 8, 4, 6))
    assert torch.equal(y, y[:, :1, :, :1].expand_as(y))
    assert 0.3 < float(kept(y[:, 0, :, 0]).mean()) < 0.7


@pytest.mark.usefixtures("scaled_by_the_kernel")
@settings(max_examples=200)
@given(data=st.data())
def test_noise_shape_goes_by_position(data) -> None:
    """Few sizes, so that many coincide."""
    sizes = st.sampled_from([1, 2, 8])
    shape = tuple(data.draw(st.lists(sizes, min_size=1, max_size=5)))
    noise = tuple(data.draw(st.sampled_from([None, 1, size])) for size in shape)
    p, channels_last = data.draw(st.sampled_from([0.5, 1.0])), data.draw(st.booleans())
    x = torch.ones(shape, requires_grad=True)
    if channels_last and len(shape) == 4:
        x = torch.ones(shape).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = nn.Dropout(p, noise_shape=noise, seed=data.draw(st.integers(0, 9)))(x)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    assert torch.equal(gradient, y)
    for axis, size in enumerate(noise):
        if size == 1:
            assert torch.equal(y, y.narrow(axis, 0, 1).expand_as(y)), f"axis {axis} is shared"
    drawn = y[tuple(slice(0, 1) if size == 1 else slice(None) for size in noise)]
    if p < 1 and drawn.numel() >= 64:  # one draw each: alike along an axis once in 2⁸ · 8 or less
        for axis, size in enumerate(drawn.shape):
            assert size == 1 or not torch.equal(drawn, drawn.narrow(axis, 0, 1).expand_as(drawn))


def test_whole_channels_and_whole_samples() -> None:
    x = torch.ones(32, 16, 3, 3)
    channels = nn.Dropout2d(0.5, seed=2)(x)
    assert torch.equal(channels, channels[..., :1, :1].expand_as(x))
    samples = nn.DropPath(0.5, seed=2)(x)
    assert torch.equal(samples, samples[:, :1, :1, :1].expand_as(x))
    for y in (channels, samples):
        assert 0.2 < float(kept(y).mean()) < 0.8


def test_a_seed_repeats_the_sequence_of_masks_and_not_one_mask() -> None:
    x = torch.ones(100)
    one, two = nn.Dropout(0.5, seed=11), nn.Dropout(0.5, seed=11)
    first, second = one(x), one(x)
    assert not torch.equal(first, second)
    torch.manual_seed(99)
    assert torch.equal(two(x), first) and torch.equal(two(x), second)
    assert not torch.equal(nn.Dropout(0.5, seed=12)(x), first)


def test_a_seed_leaves_torchs_generator_alone_and_eval_leaves_the_seed() -> None:
    layer, x = nn.Dropout(0.5, seed=1), torch.ones(10)
    state = torch.get_rng_state()
    layer(x)
    layer.eval()(x)
    assert torch.equal(torch.get_rng_state(), state)
    assert layer.seed.tolist() == [1, 1]


def test_a_copy_goes_on_where_the_original_is() -> None:
    layer, x = nn.Dropout(0.5, seed=1), torch.ones(100)
    layer(x)
    twin = copy.deepcopy(layer)
    assert torch.equal(twin(x), layer(x))


def test_without_a_seed_manual_seed_rules() -> None:
    layer, x = nn.Dropout(0.5), torch.ones(100)
    torch.manual_seed(5)
    first, second = layer(x), layer(x)
    torch.manual_seed(5)
    assert torch.equal(layer(x), first) and not torch.equal(first, second)


@pytest.mark.parametrize("layer", [nn.Dropout(0.5, inplace=True), nn.Dropout2d(0.5, inplace=True)])
def test_inplace_overwrites(layer) -> None:
    x = torch.ones(4, 8, 5, 5)
    y = layer(x)
    assert y.data_ptr() == x.data_ptr() and not bool((x == 1).any())


@pytest.mark.parametrize("p", [0.0, 1.0])
def test_the_ends_of_the_range(p: float) -> None:
    x = torch.randn(10)
    expected = x if p == 0 else torch.zeros(10)
    for layer in (nn.Dropout(p), nn.Dropout(p, seed=1)):
        torch.testing.assert_close(layer(x), expected)


def test_nan_stays_nan() -> None:
    x = torch.full((8,), torch.nan)
    for p in (0.5, 1.0):
        assert bool(nn.Dropout(p, seed=1)(x).isnan().all())


def test_three_axes_are_batch_channel_length_as_in_torch() -> None:
    y = nn.Dropout2d(0.5, seed=3)(torch.ones(16, 8, 5))
    assert torch.equal(y, y[..., :1].expand_as(y))


def through_state(layer: torch.nn.Module, twin: torch.nn.Module) -> torch.nn.Module:
    twin.load_state_dict(layer.state_dict())
    return twin


@seeded_layers
def test_a_saved_layer_goes_on_with_the_next_mask(make) -> None:
    layer, x = make(3), torch.ones(64, 16, 2)
    layer(x), layer(x)
    # The state's key counts: a copy made with another seed becomes this layer's.
    copies = [
        through_state(layer, make(3)),
        through_state(layer, make(8)),
        copy.deepcopy(layer),
        pickle.loads(pickle.dumps(layer)),
    ]
    expected = layer(x)
    for twin in copies:
        assert torch.equal(twin(x), expected) and repr(twin) == repr(layer)


@seeded_layers
def test_only_a_seed_is_state(make) -> None:
    assert make(None).state_dict() == {} and list(make(3).state_dict()) == ["seed"]
    layer, x = make(3), torch.ones(64, 16, 2)
    layer(x)
    layer.load_state_dict(torch.nn.Dropout(0.5).state_dict())  # weights of torch.nn
    assert layer.seed.tolist() == [3, 1]


@seeded_layers
def test_a_seed_outlives_the_meta_device(make) -> None:
    x = torch.ones(64, 16, 2)
    with torch.device("meta"):
        layer = make(3)
    assert torch.equal(layer.to_empty(device="cpu")(x), make(3)(x))
    layer.double().to_empty(device="cpu")
    assert layer.seed.tolist() == [3, 1]


class Branches(torch.nn.Module):
    """Layers that are called once and twice, beside one that draws from torch's generator."""

    def __init__(self, make) -> None:
        super().__init__()
        self.one, self.two, self.plain = make(3), make(4), nn.Dropout(0.5)

    def block(self, x: torch.Tensor) -> torch.Tensor:
        return self.two(self.plain(torch.sin(self.two(self.one(x)))))

    def forward(self, x: torch.Tensor, call: Callable, depth: int) -> torch.Tensor:
        def nested(x: torch.Tensor) -> torch.Tensor:
            return call(self.block, torch.cos(x))

        for _ in range(depth):
            x = call(self.block, x) + call(nested, x)
        return x


def plainly(function: Callable, x: torch.Tensor) -> torch.Tensor:
    return function(x)


@seeded_layers
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_checkpointing_repeats_the_mask(make, use_reentrant: bool) -> None:
    def checkpointed(function: Callable, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(function, x, use_reentrant=use_reentrant)

    found = []
    for call in (plainly, checkpointed):
        model, x = Branches(make), torch.linspace(0.1, 1, 64 * 16 * 2).reshape(64, 16, 2)
        model.plain.p = 0.0  # what it would draw depends on what the others have drawn
        x.requires_grad_()
        steps = []
        for _ in range(2):
            y = model(x, call, depth=2)
            y.sum().backward()
            steps += [y.detach(), x.grad.clone(), model.two.seed.clone()]
        found.append(steps)
    torch.testing.assert_close(found[1], found[0])


@seeded_layers
def test_checkpointing_without_the_random_state_is_refused(make) -> None:
    model, x = Branches(make), torch.ones(64, 16, 2, requires_grad=True)
    y = checkpoint(model.block, x, use_reentrant=False, preserve_rng_state=False)
    torch.rand(1)
    with pytest.raises(RuntimeError, match="preserve_rng_state=True"):
        y.sum().backward()


@seeded_layers
def test_checkpointing_repeats_the_mask_when_compiled(make) -> None:
    torch._dynamo.reset()
    layer = make(3)

    @torch.compile(backend="aot_eager")
    def step(x: torch.Tensor) -> torch.Tensor:
        return checkpoint(lambda x: layer(torch.sin(x)), x, use_reentrant=False)

    for calls in (1, 2):
        x = torch.linspace(0.1, 1, 64 * 16 * 2).reshape(64, 16, 2).requires_grad_()
        y = step(x)
        (gradient,) = torch.autograd.grad(y.sum(), x)
        torch.testing.assert_close(gradient, y / torch.sin(x) * torch.cos(x))
        assert layer.seed.tolist() == [3, calls]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("p", [0.0, 0.5])
def test_integers_as_in_torch(training: bool, p: float) -> None:
    x = torch.arange(16).reshape(1, 4, 2, 2)
    for ours, theirs in ((nn.Dropout, torch.nn.Dropout), (nn.Dropout2d, torch.nn.Dropout2d)):
        layer, reference = ours(p).train(training), theirs(p).train(training)
        if training and p:
            with pytest.raises(TypeError, match="floating-point"):
                layer(x)
        else:
            assert torch.equal(layer(x), reference(x)) and layer(x).dtype == x.dtype
