"""Counts against hand counts, against PyTorch's FlopCounterMode, and against the theory."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from lamina.inspector import inspect
from lamina.theory.cost import Cost
from tests.inspector.networks import Hand, Wrap


def both_ways(account):
    return 2 * (account.totals.forward.macs + account.totals.backward.macs)


def torch_counts(model, *inputs):
    counter = FlopCounterMode(display=False)
    with counter:
        output = model(*inputs)
        output = output[0] if isinstance(output, tuple) else output
        if output.requires_grad:
            output.sum().backward()
    return counter.get_total_flops()


def test_the_hand_counted_network():
    account = inspect(Hand(), (1, 3, 32, 32))
    assert account.totals.macs == 3_499_008
    assert both_ways(account) == 20_109_312
    assert account.totals.parameters == 16_634
    # bias, batch norm, relu, max pool, average pool, add
    assert account.totals.forward.other_flops == 32_778 + 57_344 + 28_672 + 16_384 + 8_192 + 8_192
    assert account.totals.coverage == "complete"


def test_macs_row_by_row():
    macs = {row.label: row.macs for row in inspect(Hand(), (1, 3, 32, 32)).rows if row.macs}
    assert macs == {
        "stem": 442_368,
        "depthwise": 36_864,
        "pointwise": 131_072,
        "shared#0": 262_144,
        "shared#1": 262_144,
        "conv2d": 2_359_296,
        "dense": 5_120,
    }


def test_a_shared_module_keeps_its_backward_and_counts_its_parameters_once():
    rows = {row.label: row for row in inspect(Hand(), (1, 3, 32, 32)).rows}
    assert rows["shared#0"].backward.macs == rows["shared#1"].backward.macs == 2 * 262_144
    assert (rows["shared#0"].parameters, rows["shared#1"].parameters) == (1_056, 0)
    assert rows["conv2d"].parameters == 9_216  # a plain parameter, used by a function


@pytest.mark.parametrize("training", [False, True])
def test_closed_books(training):
    account = inspect(Hand(), (2, 3, 32, 32), training=training)
    totals = account.totals
    assert sum((row.forward for row in account.rows), Cost()) == totals.forward
    assert sum((row.backward for row in account.rows), Cost()) == totals.backward
    assert sum(row.saved_bytes for row in account.rows) == totals.saved_bytes
    assert sum(row.parameters for row in account.rows) == totals.parameters


def attend(x, attention):
    return attention(x, x, x)[0]


LAYERS = {
    "conv1d": (nn.Conv1d(4, 6, 3), (2, 4, 9)),
    "dilated conv": (nn.Conv2d(4, 8, 3, dilation=2), (2, 4, 9, 9)),
    "conv3d, circular": (nn.Conv3d(2, 3, 3, padding=1, padding_mode="circular"), (1, 2, 5, 5, 5)),
    "transposed conv": (nn.ConvTranspose2d(4, 6, 3, stride=2), (2, 4, 5, 5)),
    "1-D linear": (nn.Linear(16, 8), (16,)),
    "4-D linear": (nn.Linear(16, 8), (2, 3, 4, 16)),
    "gru": (nn.GRU(8, 16, bidirectional=True), (5, 2, 8)),
    "rnn": (nn.RNN(8, 16, 2), (5, 2, 8)),
    "lstm cell": (nn.LSTMCell(8, 16), (2, 8)),
    "attention with weights": (
        Wrap(attend, attention=nn.MultiheadAttention(16, 4, batch_first=True)),
        (2, 5, 16),
    ),
    "einsum": (Wrap(lambda x: torch.einsum("bij,bkj->bik", x, x)), (2, 3, 4)),
}


@pytest.mark.parametrize("name", LAYERS)
def test_agrees_with_pytorch(name):
    model, size = LAYERS[name]
    account = inspect(model, size)
    assert both_ways(account) == torch_counts(model.eval(), torch.randn(size)) > 0
    assert account.totals.coverage == "complete"
    assert account.totals.parameters == sum(p.numel() for p in model.parameters())


def test_where_pytorch_multiplies_a_grouped_weight_gradient_by_its_groups():
    model = nn.Conv2d(4, 8, 3, groups=2)
    account = inspect(model, (2, 4, 9, 9))
    weight_gradient = forward = account.totals.macs
    assert both_ways(account) == 2 * (forward + weight_gradient)
    assert torch_counts(model, torch.randn(2, 4, 9, 9)) == 2 * (forward + 2 * weight_gradient)


def test_where_pytorch_loses_the_backward_of_a_module_that_is_called_twice():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = nn.Linear(8, 8, bias=False)

        def forward(self, x):
            return self.shared(self.shared(x))

    counter = FlopCounterMode(display=False)
    model = Twice()
    with counter:
        model(torch.randn(4, 8, requires_grad=True)).sum().backward()
    theirs = sum(counter.get_flop_counts()["Twice.shared"].values())
    rows = [row for row in inspect(model, input_data=torch.randn(4, 8, requires_grad=True)).rows
            if row.name == "shared"]  # fmt: skip
    ours = sum(2 * (row.forward.macs + row.backward.macs) for row in rows)
    assert ours == 2 * 6 * (4 * 8 * 8)  # forward twice, and two products backward for each
    assert theirs < ours


def test_the_hand_counted_network_as_pytorch_counts_it():
    excess = torch_counts(Hand().eval(), torch.randn(1, 3, 32, 32)) - 20_109_312
    assert excess == 15 * 2 * 36_864  # the depthwise weight's gradient, times its 16 groups


def test_where_pytorch_does_not_see_attention_and_recurrence_on_a_cpu():
    query = (2, 4, 5, 16)
    attention = Wrap(lambda q: F.scaled_dot_product_attention(q, q, q))
    assert inspect(attention, query).totals.macs == 2 * (2 * 4 * 5 * 5 * 16)
    assert torch_counts(attention, torch.randn(query)) == 0
    lstm = nn.LSTM(8, 16, 2, batch_first=True, bidirectional=True)
    expected = 2 * 5 * (2 * 64 * (8 + 16) + 2 * 64 * (32 + 16))
    account = inspect(lstm, (2, 5, 8))
    assert account.totals.macs == expected
    assert torch_counts(lstm, torch.randn(2, 5, 8)) < both_ways(account)


def test_an_operator_without_a_formula_is_named_and_makes_the_totals_partial():
    account = inspect(Wrap(lambda x: torch.linalg.qr(x).R), (4, 4))
    assert account.totals.coverage == "partial"
    assert account.totals.uncounted == {"aten.linalg_qr": 1}
    assert account.rows[0].uncounted == ["aten.linalg_qr"]


def resize(**arguments):
    return lambda x: F.interpolate(x, **arguments)


IMAGE, VOLUME = (2, 4, 6, 10), (1, 2, 4, 4, 4)
CLOSED = {
    # Forward operations by hand; the backward pass has to be counted too.
    "fft": (lambda x: torch.fft.rfft2(x).real, IMAGE, round(2.5 * 480 * math.log2(60))),
    "inverse fft": (
        lambda x: torch.fft.ifft(torch.complex(x, x)).abs(),
        (3, 8),
        5 * 24 * 3 + 24,  # and a magnitude
    ),
    "cdist": (lambda x: torch.cdist(x, x, p=1), (2, 5, 3), 3 * 2 * 5 * 5 * 3),
    "glu": (lambda x: F.glu(x, 1), IMAGE, 4 * 240),
    "softshrink": (F.softshrink, IMAGE, 480),
    "max unpool": (
        lambda x: F.max_unpool2d(*F.max_pool2d(x, 2, return_indices=True), 2),
        IMAGE,
        480,
    ),
    "trilinear": (resize(scale_factor=2, mode="trilinear"), VOLUME, 15 * 1024),
    "nearest exact": (resize(scale_factor=2, mode="nearest-exact"), IMAGE, 0),
    "antialiased": (
        resize(size=(3, 5), mode="bilinear", antialias=True),
        IMAGE,
        2 * 4 * (2 * 4 * 6 * 5 + 2 * 4 * 3 * 5),  # four taps along a row, then along a column
    ),
    "grid sample": (
        lambda x: F.grid_sample(x, torch.zeros(2, 3, 3, 2), align_corners=False),
        IMAGE,
        14 * 72,
    ),
    "scatter_add": (
        lambda x: torch.zeros(3, 8).index_add(0, torch.tensor([0, 2, 0, 1]), x),
        (4, 8),
        32,
    ),
    "fold": (lambda x: F.fold(x, (4, 4), 2, stride=1), (1, 8, 9), 72),
    "pad": (lambda x: F.pad(x, (1, 1, 1, 1, 1, 1), mode="replicate"), VOLUME, 0),
    "views in place": (lambda x: (2 * x).squeeze_().unsqueeze_(0).transpose_(1, 2), (4, 1, 3), 12),
    "as_strided_": (lambda x: (2 * x).as_strided_((3, 4), (1, 3)), (4, 3), 12),
}


@pytest.mark.parametrize("name", CLOSED)
def test_operators_of_image_models_are_counted(name):
    function, size, operations = CLOSED[name]
    account = inspect(Wrap(function), input_data=torch.randn(size, requires_grad=True))
    assert account.totals.uncounted == {} and account.totals.coverage == "complete"
    assert account.totals.forward.other_flops == operations
    assert account.totals.backward.bytes_written > 0


def test_weight_norm_and_attention_masked_whole_are_counted():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)))
    account = inspect(model, (1, 3, 8, 8))
    assert account.totals.coverage == "complete"
    mask = torch.zeros(5, 5)
    attention = Wrap(lambda q: F.scaled_dot_product_attention(q, q, q, mask, 0.1))
    assert inspect(attention, (2, 4, 5, 16), training=True).totals.coverage == "complete"


def test_a_model_in_data_parallel_is_counted():
    model = nn.DataParallel(nn.Conv2d(3, 4, 3))
    assert inspect(model, (1, 3, 8, 8)).totals.coverage == "complete"


def test_integers_are_no_floating_point_operations():
    counter = Wrap(lambda x: (x.argmax(1) + 1) * 3)
    assert inspect(counter, (4, 8)).totals.forward.other_flops == 4 * 8  # argmax compares floats


def test_other_flops_follow_the_theory():
    from lamina.theory import activation, batch_norm2d, pool2d

    shape = (2, 8, 6, 6)
    for layer, cost in [
        (nn.SiLU(), activation.cost(shape, "silu")),
        (nn.Hardswish(), activation.cost(shape, "hardswish")),
        (nn.ReLU6(), activation.cost(shape, "relu6")),
        (nn.BatchNorm2d(8), batch_norm2d.cost(shape)),
        (nn.MaxPool2d(2), pool2d.cost(shape, 2, operation="max")),
        (nn.AvgPool2d(3, 2), pool2d.cost(shape, 3, 2, operation="average")),
    ]:
        assert inspect(layer, shape).totals.forward.other_flops == cost.other_flops, layer
