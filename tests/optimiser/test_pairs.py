"""What looks like a pair of normalisation and activation, and what other tools may do to it."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune, weight_norm
from torch.nn.utils.fusion import fuse_conv_bn_eval

import lamina.nn
from lamina.optimiser import optimize, restore
from tests.models.agreement import assert_agree

from . import odd_modules as odd


def note(model, name):
    (row,) = [row for row in model.lamina_report.rows if row.name == name]
    return row.note


@pytest.mark.parametrize(
    ("build", "norm", "reason"),
    [
        (odd.SharedNorm, "bn1", "up to the forward of its SharedNorm"),
        (odd.NormTwice, "bn", "up to the forward"),
        (odd.FunctionalReLU, "bn", "up to the forward"),
        (odd.ReusedInput, "bn", "up to the forward"),
        (odd.TrainingBranch, "bn", "up to the forward"),
        (odd.Switch, "bn", "up to the forward"),
        (odd.FrozenNorm, "bn", "up to the forward"),
        (lambda: odd.ResidualTwice(nn.SiLU()), "bn1", "up to the forward"),
        (lambda: in_order(nn.LeakyReLU(0.2)), "1", "no kernel normalises and applies LeakyReLU"),
        (lambda: in_order(nn.GELU()), "1", "no kernel normalises and applies GELU"),
        (lambda: in_order(nn.Dropout(0.0), nn.ReLU()), "1", "a Dropout stands between it"),
    ],
)
def test_no_pair_is_left_and_named(build, norm, reason):
    torch.manual_seed(0)
    plain = build()
    ours = optimize(plain, copy=True)
    assert ours.lamina_report.fused == 0
    assert note(ours, norm).startswith("no fusion: ") and reason in note(ours, norm)
    assert_agree(ours, plain, torch.randn(4, 3, 8, 8))
    assert repr(restore(ours)) == repr(plain)


def in_order(*behind):
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), *behind)


class Named(nn.Sequential):
    """A subclass as torchvision's blocks are."""


@pytest.mark.parametrize("kind", [nn.Sequential, Named, lamina.nn.Sequential])
@pytest.mark.parametrize(
    "activation", [nn.ReLU(inplace=True), nn.ReLU6(), nn.SiLU(), nn.Hardswish(), nn.LeakyReLU()]
)
def test_a_pair_is_run_in_one_pass(monkeypatch, kind, activation):
    torch.manual_seed(0)
    plain = kind(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), activation)
    ours = optimize(plain, copy=True)
    assert ours.lamina_report.fused == 1 and note(ours, "1").startswith("in one pass with")
    assert type(ours).__name__ == kind.__name__ and isinstance(ours, kind)
    assert_agree(ours, plain, torch.randn(4, 3, 8, 8), kinks=5e-3)
    activations = one_pass_calls(monkeypatch)
    ours(torch.randn(4, 3, 8, 8))
    assert activations == [lamina.nn.sequential.ACTIVATIONS[type(ours[2])]]
    restored = restore(ours)
    assert type(restored) is (nn.Sequential if kind is lamina.nn.Sequential else kind)
    assert type(restored[1]) is nn.BatchNorm2d and type(restored[2]) is type(activation)


def one_pass_calls(monkeypatch):
    """The activations that normalisations are asked to apply from now on."""
    seen, activated = [], lamina.nn.BatchNorm2d.activated

    def recorded(self, x, activation):
        seen.append(activation)
        return activated(self, x, activation)

    monkeypatch.setattr(lamina.nn.BatchNorm2d, "activated", recorded)
    return seen


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


@pytest.mark.parametrize("gradients", [True, False])
def test_what_forward_keeps_is_what_it_kept(gradients):
    torch.manual_seed(0)
    plain = odd.Keeps()
    ours = optimize(plain, copy=True)
    x = torch.randn(4, 3, 8, 8)
    for switch in (False, True, False):
        plain.taps_input = ours.taps_input = switch
        with torch.set_grad_enabled(gradients):
            torch.testing.assert_close(ours(x), plain(x))
        torch.testing.assert_close(ours.features, plain.features)
        torch.testing.assert_close(ours.by_name, plain.by_name)
        torch.testing.assert_close(ours.all, plain.all)


def test_optimising_runs_nothing_and_leaves_nothing_behind():
    model = odd.Remembers()
    random_state = torch.get_rng_state()
    optimize(model)
    assert model.seen is None and int(model.calls) == 0 and model.training
    assert torch.equal(torch.get_rng_state(), random_state)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("watched", [1, 2])
def test_hooks_see_what_they_saw(watched, when):
    torch.manual_seed(0)
    model, seen = in_order(nn.ReLU()), []

    def watch():
        model[watched].register_forward_hook(lambda module, inputs, y: seen.append((*inputs, y)))

    x = torch.randn(4, 3, 8, 8)
    if when == "before":
        watch()
        expected = model(x)
        optimize(model)
        assert type(model[watched]) in (nn.BatchNorm2d, nn.ReLU)
        assert "it has hooks" in note(model, str(watched)) and "hooks" in note(model, "1")
    else:
        handle = model[watched].register_forward_hook(
            lambda module, inputs, y: seen.append((*inputs, y))
        )
        expected = model(x)
        handle.remove()
        optimize(model)
        watch()
    torch.testing.assert_close(model(x), expected)
    for before, after in zip(*seen, strict=True):
        torch.testing.assert_close(after, before)


def to_groups(model):
    """As libraries of detectors exchange norms: by class, by attribute."""
    for name, child in model.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(model, name, nn.GroupNorm(2, child.num_features))
        else:
            to_groups(child)
    return model


class Frozen(nn.Module):
    """A library's own normalisation by the running statistics."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        norm = self.norm
        return nn.functional.batch_norm(
            x, norm.running_mean, norm.running_var, norm.weight, norm.bias
        )


def fuse(model):
    """A detector's own: convolution and norm become one, the norm's place is empty."""
    layers = model[0]
    layers[0] = fuse_conv_bn_eval(layers[0], layers[1])
    layers[1] = nn.Identity()
    return model


def replace(place, build):
    def change(model):
        model[0][place] = build(model[0][place])
        return model

    return change


SURGERY = {
    "synchronised": nn.SyncBatchNorm.convert_sync_batchnorm,
    "fused": fuse,
    "groups": to_groups,
    "frozen": replace(1, Frozen),
    "no norm": replace(1, lambda norm: nn.Identity()),
    "other activation": replace(2, lambda relu: nn.Tanh()),
    "slope": replace(2, lambda relu: nn.LeakyReLU(0.3)),
    "cut before": lambda model: model[0][1:],
    "cut between": lambda model: model[0][:2],
    "cut behind": lambda model: nn.Sequential(model[0][2], model[1]),
    "appended": lambda model: model.append(nn.Sigmoid()),
    "inserted": lambda model: nn.Sequential(*[*model[0]][:2], nn.Sigmoid(), *[*model[0]][2:]),
    "patched norm": replace(1, lambda norm: patched(norm)),
    "patched activation": replace(2, lambda relu: patched(relu)),
}


def patched(layer):
    layer.forward = torch.abs
    return layer


@pytest.mark.parametrize("surgery", SURGERY)
def test_what_other_tools_do_afterwards_counts(surgery):
    torch.manual_seed(0)
    plain = nn.Sequential(
        nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU()),
        nn.Conv2d(4, 4, 1),
    )
    x = torch.randn(4, 4, 8, 8)
    plain(x)  # running statistics of their own
    plain.eval()
    ours = SURGERY[surgery](optimize(plain, copy=True))
    theirs = SURGERY[surgery](plain)
    torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), theirs(x), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(restore(ours)(x), theirs(x), rtol=1e-4, atol=1e-5)


def test_the_same_surgery_on_layers_of_lamina():
    torch.manual_seed(0)
    build = lambda n: n.Sequential(n.Conv2d(4, 4, 3), n.BatchNorm2d(4), n.ReLU())  # noqa: E731
    ours, plain = build(lamina.nn), build(nn)
    ours.load_state_dict(plain.state_dict())
    x = torch.randn(4, 4, 8, 8)
    for change in (nn.SyncBatchNorm.convert_sync_batchnorm, to_groups, lambda m: m[:2]):
        changed, expected = change(copy.deepcopy(ours)).eval(), change(copy.deepcopy(plain)).eval()
        torch.testing.assert_close(changed(x), expected(x), rtol=1e-4, atol=1e-5)


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
