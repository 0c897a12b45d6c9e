"""One harness over one list: what every layer of the torch.nn dialect must be able to do."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lamina import nn

from .cases import Case
from .every_layer import assert_equal, every_layer, seeded, with_reference
from .parity import assert_agrees


@every_layer
def test_shape_is_as_predicted(case: Case) -> None:
    layer = case.build()
    assert layer(case.input()).shape == layer.output_shape(case.shape)


@every_layer
def test_parameters_and_buffers_are_as_predicted(case: Case) -> None:
    layer, cost = case.build(), case.build().cost(case.shape)
    assert sum(p.numel() for p in layer.parameters()) == cost.parameters
    assert sum(tensor.numel() for tensor in layer.state_dict().values()) - cost.parameters == (
        cost.buffers
    )


@every_layer
def test_backward_costs_no_parameters(case: Case) -> None:
    backward = case.build().cost(case.shape, direction="backward")
    assert (backward.parameters, backward.buffers) == (0, 0)


@with_reference
def test_agrees_with_torch(case: Case) -> None:
    ours, theirs = case.build(), case.build_reference()
    assert theirs is not None
    ours.load_state_dict(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict())
    if case.matches:
        assert_agrees(ours, theirs, case.input())
        if len(case.shape) == 4:
            assert_agrees(ours, theirs, case.input().to(memory_format=torch.channels_last))


@with_reference
def test_draws_the_same_initial_weights(case: Case) -> None:
    torch.manual_seed(0)
    ours, after_ours = case.build().state_dict(), torch.rand(1)
    torch.manual_seed(0)
    theirs, after_theirs = case.build_reference().state_dict(), torch.rand(1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=0)
    assert after_ours == after_theirs


@with_reference
def test_takes_its_input_by_torchs_name(case: Case) -> None:
    layer = case.build().eval()
    torch.testing.assert_close(layer(input=case.input()), layer(case.input()))


@with_reference
def test_is_an_instance_of_torchs_class(case: Case) -> None:
    if case.torch_has_it:
        assert isinstance(case.build(), getattr(torch.nn, case.layer))


@every_layer
def test_channels_last_gives_the_same(case: Case) -> None:
    if len(case.shape) != 4:
        pytest.skip("channels_last is for images")
    layer, x = case.build(), case.input()
    plain = seeded(copy.deepcopy(layer), x)
    assert_equal(seeded(layer, x.contiguous(memory_format=torch.channels_last)), plain)


@every_layer
def test_deepcopy_is_equal_and_apart(case: Case) -> None:
    layer = case.build()
    twin = copy.deepcopy(layer)
    assert type(twin) is type(layer)
    for mine, its in zip(layer.parameters(), twin.parameters(), strict=True):
        assert mine.data_ptr() != its.data_ptr()
    assert_equal(seeded(twin, case.input()), seeded(layer, case.input()))


@every_layer
def test_pickle_round_trip(case: Case) -> None:
    layer = case.build()
    again = pickle.loads(pickle.dumps(layer))
    assert_equal(seeded(again, case.input()), seeded(layer, case.input()))


@every_layer
def test_repr_can_be_typed_back_in(case: Case) -> None:
    layer = case.build()
    again = eval(f"nn.{type(layer).__name__}({layer.extra_repr()})", {"nn": nn})
    assert repr(again) == repr(layer)
    again.load_state_dict(layer.state_dict())
    assert_equal(seeded(again.train(case.training), case.input()), seeded(layer, case.input()))


def gradient_check_arguments(case: Case):
    layer = case.build().double()
    names = [name for name, _ in layer.named_parameters()]

    def call(x, *parameters):
        torch.manual_seed(0)
        values = dict(zip(names, parameters, strict=True))
        return torch.func.functional_call(copy.deepcopy(layer), values, (x,))

    x = case.input(torch.float64)[:2].requires_grad_()
    return call, (x, *(p.detach().clone().requires_grad_() for p in layer.parameters()))


@every_layer
def test_gradients_of_first_and_second_order(case: Case) -> None:
    call, inputs = gradient_check_arguments(case)
    assert torch.autograd.gradcheck(call, inputs, fast_mode=True)
    assert torch.autograd.gradgradcheck(call, inputs, fast_mode=True)


@every_layer
def test_double_backward_in_float32(case: Case) -> None:
    layer, x = case.build(), case.input().requires_grad_()
    exact = copy.deepcopy(layer).double()
    if case.training and case.layer.startswith("Drop"):  # whose masks have no twin in float64
        expected = after_a_mask(seeded(layer, x)["output"], x)
        second = second_order(case.build(), x)
    else:
        expected = second_order(exact, x.detach().double().requires_grad_())
        second = second_order(layer, x)
    for ours, theirs in zip(second, expected, strict=True):
        largest = float(theirs.abs().max())
        torch.testing.assert_close(ours.double(), theirs, rtol=1e-4, atol=1e-5 * max(1.0, largest))


def second_order(layer: torch.nn.Module, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Gradients of the squared gradient, of the input and of every parameter."""
    torch.manual_seed(0)
    inputs = (x, *layer.parameters())
    y = layer(x)
    first = torch.autograd.grad((weights(y) * y.square()).sum(), inputs, create_graph=True)
    total = sum(gradient.square().sum() for gradient in first)
    return torch.autograd.grad(total, inputs, allow_unused=True, materialize_grads=True)


def after_a_mask(output: torch.Tensor, x: torch.Tensor) -> tuple[torch.Tensor]:
    """The same of y = m · x: first 2 w m² x, then 8 w² m⁴ x."""
    mask = output.detach().double() / x.detach().double()
    return (8 * weights(mask).square() * mask**4 * x.detach().double(),)


def weights(y: torch.Tensor) -> torch.Tensor:
    """Of a sum of squares, which a normalised batch would leave without gradients."""
    return torch.arange(y.numel(), dtype=torch.float64).cos().view(y.shape).to(y.dtype)


class Checkpointed(torch.nn.Module):
    def __init__(self, layer: torch.nn.Module, use_reentrant: bool) -> None:
        super().__init__()
        self.layer, self.use_reentrant = layer, use_reentrant

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = checkpoint(self.layer, torch.sin(x), use_reentrant=self.use_reentrant)
        return (
            checkpoint(self.layer, y, use_reentrant=self.use_reentrant) if y.shape == x.shape else y
        )


class Plain(Checkpointed):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.layer(torch.sin(x))
        return self.layer(y) if y.shape == x.shape else y


@pytest.mark.parametrize("use_reentrant", [False, True])
@every_layer
def test_gradient_checkpointing(case: Case, use_reentrant: bool) -> None:
    results = []
    for wrapper in (Plain, Checkpointed):
        torch.manual_seed(0)
        model, x = wrapper(case.build(), use_reentrant), case.input().requires_grad_()
        torch.manual_seed(1)
        y = model(x)
        y.square().sum().backward()
        gradients = {name: p.grad for name, p in model.named_parameters()}
        results.append({"output": y.detach(), "input": x.grad, **gradients})
    assert_equal(results[1], results[0])
