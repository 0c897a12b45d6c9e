"""Every layer of the torch.nn dialect under what is not plain eager float32.

Compiled, exported, traced and transformed; in other dtypes, on other devices, in awkward memory.
"""

from __future__ import annotations

import copy

import pytest
import torch

from .cases import CASES, Case
from .every_layer import assert_equal, every_layer, seeded, with_reference


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
