"""What looks like a pair of normalisation and activation, and what is said of it."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm

from lamina.optimiser import optimize, restore
from lamina.optimiser.fused import FusedActivation, FusedBatchNorm2d, SharedReLU
from tests.models.agreement import assert_agree

from . import odd_modules as odd


def note(model, name):
    (row,) = [row for row in model.lamina_report.rows if row.name == name]
    return row.note


@pytest.mark.parametrize(
    ("build", "norm", "reason"),
    [
        (odd.SharedNorm, "bn1", "it is called more than once"),
        (odd.NormTwice, "bn", "it is called more than once"),
        (odd.FunctionalReLU, "bn", "the relu behind it is a call in forward, not a module"),
        (odd.ReusedInput, "bn", "its output goes elsewhere too"),
        (odd.TrainingBranch, "bn", "its output goes elsewhere too"),
        (odd.Switch, "bn", "its output goes elsewhere too"),
        (odd.Taps, "features.1", "the model's forward may call it alone and cannot be traced"),
        (lambda: odd.ResidualTwice(nn.SiLU()), "bn1", "the SiLU behind it is called elsewhere too"),
        (lambda: odd.SharedActivation(nn.SiLU()), "block.bn", "called elsewhere too"),
        (lambda: odd.Inner(nn.LeakyReLU(0.2)), "bn", "a LeakyReLU with these arguments has no"),
        (lambda: odd.Inner(nn.GELU()), "bn", "a GELU with these arguments has no fused kernel"),
    ],
)
def test_no_pair_is_left_and_named(build, norm, reason):
    torch.manual_seed(0)
    plain = build()
    ours = optimize(plain, copy=True)
    module = ours.get_submodule(norm)
    assert not isinstance(module, FusedBatchNorm2d) and module.activation is None
    assert note(ours, norm).startswith("no fusion: ") and reason in note(ours, norm)
    assert_agree(ours, plain, torch.randn(4, 3, 8, 8))
    assert repr(restore(ours)) == repr(plain)


@pytest.mark.parametrize(
    ("build", "norm", "activation", "becomes"),
    [
        (odd.FrozenNorm, "bn", "relu", FusedActivation),
        (odd.Remembers, "bn", "relu", FusedActivation),
        (odd.Taps, "tail.0.0", "tail.0.1", FusedActivation),
        (lambda: odd.ResidualTwice(nn.ReLU(inplace=True)), "bn1", "relu", SharedReLU),
        (lambda: odd.SharedActivation(nn.ReLU()), "block.bn", "activation", SharedReLU),
        (lambda: odd.Inner(nn.LeakyReLU()), "bn", "activation", FusedActivation),
        (lambda: odd.Inner(nn.Hardswish()), "bn", "activation", FusedActivation),
    ],
)
def test_a_pair_is_fused(build, norm, activation, becomes):
    torch.manual_seed(0)
    plain = build()
    ours = optimize(plain, copy=True)
    assert type(ours.get_submodule(norm)) is FusedBatchNorm2d
    assert type(ours.get_submodule(activation)) is becomes
    if build is not odd.Remembers:  # which adds random numbers
        assert_agree(ours, plain, torch.randn(4, 3, 8, 8))
    assert repr(restore(ours)) == repr(plain)


def test_a_wrapper_runs_its_module_whole():
    model = nn.DataParallel(nn.Sequential(nn.BatchNorm2d(3), nn.ReLU()))
    assert optimize(model).lamina_report.fused == 1


def test_frozen_statistics_stay_frozen():
    model = optimize(odd.FrozenNorm())
    before = model.bn.running_mean.clone()
    model(torch.randn(4, 3, 8, 8)).sum().backward()
    assert torch.equal(model.bn.running_mean, before)
    assert model.bn.weight.grad is None and model.conv.weight.grad is not None


def test_switches_keep_their_meaning():
    plain = odd.Switch().eval()
    ours = optimize(plain, copy=True)
    x = torch.randn(2, 3, 8, 8)
    for arguments in ({}, {"tap": True}, {"scale": torch.tensor(2.0), "tap": True}):
        torch.testing.assert_close(ours(x, **arguments), plain(x, **arguments))


def test_tracing_leaves_nothing_behind():
    model = odd.Remembers()
    random_state = torch.get_rng_state()
    optimize(model)
    assert model.seen is None and int(model.calls) == 0 and model.training
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("watched", ["bn", "relu"])
def test_hooks_keep_their_layer_plain_and_see_what_they_saw(watched):
    model, seen = odd.Inner(nn.ReLU()), []
    layer = {"bn": model.bn, "relu": model.activation}[watched]
    layer.register_forward_hook(lambda module, inputs, output: seen.append((inputs, output)))
    x = torch.randn(4, 3, 8, 8)
    expected = model(x)
    optimize(model)
    assert type(layer) in (nn.BatchNorm2d, nn.ReLU)
    assert not isinstance(model.bn, FusedBatchNorm2d)
    torch.testing.assert_close(model(x), expected)
    (before, after) = seen
    torch.testing.assert_close(after[0], before[0])
    torch.testing.assert_close(after[1], before[1])
    name = {"bn": "bn", "relu": "activation"}[watched]
    assert "it has hooks" in note(model, name)
    assert "hooks" in note(model, "bn")


class MyConv(nn.Conv2d):
    def forward(self, x):
        return 2 * super().forward(x)


def narrowed():
    layer = nn.BatchNorm2d(8)
    layer.weight = nn.Parameter(layer.weight[:4].detach())
    return layer


def replaced():
    layer = nn.Conv2d(3, 4, 3)
    layer.forward = lambda x: x
    return layer


def unusual():
    layer = nn.Dropout(0.5)
    layer.p = float("nan")
    return layer


class MyParameter(nn.Parameter):
    pass


def other_parameter():
    layer = nn.Linear(2, 2)
    layer.weight = MyParameter(torch.ones(2, 2))
    return layer


def without_bias():
    layer = nn.BatchNorm2d(2)
    layer.weight = None
    return layer


@pytest.mark.parametrize(
    ("build", "reason"),
    [
        (lambda: MyConv(3, 4, 3), "a subclass of torch.nn.Conv2d, which may compute something"),
        (lambda: parametrizations.weight_norm(nn.Conv2d(3, 4, 3)), "its weight is parametrized"),
        (lambda: prune.l1_unstructured(nn.Linear(4, 4), "weight", 2), "it has hooks"),
        (lambda: nn.LazyConv2d(4, 3), "its size is not known yet"),
        (lambda: nn.GroupNorm(1, 4), "lamina has no GroupNorm"),
        (lambda: nn.Conv2d(3, 4, 3, dtype=torch.complex64), "its weight is torch.complex64"),
        (narrowed, r"its weight is (4,), its arguments say (8,)"),
        (replaced, "its forward was replaced on the instance"),
        (unusual, "its arguments do not fit lamina.nn's: p must be a number in [0, 1], got nan"),
        (other_parameter, "its weight is a MyParameter"),
        (without_bias, "its weight was set or removed after it was made"),
        (nn.PReLU, "lamina has no PReLU"),
    ],
)
def test_a_layer_that_is_left_stays_what_it_is(build, reason):
    layer = build()
    kind, state = type(layer), vars(layer).keys()
    model = optimize(nn.Sequential(layer))
    assert type(model[0]) is kind and vars(layer).keys() == state
    (row,) = [row for row in model.lamina_report.rows if row.name == "0"]
    assert row.after is None and reason in row.note


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_old_weight_norm_is_left_to_its_hook():
    plain = weight_norm(nn.Conv2d(3, 4, 3))
    model = optimize(nn.Sequential(plain))
    assert type(model[0]) is nn.Conv2d and "hooks" in model.lamina_report.rows[0].note


def test_a_model_that_cannot_be_copied_is_exchanged_without_fusion():
    model = nn.Sequential(nn.BatchNorm2d(3), nn.ReLU())
    model.batches = (x for x in ())  # neither can a file or a lock
    optimize(model)
    assert model.lamina_report.fused == 0
    assert "the model cannot be copied" in note(model, "0")
