"""What people write out by hand runs as what it is, and what only looks like it stays."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import lamina
from lamina.optimiser import optimize
from tests.models.agreement import assert_agree

BY_HAND = {
    "silu": [
        lambda x: x * torch.sigmoid(x),
        lambda x: x.sigmoid() * x,
        lambda x: x.mul(F.sigmoid(x)),
    ],
    "hardswish": [
        lambda x: x * F.relu6(x + 3) / 6,
        lambda x: x * F.relu6(x + 3.0, inplace=True) / 6.0,
        lambda x: x * (F.relu6(3 + x) / 6),
        lambda x: x * F.hardsigmoid(x),
        lambda x: (x + 3).clamp(0, 6).mul(1 / 6) * x,
        lambda x: F.hardtanh(torch.add(x, 3), 0.0, 6.0) * x * (1 / 6),
    ],
}
NOT = [
    lambda x: x * torch.sigmoid(2 * x),
    lambda x: x * F.relu6(x + 2) / 6,
    lambda x: x * F.relu6(x + 3) / 5,
    lambda x: x * torch.tanh(x),
    lambda x: x * torch.sigmoid(x) + torch.sigmoid(x),
    lambda x: torch.add(x, 3, alpha=2).clamp(0, 6) / 6 * x,
    lambda x: x * torch.div(F.relu6(x + 3), 6, rounding_mode="floor"),
]


class Net(nn.Module):
    def __init__(self, function) -> None:
        super().__init__()
        self.conv, self.norm, self.function = nn.Conv2d(4, 8, 3), nn.BatchNorm2d(8), function

    def forward(self, x):
        return self.function(self.norm(self.conv(x)))


def report(function):
    """Of a network with this function in evaluation, after it agreed in both modes."""
    torch.manual_seed(0)
    plain = Net(function)
    plain.norm.weight.data.mul_(3)  # as far as the kinks
    ours = optimize(plain, copy=True)
    x = torch.randn(2, 4, 9, 9)
    assert_agree(ours, plain, x, kinks=5e-3)
    ours.eval(), plain.eval()
    with torch.no_grad():
        exact = copy.deepcopy(plain).double()(x.double())
        for _ in range(3):
            torch.testing.assert_close(ours(x).double(), exact, rtol=1e-5, atol=1e-5)
    return ours.lamina_report


@pytest.mark.parametrize(
    ("name", "at"), [(name, at) for name, ways in BY_HAND.items() for at in range(len(ways))]
)
def test_a_function_written_out_is_part_of_the_convolution(name, at) -> None:
    rows = report(BY_HAND[name][at]).graphs[-1].rows
    assert [row.what for row in rows] == [f"conv2d + batch_norm + {name}"]


def test_in_place_as_well() -> None:
    """Where gradients are asked for PyTorch refuses it."""
    torch.manual_seed(0)
    plain = Net(lambda x: x.mul_(x.sigmoid())).eval()
    ours = optimize(plain, copy=True)
    x = torch.randn(2, 4, 9, 9)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-5)
    assert [row.what for row in ours.lamina_report.rows] == ["conv2d + batch_norm + silu"]


@pytest.mark.parametrize("function", NOT)
def test_what_only_looks_like_one_stays(function) -> None:
    rows = report(function).graphs[-1].rows
    assert rows[0].what == "conv2d + batch_norm"


def by_view(x, groups):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).contiguous().view(n, c, h, w)


def by_reshape(x, groups):
    n, c, h, w = x.size()
    x = torch.transpose(x.reshape(n, groups, c // groups, h, w), 1, 2)
    return torch.reshape(x, (n, -1, h, w))


def other_axes(x, groups):
    n, c, h, w = x.shape
    return x.view(n, groups, c // groups, h, w).transpose(1, 2).reshape(n, c, w, h).transpose(2, 3)


@pytest.mark.parametrize(("shuffle", "is_known"), [(by_view, 1), (by_reshape, 1), (other_axes, 0)])
def test_shuffled_channels_stay_innermost(shuffle, is_known) -> None:
    class Shuffled(Net):
        def forward(self, x):
            return F.conv2d(shuffle(self.conv(x), 2), self.conv.weight.transpose(0, 1))

    torch.manual_seed(0)
    plain = Shuffled(None)
    ours = optimize(plain, copy=True)
    x = torch.randn(2, 4, 9, 8)
    assert_agree(ours, plain, x, kinks=1e-4)
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(ours(x), plain(x), rtol=1e-4, atol=1e-5)
    assert ("channel_shuffle" in str(ours.lamina_report)) == is_known


class Squeezed(nn.Module):
    """Squeeze and excite behind a convolution, its parts as libraries write them."""

    def __init__(self, dense: bool, activation: nn.Module, gate) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 16, 3)
        self.fc1 = nn.Linear(16, 5) if dense else nn.Conv2d(16, 5, 1)
        self.fc2 = nn.Linear(5, 16, bias=False) if dense else nn.Conv2d(5, 16, 1)
        self.dense, self.activation, self.gate = dense, activation, gate

    def forward(self, x):
        x = self.conv(x)
        z = F.adaptive_avg_pool2d(x, 1) if not self.dense else x.mean((2, 3))
        z = self.gate(self.fc2(self.activation(self.fc1(z))))
        return (z[:, :, None, None] if self.dense else z) * x


class Flattened(Squeezed):
    """As the first implementations: pooled, flattened, dense, viewed as images again."""

    def forward(self, x):
        x = self.conv(x)
        n, c = x.shape[:2]
        z = F.adaptive_avg_pool2d(x, 1).view(n, c)
        z = self.gate(self.fc2(self.activation(self.fc1(z)))).view(n, c, 1, 1)
        return x * z


GATES = [torch.sigmoid, F.hardsigmoid, lambda x: F.relu6(x + 3) / 6, nn.Sigmoid()]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("activation", [nn.ReLU(inplace=True), nn.SiLU()])
@pytest.mark.parametrize("kind", ["pointwise", "dense", "flattened"])
def test_squeeze_and_excite_is_one_call(kind, activation, gate) -> None:
    torch.manual_seed(0)
    plain = (Flattened if kind == "flattened" else Squeezed)(kind != "pointwise", activation, gate)
    ours = optimize(plain, copy=True)
    x = torch.randn(3, 4, 9, 9)
    assert_agree(ours, plain, x, kinks=5e-3)
    ours.eval(), plain.eval()
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-5)
    rows = ours.lamina_report.graphs[-1].rows
    assert [row.what for row in rows] == ["conv2d", "squeeze_excite"]


class Converted(Squeezed):
    """With the conversions that mixed precision asks for, which change nothing in float32."""

    def forward(self, x):
        x = self.conv(x)
        z = F.adaptive_avg_pool2d(x.float(), 1).type_as(x)
        z = self.gate(self.fc2(self.activation(self.fc1(z))))
        return x * z.to(x.dtype)


@pytest.mark.parametrize("kind", [Converted, "lamina"])
def test_a_conversion_to_what_it_is_hides_nothing(kind) -> None:
    torch.manual_seed(0)
    if kind == "lamina":
        plain = nn.Sequential(nn.Conv2d(4, 16, 3), lamina.nn.SqueezeExcite(16, 5))
    else:
        plain = kind(False, nn.ReLU(), torch.sigmoid)
    ours = optimize(plain.eval(), copy=True)
    x = torch.randn(3, 4, 9, 9)
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-5)
    rows = ours.lamina_report.graphs[-1].rows
    assert [row.what for row in rows] == ["conv2d", "squeeze_excite"]


@pytest.mark.parametrize(
    "convert",
    [
        lambda x: x.to(torch.float64).to(torch.float32),
        lambda x: x.to(torch.float32, copy=True),
        lambda x: x.to(memory_format=torch.channels_last),
        lambda x: x.to(torch.float32, memory_format=torch.contiguous_format),
    ],
    ids=["rounds", "copies", "lays out", "lays out anew"],
)
def test_a_conversion_that_does_something_is_done(convert) -> None:
    torch.manual_seed(0)

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv2d(4, 8, 3)

        def forward(self, x):
            y = self.conv(x)
            z = convert(y)
            return z.mul_(2), y + 0

    plain = Model().eval()
    ours = optimize(plain, copy=True)
    x = torch.randn(2, 4, 9, 9)
    with torch.no_grad():
        for _ in range(3):
            for mine, theirs in zip(ours(x), plain(x), strict=True):
                torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-5)


class Shared(Squeezed):
    """Somebody else reads the gate."""

    def forward(self, x):
        x = self.conv(x)
        z = self.gate(self.fc2(self.activation(self.fc1(F.adaptive_avg_pool2d(x, 1)))))
        return x * z, z


class OfAnother(Squeezed):
    """The gate scales other images than it was made of."""

    def forward(self, x):
        x = self.conv(x)
        z = self.gate(self.fc2(self.activation(self.fc1(F.adaptive_avg_pool2d(x + 1, 1)))))
        return x * z


@pytest.mark.parametrize("kind", [Shared, OfAnother])
def test_what_is_no_squeeze_and_excite_stays(kind) -> None:
    torch.manual_seed(0)
    plain = kind(False, nn.ReLU(), torch.sigmoid).eval()
    ours = optimize(plain, copy=True)
    x = torch.randn(3, 4, 9, 9)
    with torch.no_grad():
        for _ in range(3):
            torch.testing.assert_close(ours(x), plain(x), rtol=1e-5, atol=1e-5)
    assert "squeeze_excite" not in [row.what for row in ours.lamina_report.rows]
