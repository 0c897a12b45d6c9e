"""Receptive fields against the gradient of one output pixel."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from lamina.inspector import inspect
from tests.inspector.networks import Branches, Wrap


def field_by_gradient(model, size, row):
    """First and last pixel, per axis, that the middle output position depends on."""
    model = model.double().eval()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.Conv2d | nn.ConvTranspose2d):
                module.weight.fill_(0.01)  # no cancellation, no dead path
    # A maximum passes its gradient to one pixel only; a mean over the same window, to all.
    averages = [
        module.register_forward_hook(
            lambda m, args, output: functional.avg_pool2d(
                args[0], m.kernel_size, m.stride, m.padding, m.ceil_mode
            )
        )
        for module in model.modules()
        if isinstance(module, nn.MaxPool2d)
    ]
    kept = []
    handle = dict(model.named_modules())[row.name].register_forward_hook(
        lambda module, args, output: kept.append(output)
    )
    x = torch.rand(1, 3, *size, dtype=torch.double, requires_grad=True)
    model(x)
    for hook in [handle, *averages]:
        hook.remove()
    output = kept[row.call]
    middle = [extent // 2 for extent in output.shape[2:]]
    (gradient,) = torch.autograd.grad(output[0, :, middle[0], middle[1]].sum(), x)
    seen = gradient[0].abs().sum(0) > 0
    spans = []
    for axis in (1, 0):
        hit = seen.any(axis).nonzero().flatten()
        spans.append((int(hit[0]), int(hit[-1])))
    return middle, spans


def check(model, size, names=None):
    account = inspect(model, (1, 3, *size))
    checked = 0
    for row in account.rows:
        is_module = row.type != "function" and row.name
        if not is_module or row.receptive_field is None or len(row.output_shapes[0]) != 4:
            continue
        if names is not None and row.name not in names:
            continue
        middle, spans = field_by_gradient(model, size, row)
        for axis in range(2):
            centre = row.offset[axis] + row.stride[axis] * middle[axis]
            low = centre - (row.receptive_field[axis] - 1) / 2
            high = centre + (row.receptive_field[axis] - 1) / 2
            expected = (max(0, low), min(size[axis] - 1, high))
            assert spans[axis] == expected, (row.label, axis)
        checked += 1
    return checked


def test_branches():
    assert check(Branches(), (64, 64)) >= 8


def test_odd_sizes_pads_slices_and_transposed():
    model = nn.Sequential(
        nn.ZeroPad2d((0, 1, 0, 1)),
        nn.Conv2d(3, 4, 3, stride=2),
        nn.MaxPool2d(3, 2, 1),
        nn.Conv2d(4, 4, (3, 1), dilation=(2, 1)),
        nn.AvgPool2d(2, 1),
    )
    assert check(model, (53, 47)) == 4


def test_upsampling_sees_at_most_what_is_told():
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ConvTranspose2d(4, 4, 4, 2, 1))
    row = inspect(model, (1, 3, 32, 32)).rows[-1]
    middle, spans = field_by_gradient(model, (32, 32), row)
    centre = row.offset[0] + row.stride[0] * middle[0]
    reach = (row.receptive_field[0] - 1) / 2
    assert centre - reach <= spans[0][0] <= spans[0][1] <= centre + reach
    assert row.stride == (1.0, 1.0)


def test_a_global_pool_sees_everything_and_a_gate_passes_that_on():
    def gate(x, conv):
        x = conv(x)
        return x * functional.adaptive_avg_pool2d(x, 1).sigmoid()

    account = inspect(Wrap(gate, conv=nn.Conv2d(3, 4, 3, padding=1)), (1, 3, 16, 16))
    fields = {row.kind: row.receptive_field for row in account.rows}
    assert fields["conv2d"] == (3, 3)
    assert fields["global_avg_pool2d"] == fields["mul"] == (18, 18)


def test_channels_last_by_permutation():
    model = Wrap(lambda x, conv: conv(x.permute(0, 3, 1, 2)), conv=nn.Conv2d(3, 4, 5, 2))
    row = next(row for row in inspect(model, (1, 32, 32, 3)).rows if row.kind == "conv2d")
    assert (row.receptive_field, row.stride, row.offset) == ((5, 5), (2.0, 2.0), (2.0, 2.0))


@pytest.mark.parametrize("model", [nn.Linear(3, 4), nn.ReLU()])
def test_no_window_no_field(model):
    assert all(row.receptive_field is None for row in inspect(model, (2, 3)).rows)


def test_views_in_place_keep_what_was_seen():
    def squeezed(x):
        x = nn.functional.avg_pool2d(x, 3, 1)
        return nn.functional.avg_pool2d(x.squeeze_(0).unsqueeze_(0).transpose_(2, 3), (1, 5), 1)

    account = inspect(Wrap(squeezed), (1, 4, 12, 16))
    assert account.rows[-1].receptive_field == (7, 3)
