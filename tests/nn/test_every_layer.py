"""One harness over one list: what every layer of the torch.nn dialect must be able to do."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lamina import nn

from .cases import CASES, Case
from .parity import assert_agrees, outputs_and_gradients

every_layer = pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
with_reference = pytest.mark.parametrize(
    "case", [case for case in CASES if case.build_reference()], ids=lambda case: case.id
)


def seeded(layer: torch.nn.Module, x: torch.Tensor) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return outputs_and_gradients(layer, x)


def assert_equal(ours: dict[str, torch.Tensor], theirs: dict[str, torch.Tensor]) -> None:
    # A graph may take another algorithm than eager mode: where a sum cancels, its terms' rounding
    # is left.
    assert ours.keys() == theirs.keys()
    for name, their in theirs.items():
        largest = float(their.abs().max()) if their.numel() else 0.0
        torch.testing.assert_close(
            ours[name],
            their,
            rtol=1e-5,
            atol=1e-6 * max(1.0, largest),
        )


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


@pytest.mark.usefixtures("plain_sums")
@every_layer
def test_compiles_in_one_graph(case: Case) -> None:
    torch._dynamo.reset()
    layer = case.build()
    compiled = torch.compile(copy.deepcopy(layer), backend="aot_eager", fullgraph=True)
    for _ in range(2):
        ours, theirs = seeded(compiled, case.input()), seeded(layer, case.input())
        assert_equal({k.removeprefix("_orig_mod."): v for k, v in ours.items()}, theirs)


def default_or_slow(case: Case):
    quick = case.layer == "Conv2d" and case.options == {"stride": 2, "padding": "same"}
    return pytest.param(case, id=case.id, marks=() if quick else pytest.mark.slow)


@pytest.mark.usefixtures("plain_sums")
@pytest.mark.parametrize("case", [default_or_slow(case) for case in CASES])
def test_compiles_to_machine_code(case: Case) -> None:
    torch._dynamo.reset()
    layer = case.build()
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True)
    ours, theirs = seeded(compiled, case.input()), seeded(layer, case.input())
    if case.draws_from_torch:
        # Inductor draws other random numbers; the backward pass must see the same ones again.
        assert torch.equal(ours["output"] == 0, ours["input"] == 0)
    else:
        assert_equal({k.removeprefix("_orig_mod."): v for k, v in ours.items()}, theirs)


@pytest.mark.usefixtures("plain_sums")
@every_layer
def test_an_exported_program_can_be_differentiated(case: Case) -> None:
    """Exported without asking for gradients, as a served model is; a saliency map asks later."""
    layer = case.build().eval()
    if not getattr(layer, "track_running_stats", True):
        pytest.skip("uses the batch's statistics in eval")
    program = torch.export.export(copy.deepcopy(layer), (case.input(),)).module()
    ours, theirs = seeded(program, case.input()), seeded(layer, case.input())
    assert_equal({name: ours[name] for name in theirs}, theirs)


@with_reference
def test_autocast_gives_torchs_dtype(case: Case) -> None:
    ours, theirs = case.build(), case.build_reference()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert ours(case.input()).dtype == theirs(case.input()).dtype


@every_layer
def test_autocast_is_close_to_float32(case: Case) -> None:
    layer = case.build()
    torch.manual_seed(0)
    exact = copy.deepcopy(layer)(case.input())
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rough = layer(case.input())
    torch.testing.assert_close(rough.float(), exact, rtol=0.05, atol=0.05)


@every_layer
def test_low_precision_keeps_the_dtype(case: Case) -> None:
    layer = case.build().to(torch.bfloat16)
    assert layer(case.input(torch.bfloat16)).dtype == torch.bfloat16


@every_layer
def test_meta_device_knows_the_shape(case: Case) -> None:
    layer = case.build().to("meta")
    y = layer(torch.empty(case.shape, device="meta"))
    assert (y.device.type, y.shape) == ("meta", layer.output_shape(case.shape))


@every_layer
def test_the_default_device_is_not_the_datas(case: Case) -> None:
    layer = case.build()
    expected = seeded(copy.deepcopy(layer), case.input())
    x = case.input()
    with torch.device("meta"):
        torch.manual_seed(0)
        y = layer(x.requires_grad_())
        (gradient,) = torch.autograd.grad(y, x, expected["output"])
    assert torch.equal(y, expected["output"]) and gradient.device.type == "cpu"


@every_layer
def test_empty_batch(case: Case) -> None:
    layer = case.build()
    statistics = {k: v for k, v in copy.deepcopy(layer.state_dict()).items() if "running" in k}
    x = torch.zeros((0, *case.shape[1:]), requires_grad=True)
    y = layer(x)
    assert y.shape == layer.output_shape(x.shape)
    y.sum().backward()
    assert x.grad.shape == x.shape
    for name, before in statistics.items():
        assert torch.equal(layer.state_dict()[name], before)


@every_layer
def test_vmap_and_jvp_in_eval(case: Case) -> None:
    layer = case.build().eval()
    if not getattr(layer, "track_running_stats", True):
        pytest.skip("uses the batch's statistics in eval")
    x = case.input(torch.float64)
    layer = layer.double()
    torch.testing.assert_close(torch.vmap(layer)(x[:, None])[:, 0], layer(x))
    tangent = torch.ones_like(x)
    _, directional = torch.func.jvp(layer, (x,), (tangent,))
    step = 1e-6
    difference = (layer(x + step * tangent) - layer(x - step * tangent)) / (2 * step)
    torch.testing.assert_close(directional, difference, rtol=1e-4, atol=1e-5)


@every_layer
def test_gradient_by_torch_func(case: Case) -> None:
    layer, x = case.build().eval(), case.input()
    if not getattr(layer, "track_running_stats", True):
        pytest.skip("uses the batch's statistics in eval")
    ours = torch.func.grad(lambda x: layer(x).square().sum())(x)
    x = x.requires_grad_()
    (expected,) = torch.autograd.grad(layer(x).square().sum(), x)
    torch.testing.assert_close(ours, expected)


@every_layer
def test_awkward_memory(case: Case) -> None:
    layer, x = case.build(), case.input()
    plain = seeded(copy.deepcopy(layer), x)
    strided = torch.stack([x, x + 1], -1)[..., 0]
    negative = torch.view_as_complex(torch.stack([x, -x], -1)).conj().imag
    assert negative.is_neg()
    for view in (strided, negative):
        torch.manual_seed(0)
        y = copy.deepcopy(layer)(view)
        torch.testing.assert_close(y, plain["output"], rtol=1e-5, atol=1e-6)


@every_layer
def test_many_gradients_at_once(case: Case) -> None:
    """What a Jacobian asks for: a batch of output gradients, of which none has memory."""
    layer, x = case.build(), case.input().requires_grad_()
    y = layer(x)
    directions = torch.randn(3, *y.shape)
    inputs = [x, *layer.parameters()]
    together = torch.autograd.grad(y, inputs, directions, retain_graph=True, is_grads_batched=True)
    alone = [torch.autograd.grad(y, inputs, one, retain_graph=True) for one in directions]
    for at, gradients in enumerate(together):
        expected = torch.stack([gradient[at] for gradient in alone])
        torch.testing.assert_close(gradients, expected, rtol=1e-5, atol=1e-5)


@every_layer
def test_takes_what_a_transform_has_left(case: Case) -> None:
    layer, left = case.build().eval(), []

    def keep(x: torch.Tensor) -> torch.Tensor:
        left.append(x * 1)
        return x.sum()

    torch.func.grad(keep)(case.input())
    torch.testing.assert_close(layer(left[0]), layer(case.input()))


@pytest.mark.filterwarnings("ignore")  # of the tracer: which sizes it takes as they are
@every_layer
def test_a_trace_holds_for_another_batch(case: Case) -> None:
    layer = case.build().eval()
    x = case.input()
    traced = torch.jit.trace(layer, x)
    assert "lamina::" not in str(traced.inlined_graph)
    twice = torch.cat([x, x])
    torch.testing.assert_close(traced(twice), layer(twice), rtol=1e-5, atol=1e-5)


@pytest.mark.filterwarnings("ignore")  # that it is deprecated
@every_layer
def test_scripting_is_refused_in_one_line(case: Case) -> None:
    model = torch.nn.Sequential(torch.nn.Identity(), case.build())
    with pytest.raises(RuntimeError, match=rf"lamina\.nn\.{case.layer}.*lamina\.restore") as caught:
        torch.jit.script(model)
    assert "\n" not in str(caught.value)
