"""Models compiled by lamina's backend against float64: every mode, layout and spelling."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import lamina
from lamina.graph import Backend, Report
from lamina.optimiser import optimize
from tests.models import torchvision_definitions as plain_networks
from tests.models.agreement import assert_agree

NETWORKS = {
    "vgg11": lambda: nn.Sequential(*lamina.restore(lamina.models.get("vgg16")).features[:12]),
    "resnet18": lambda: plain_networks.ResNet(plain_networks.BasicBlock, (1, 1, 1, 1), 10),
    "resnet50": lambda: plain_networks.ResNet(plain_networks.Bottleneck, (1, 1, 1, 1), 10),
    "mobilenet_v1": lambda: plain_networks.MobileNetV1(10),
    "mobilenet_v2": lambda: plain_networks.MobileNetV2(10, width=0.35, dropout=0.0),
    "mobilenet_v3": lambda: lamina.restore(
        lamina.models.get("mobilenet_v3_small", num_classes=10, width=0.35, dropout=0.0)
    ),
    "efficientnet_b0": lambda: plain_networks.EfficientNet(
        10, width=0.35, dropout=0.0, drop_path=0.0
    ),
    "ours": lambda: lamina.models.get("mobilenet_v2", num_classes=10, width=0.35, dropout=0.0),
}


def drawn(model: nn.Module) -> nn.Module:
    """With statistics and weights of a norm that are not the neutral ones."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d) and module.track_running_stats:
            nn.init.normal_(module.running_mean, std=0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            if module.affine:
                nn.init.uniform_(module.weight, 0.5, 1.5)
                nn.init.normal_(module.bias, std=0.1)
    return model


def assert_infers_alike(ours: nn.Module, plain: nn.Module, *inputs: Tensor) -> None:
    """Without gradients: strays from float64 at most twice as far, and by rounding.

    In every call the same bit for bit: by Python, while it is recorded, and from what was recorded.
    """
    with torch.no_grad():
        exact = copy.deepcopy(plain).double()(*(x.double() for x in inputs))
        expected = plain(*(x.clone() for x in inputs))
        got, *again = (ours(*(x.clone() for x in inputs)) for _ in range(4))
    assert all(torch.equal(got, later) and got.stride() == later.stride() for later in again)
    assert got.shape == expected.shape and got.stride() == expected.stride()
    error, theirs = ((y.double() - exact).norm() for y in (got, expected))
    assert error <= 2 * theirs + 3e-6 * exact.norm(), f"{error} > 2 * {theirs}"


SLOW = ("vgg11", "resnet50", "mobilenet_v3", "ours")


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in NETWORKS],
)
def test_a_network_infers_alike_with_nothing_left_to_fuse(name: str) -> None:
    torch.manual_seed(0)
    plain = drawn(NETWORKS[name]()).eval()
    ours = optimize(plain, copy=True)
    assert_infers_alike(ours, plain, torch.randn(2, 3, 64, 64))
    for graph in ours.lamina_report.graphs:
        assert not graph.problem
        assert not [row for row in graph.rows if row.runs == "batch_norm"]
        behind = {row.what for row in graph.rows}
        assert not behind & {"relu", "relu6"}, "an activation stands alone"


@pytest.mark.parametrize(
    "name", ["resnet18", *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW[1:])]
)
def test_a_network_trains_alike(name: str) -> None:
    torch.manual_seed(1)
    plain = NETWORKS[name]()
    ours = optimize(plain, copy=True)
    assert_agree(ours, plain, torch.randn(4, 3, 64, 64), kinks=5e-3, rounding=1e-4)
    assert not any(graph.problem for graph in ours.lamina_report.graphs)


class Odd(nn.Module):
    """Base of modules below: a convolution, a norm and what their forward does."""

    def __init__(self, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1, groups=groups)
        self.bn = nn.BatchNorm2d(4)
        self.other = nn.Conv2d(4, 4, 1)
        self.relu = nn.ReLU(inplace=True)


def spelled(forward):
    """A module with this forward."""
    return type("Spelled", (Odd,), {"forward": forward})


def in_place_statement(self, x):
    y = self.bn(self.conv(x))
    self.relu(y)
    return self.other(y)


def adds_to_its_input(self, x):
    y = self.other(x)
    y += self.bn(self.conv(y))
    return y * 2


def changes_a_view(self, x):
    y = self.conv(x)
    y.view(y.shape[0], -1).mul_(2.0)
    return self.other(y)


def overwrites_what_is_read(self, x):
    y = self.other(x)
    z = self.conv(y)
    y.zero_()
    return F.relu(self.bn(z)) + y


def changes_the_input(self, x):
    x = x * 1
    z = self.conv(x)
    x.mul_(3)
    return self.bn(z) + x


def two_of_one(self, x):
    y = self.relu(self.bn(self.conv(x)))
    return self.relu(self.bn(self.conv(y))) + y


def sum_behind_activation(self, x):
    return F.relu6(self.bn(self.conv(x))) + x


def broadcast_sum(self, x):
    return self.other(self.bn(self.conv(x)) + x.mean((2, 3), keepdim=True))


def scaled_sum(self, x):
    return torch.add(self.bn(self.conv(x)), x, alpha=2).relu()


def padded(self, x):
    return self.bn(self.conv(F.pad(x, (0, 1, 2, 0))))


def shuffled(self, x):
    y = self.conv(x)
    n, c, h, w = y.shape
    y = y.view(n, 2, c // 2, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
    return self.other(y)


def flattened(self, x):
    return self.conv(x).flatten(1), self.other(x).reshape(x.shape[0], -1)


def halves(self, x):
    a, b = self.conv(x).chunk(2, 1)
    return torch.cat([b, a, x], 1)


def breaks(self, x):
    y = self.relu(self.bn(self.conv(x)))
    torch._dynamo.graph_break()
    return self.other(y)


def depends_on_data(self, x):
    y = self.bn(self.conv(x))
    return self.other(y) if y.sum() > 0 else self.relu(y)


def slopes(self, x):
    return F.leaky_relu(self.bn(self.conv(x)), 0.3) + F.leaky_relu(self.other(x))


def limits(self, x):
    return F.hardtanh(self.bn(self.conv(x)), 0.0, 6.0) + F.hardtanh(self.other(x))


def writes_behind_a_view(self, x):
    y = self.conv(x)
    z = y.view(y.shape[0], -1)
    y.mul_(2.0)
    return self.other(y) * z.mean()


WITHOUT_GRADIENTS = (adds_to_its_input, overwrites_what_is_read, changes_the_input)
"""PyTorch refuses their gradients."""

SPELLINGS = [
    *WITHOUT_GRADIENTS,
    in_place_statement,
    changes_a_view,
    writes_behind_a_view,
    two_of_one,
    sum_behind_activation,
    broadcast_sum,
    scaled_sum,
    padded,
    shuffled,
    halves,
    breaks,
    depends_on_data,
    slopes,
    limits,
]


@pytest.mark.parametrize("groups", [1, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("forward", SPELLINGS, ids=lambda f: f.__name__)
def test_a_spelling_means_what_it_says(forward, groups: int) -> None:
    torch.manual_seed(0)
    plain = drawn(spelled(forward)(groups))
    ours = optimize(plain, copy=True)
    x = torch.randn(2, 4, 9, 8)
    if forward not in WITHOUT_GRADIENTS:
        assert_agree(ours, plain, x, kinks=1e-4)
    plain.eval(), ours.eval()
    assert_infers_alike(ours, plain, x)
    assert not any(graph.problem for graph in ours.lamina_report.graphs)


def test_outputs_have_the_strides_that_they_had() -> None:
    model = spelled(flattened)().eval()
    ours = optimize(model, copy=True)
    x = torch.randn(2, 4, 5, 6)
    with torch.no_grad():
        for a, b in zip(ours(x), model(x), strict=True):
            assert a.stride() == b.stride()
            torch.testing.assert_close(a, b)


LAYERS = {
    "conv": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "same": lambda: nn.Conv2d(4, 4, (2, 3), padding="same", dilation=(1, 2)),
    "strided": lambda: nn.Conv2d(4, 4, 3, 2, 1, bias=False),
    "grouped": lambda: nn.Conv2d(4, 4, 3, padding=1, groups=2),
    "pointwise": lambda: nn.Conv2d(4, 4, 1, bias=False),
    "depthwise": lambda: nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False),
    "circular": lambda: nn.Conv2d(4, 4, 3, padding=1, padding_mode="circular"),
    "separable": lambda: lamina.nn.SeparableConv2d(4, 4, 3, padding=1),
    "block": lambda: lamina.nn.SeparableBlock(4, 4, padding=1, expansion=2, shortcut=True),
    "norm": lambda: nn.BatchNorm2d(4),
    "norm without parameters": lambda: nn.BatchNorm2d(4, affine=False),
    "norm of the batch": lambda: nn.BatchNorm2d(4, track_running_stats=False),
    "our norm": lambda: lamina.nn.BatchNorm2d(4),
    "group norm": lambda: nn.GroupNorm(2, 4),
    "relu": lambda: nn.ReLU(inplace=True),
    "relu6": nn.ReLU6,
    "leaky": lambda: nn.LeakyReLU(0.2),
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "gelu": nn.GELU,
    "prelu": nn.PReLU,
    "max": lambda: nn.MaxPool2d(3, 1, 1),
    "mean": lambda: nn.AvgPool2d(2, 1, ceil_mode=True),
    "adaptive": lambda: nn.AdaptiveAvgPool2d((5, 6)),
    "dropout": lambda: nn.Dropout(0.0),
    "larger": lambda: nn.Upsample(scale_factor=2),
    "transposed": lambda: nn.ConvTranspose2d(4, 4, 2),
}


class Drawn(nn.Module):
    """Layers one after the other, of which some add what went in."""

    def __init__(self, kinds: list[tuple[str, bool]]) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LAYERS[kind]() for kind, _ in kinds)
        self.adds = [adds for _, adds in kinds]

    def forward(self, x: Tensor) -> Tensor:
        for layer, adds in zip(self.layers, self.adds, strict=True):
            y = layer(x)
            if adds and y.shape == x.shape:
                y = y + x
            x = y
        return x


_kinds = st.lists(st.tuples(st.sampled_from(sorted(LAYERS)), st.booleans()), min_size=2, max_size=7)


@pytest.mark.slow
@given(_kinds, st.booleans(), st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_any_graph_agrees(kinds: list[tuple[str, bool]], channels_last: bool, seed: int) -> None:
    torch.manual_seed(seed)
    plain = drawn(Drawn(kinds))
    ours = optimize(plain, copy=True)
    x = torch.randn(2, 4, 8, 9)
    x = x.to(memory_format=torch.channels_last) if channels_last else x
    assert_agree(ours, plain, x, kinks=5e-3)
    plain.eval(), ours.eval()
    assert_infers_alike(ours, plain, x)
    assert not any(graph.problem for graph in ours.lamina_report.graphs)


def test_by_its_name_as_everybody_compiles() -> None:
    """Without a line of lamina: PyTorch finds the backend by its entry point."""
    torch.manual_seed(0)
    model = drawn(spelled(two_of_one)()).eval()
    x = torch.randn(2, 4, 8, 8)
    compiled = torch.compile(model, backend="lamina")
    with torch.no_grad():
        torch.testing.assert_close(compiled(x), model(x))


def test_an_option_that_does_not_exist_is_one_line() -> None:
    compiled = torch.compile(nn.ReLU(), backend="lamina", options={"speed": 11})
    with pytest.raises(Exception, match=r"lamina's backend has no options, got \['speed'\]"):
        compiled(torch.ones(2))


def test_other_dtypes_and_autocast_stay_pytorchs() -> None:
    torch.manual_seed(0)
    model = spelled(two_of_one)().eval()
    x = torch.randn(2, 4, 8, 8)
    for dtype in (torch.float64, torch.bfloat16):
        plain = copy.deepcopy(model).to(dtype)
        ours = optimize(plain, copy=True)
        with torch.no_grad():
            torch.testing.assert_close(ours(x.to(dtype)), plain(x.to(dtype)))
        (graph,) = ours.lamina_report.graphs
        assert graph.rows == ours.lamina_report.left
        assert all("compute in float32 on the CPU" in row.note for row in graph.rows)
    ours = optimize(model, copy=True)
    with torch.no_grad(), torch.autocast("cpu"):
        assert ours(x).dtype == torch.bfloat16
    assert "autocast" in ours.lamina_report.summary()


def test_the_report_names_what_is_left_and_why() -> None:
    ours = optimize(nn.Sequential(nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4), nn.Flatten()))
    ours(torch.ones(1, 4, 5, 5))
    assert [str(row) for row in ours.lamina_report.left] == [
        "1: group_norm -> torch.group_norm - lamina has no group_norm"
    ]


def test_a_dropout_in_evaluation_stands_between_nobody() -> None:
    layers = [nn.Conv2d(4, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.ReLU()]
    plain = drawn(nn.Sequential(*layers)).eval()
    ours = optimize(plain, copy=True)
    assert_infers_alike(ours, plain, torch.randn(2, 4, 8, 8))
    assert [row.what for row in ours.lamina_report.rows] == ["conv2d + batch_norm + relu"]


def test_a_model_on_meta_stays_there() -> None:
    with torch.device("meta"):
        model = optimize(spelled(two_of_one)().eval())
        assert model(torch.empty(2, 4, 8, 8)).device.type == "meta"


def test_what_fails_runs_as_it_was_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("lamina.graph.layout.restore_strides", fails)
    model = spelled(two_of_one)().eval()
    report = Report("Spelled")
    x = torch.randn(2, 4, 8, 8)
    with torch.no_grad():
        compiled = torch.compile(model, backend=Backend(report))
        torch.testing.assert_close(compiled(x), model(x), rtol=0, atol=0)
    assert "as it was, RuntimeError while it was rewritten: a fault of ours" in report.summary()


def test_batches_of_any_size_and_images_of_any_size() -> None:
    torch.manual_seed(0)
    plain = drawn(NETWORKS["resnet18"]()).eval()
    ours = optimize(plain, copy=True)
    for shape in ((1, 3, 32, 32), (3, 3, 32, 32), (5, 3, 40, 48), (2, 3, 64, 64), (1, 3, 33, 35)):
        assert_infers_alike(ours, plain, torch.randn(shape))
    assert len(ours.lamina_report.graphs) <= 4
