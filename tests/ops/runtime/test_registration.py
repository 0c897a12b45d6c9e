"""Every op has one description, and whoever counts asks it."""

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

import lamina
from lamina import nn
from lamina.inspector import inspect
from lamina.ops.runtime import native
from lamina.ops.runtime.registration import OPS, arguments_of
from lamina.theory.cost import Cost
from tests.ops.runtime.test_opcheck import SAMPLES, sample

pytestmark = pytest.mark.skipif(not native.kinds(), reason="no compiler")


def counted(function):
    with FlopCounterMode(display=False) as counter:
        function()
    return counter.get_total_flops()


@pytest.mark.parametrize("name", sorted(OPS))
def test_every_op_accounts_for_itself(name):
    op = OPS[name]
    args = sample(name, "nchw", requires_grad=False)
    named = op.named(args)
    cost = op.cost(named)
    assert isinstance(cost, Cost) and cost.flops > 0 and cost.bytes_written > 0
    assert (op.kind is None) == name.endswith(("backward", "gradient", "dropout"))
    if op.window is not None:
        window = op.window(named)
        assert all(len(pair) == 2 for pair in window[:4]) and min(window.kernel_size) >= 1
        assert {"stride", "padding"} <= {*named._fields}
    assert counted(lambda: op.function(*args)) == 2 * cost.macs


def test_the_list_is_whole():
    # next_seed counts calls up: no arithmetic, and PyTorch describes it.
    assert {*OPS} == {*SAMPLES} - {"next_seed"}


def test_arguments_are_named_as_the_schema_names_them():
    for name, op in OPS.items():
        schema = getattr(torch.ops.lamina, name).default._schema
        assert op.arguments._fields == tuple(argument.name for argument in schema.arguments)
    assert arguments_of("f(Tensor[] xs, SymInt[] size, float p) -> Tensor")._fields == (
        "xs",
        "size",
        "p",
    )


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(
    "layer, peer",
    [
        (lambda: nn.Conv2d(8, 12, 3, padding=1), None),
        (lambda: nn.DepthwiseConv2d(8, 3, padding=1), None),
        (
            lambda: nn.SeparableConv2d(8, 16, 3, padding=1),
            lambda: torch.nn.Sequential(
                torch.nn.Conv2d(8, 8, 3, padding=1, groups=8), torch.nn.Conv2d(8, 16, 1)
            ),
        ),
    ],
    ids=["conv2d", "depthwise", "separable"],
)
def test_pytorchs_counter_and_the_inspector_agree_on_macs(layer, peer, training):
    x = torch.randn(2, 8, 12, 12)
    module = layer()
    plain = peer() if peer else lamina.restore(layer())
    with torch.set_grad_enabled(training):
        expected = counted(lambda: plain(x))
        assert expected > 0
        assert counted(lambda: module(x)) == expected
    assert 2 * inspect(module, (2, 8, 12, 12), backward=training).totals.macs == expected


@pytest.mark.parametrize("frozen", [["weight"], ["bias"], ["weight", "bias"], []])
@pytest.mark.parametrize("first", [True, False], ids=["first", "inner"])
def test_a_frozen_layer_has_the_products_that_are_left(frozen, first):
    layer = nn.DepthwiseConv2d(8, 3, padding=1)
    for name in frozen:
        getattr(layer, name).requires_grad_(False)
    x = torch.randn(2, 8, 12, 12, requires_grad=not first)
    forward = 2 * layer.cost(tuple(x.shape)).macs
    if first and len(frozen) == 2:
        pytest.skip("nothing has a gradient")
    products = 1 + (not first) + (len(frozen) < 2)
    assert counted(lambda: layer(x).sum().backward()) == products * forward


def test_mobilenet_v2_has_the_count_of_its_paper():
    model = lamina.models.get("mobilenet_v2").eval()
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert counted(lambda: model(x)) == 601_548_544


@pytest.mark.parametrize("backward", [False, True])
def test_a_separable_convolution_is_in_the_books_frozen_or_not(backward):
    layer = nn.SeparableConv2d(8, 16, 3, padding=1)
    assert inspect(layer, (2, 8, 12, 12), backward=backward).totals.macs == 57_600
    frozen = inspect(layer.requires_grad_(False), (2, 8, 12, 12), backward=backward)
    assert frozen.totals.macs == 57_600 and frozen.totals.coverage == "complete"
    assert [row.kind for row in frozen.rows] == ["separable_conv2d"]
