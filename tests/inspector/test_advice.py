"""Each rule of advice speaks where it should, is silent elsewhere, and its gain was measured."""

import json

import pytest
import torch
from torch import nn

import lamina.nn
from lamina.inspector import inspect
from lamina.inspector.advice import rules
from lamina.inspector.advice.variants import exchanged, kept_energy, separated
from lamina.ops.tuning import machine as machine_measurement
from lamina.theory.limits import Machine

MACHINE = Machine(peak_flops=100e9, bandwidth=10e9)


@pytest.fixture
def clock(monkeypatch):
    """What the clock is to say of a layer as it is and of what would take its place."""
    said = [3e-3, 1e-3]
    monkeypatch.setattr(rules, "seconds_of_each", lambda ways, x, seconds: list(said))
    return said


def advice(model, size=(2, 3, 16, 16)):
    account = inspect(model, size, measure=True, seconds=0.05, machine=MACHINE)
    return {item.rule: item for item in account.advice}


def test_a_separable_convolution_in_the_place_of_a_wide_one(clock):
    found = advice(nn.Sequential(nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3)))
    item = found["separable_convolution"]
    assert item.where == "2"
    assert item.evidence["macs_now"] == 2 * 12 * 12 * 32 * 64 * 9
    assert item.evidence["macs_then"] == 2 * 12 * 12 * (32 * 9 + 32 * 64)
    assert 1 / 9 < item.evidence["kept_energy"] < 1
    assert item.predicted_gain > 0
    assert item.measured_gain == pytest.approx(
        (item.evidence["now_ms"] - item.evidence["then_ms"]) / 1e3
    )
    assert "not tried" in item.accuracy


def test_the_kept_energy_is_that_of_the_nearest_separable_kernel():
    conv = nn.Conv2d(6, 10, 3, padding=1).double()
    depthwise, pointwise = (part.double() for part in separated(conv))
    nearest = pointwise.weight * depthwise.weight.transpose(0, 1)
    lost = (conv.weight - nearest).square().sum() / conv.weight.square().sum()
    assert kept_energy(conv.weight.detach()) == pytest.approx(1 - lost.item(), abs=1e-6)


def test_a_separable_kernel_loses_nothing():
    conv = nn.Conv2d(6, 10, 3, padding=1)
    with torch.no_grad():
        conv.weight.copy_(torch.randn(10, 6, 1, 1) * torch.randn(1, 6, 3, 3))
    depthwise, pointwise = separated(conv)
    x = torch.randn(1, 6, 8, 8)
    assert kept_energy(conv.weight.detach()) == pytest.approx(1.0)
    torch.testing.assert_close(pointwise(depthwise(x)), conv(x), rtol=1e-4, atol=1e-4)


def test_a_head_on_every_pixel(clock):
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(), nn.Linear(8 * 196, 50)
    )
    item = advice(model)["global_pooling_head"]
    assert item.where == "4"
    assert item.evidence["parameters_saved"] == (8 * 196 - 8) * 50
    assert item.measured_gain is not None
    pooled = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 50)
    )
    assert "global_pooling_head" not in advice(pooled)


def test_a_bias_before_a_norm(clock):
    item = advice(nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()))[
        "bias_before_norm"
    ]
    assert (item.where, item.evidence["parameters"]) == ("0", 8)
    bare = nn.Sequential(nn.Conv2d(3, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU())
    assert "bias_before_norm" not in advice(bare)
    behind = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8))
    assert "bias_before_norm" not in advice(behind)


def test_a_norm_behind_the_activation(clock):
    item = advice(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)))[
        "norm_before_activation"
    ]
    assert item.where == "2"
    assert item.predicted_gain > 0


HEAD = (nn.Conv2d(3, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 196, 50))
WIDE = (nn.Conv2d(3, 32, 3), nn.ReLU(), nn.Conv2d(32, 64, 3))


@pytest.mark.parametrize(
    ("layers", "rule", "least"),
    [
        (WIDE, "separable_convolution", 1.1),
        ((nn.Conv2d(3, 8, 3), nn.ReLU(), nn.BatchNorm2d(8)), "norm_before_activation", 1.1),
        (WIDE, "exchange_layer", 1.1),
        (HEAD, "global_pooling_head", 1 / 1.1),  # it saves parameters, and has to cost no time
        ((nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)), "bias_before_norm", 1 / 1.1),
    ],
)
def test_nothing_is_advised_that_the_clock_denies(clock, layers, rule, least):
    for times, said in ((1.02 * least, True), (0.98 * least, False)):
        clock[:] = [times * 1e-3, 1e-3]
        assert (rule in advice(nn.Sequential(*layers))) is said


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(64, 64, 1),
        lamina.nn.Conv2d(64, 64, 1),
        nn.Conv2d(64, 1, (3, 1)),  # as many operations in two steps
    ],
)
def test_nothing_is_advised_that_theory_denies(clock, layer):
    account = inspect(layer, (2, 64, 56, 56), measure=True, seconds=0.05, machine=MACHINE)
    assert [item.rule for item in account.advice if item.rule != "exchange_layer"] == []
    for item in account.advice:
        assert item.predicted_gain > 0


def test_no_gain_of_nothing_is_shown(clock):
    clock[:] = [1e-3, 1.01e-3]
    account = inspect(
        nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)),
        (2, 3, 16, 16),
        measure=True,
        seconds=0.05,
        machine=Machine(peak_flops=1e15, bandwidth=1e9),  # where memory decides, a bias costs none
    )
    (item,) = account.advice
    assert item.rule == "bias_before_norm" and item.predicted_gain == 0
    for shown in (account.to_html(), str(account)):
        assert "+0 ms" not in shown and "no faster" in shown and "longer" not in shown


BUSY = Machine(peak_flops=48e6, bandwidth=32e6)


@pytest.mark.parametrize("until", [0, 1, 3, 9])
def test_a_machine_that_rows_deny_is_measured_again_and_else_not_believed(monkeypatch, until):
    asked = []

    def measured(*, again=False):
        asked.append(again)
        return BUSY if len(asked) <= until else Machine(peak_flops=1e15, bandwidth=1e15)

    monkeypatch.setattr(machine_measurement, "measure", measured)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 512), nn.Linear(512, 512))
    account = inspect(model, (16, 3, 32, 32), measure=True, seconds=0.05)
    assert asked == [False, True, True, True][: until + 1]
    if until < 4:
        assert account.machine.peak_flops == 1e15 and account.notes == []
        assert all(row.limit_forward is not None for row in account.rows)
        return
    assert account.machine is None and account.advice == []
    assert all(row.limit_forward is None for row in account.rows)
    assert "above the peak of 4.8e+07; measure again while nothing else runs" in str(account)


@pytest.mark.parametrize(
    ("layer", "size"),
    [
        (nn.Conv2d(3, 8, 3, stride=2, padding=1), (2, 3, 9, 9)),
        (nn.BatchNorm2d(4), (2, 4, 5, 5)),
        (nn.MaxPool2d(2), (2, 4, 8, 8)),
        (nn.Linear(6, 3), (2, 6)),
    ],
)
def test_an_exchanged_layer_computes_the_same(layer, size):
    x = torch.randn(size)
    other = exchanged(layer.eval())
    assert type(other).__module__.startswith("lamina.nn")
    torch.testing.assert_close(other(x), layer(x))
    assert exchanged(nn.ReLU()) is None


def test_timing_a_change_leaves_the_model_alone():
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU()).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    account = inspect(model, (2, 3, 16, 16), training=True, measure=True, seconds=0.05)
    assert account.advice
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training


def test_no_advice_without_measuring():
    assert inspect(nn.Conv2d(32, 64, 3), (1, 32, 16, 16), machine=MACHINE).advice == []


def test_health_with_data():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        model[1].bias.fill_(-100.0)
    data = [(torch.rand(16, 3, 2, 2), torch.randint(4, (16,))) for _ in range(3)]
    account = inspect(model, input_data=data[0][0], training=True, train_data=data)
    rows = {row.label: row for row in account.rows}
    assert rows["2"].health.dead == 1.0
    assert rows["3"].health.gradient_norm > 0
    assert "dead_channels" in {finding.rule for finding in account.diagnoses}
    assert "Findings" in account.to_html() and "Gradient norm along depth" in account.to_html()


def test_a_training_that_broke_is_still_json_and_a_page():
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 4))
    nn.init.constant_(model[1].weight, float("nan"))
    data = [(torch.rand(16, 3, 2, 2), torch.randint(4, (16,)))]
    account = inspect(model, input_data=data[0][0], training=True, train_data=data)
    # The gradient was so before the first step: the loss that follows is no finding of its own.
    assert [finding.rule for finding in account.diagnoses] == ["exploding_gradient"]

    def refuse(word):
        raise AssertionError(f"{word} is no JSON")

    assert json.loads(account.to_json(), parse_constant=refuse)["diagnoses"][0]["measured"] is None
    assert "not finite" in account.to_html() and "not finite" in str(account)
