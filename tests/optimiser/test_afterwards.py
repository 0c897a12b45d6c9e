"""What is done to an optimised model, by hand and by other tools, counts at its next call."""

import copy
import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.checkpoint import checkpoint

from lamina.optimiser import optimize, restore
from tests.models.agreement import assert_agree

from . import odd_modules as odd
from .alike import assert_same, small


def test_weights_that_change_count_at_the_next_call():
    model, plain = optimize(small().eval()), small().eval()
    x = torch.randn(2, 3, 8, 8)
    assert_same(model, plain, x)
    for network in (model, plain):
        network[0].weight.data.mul_(2)
        network[1].running_var.data.mul_(3)
        network[4].bn1.bias.data.add_(0.5)
    assert_same(model, plain, x)
    torch.manual_seed(9)
    state = {k: torch.rand_like(v) if v.dim() else v for k, v in plain.state_dict().items()}
    for network in (model, plain):
        network.load_state_dict(state)
    assert_same(model, plain, x)
    for network in (model, plain):
        network[0].weight.data = torch.ones(8, 3, 3, 3)
        network.load_state_dict(state, assign=True)
        network[1].eps = 0.1
    assert_same(model, plain, x)


def test_modes_and_frozen_parts_may_be_switched_at_any_time():
    model, plain = optimize(small()), small()
    x = torch.randn(4, 3, 8, 8)

    def switched(*changes):
        for change in changes:
            for network in (model, plain):
                change(network)
            assert_same(model, plain, x)

    switched(
        nn.Module.eval,
        lambda m: m.requires_grad_(False),
        lambda m: m[4].requires_grad_(True),
        lambda m: m.train(),
        lambda m: m[1].eval(),
        lambda m: m[0].weight.requires_grad_(True),
    )
    assert_agree(model, plain, x, kinks=1e-4)
    for (name, ours), theirs in zip(model.named_buffers(), plain.buffers(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


@pytest.mark.parametrize(("calls", "watched_calls"), [(0, 1), (1, 1), (3, 1), (3, 6)])
@pytest.mark.parametrize("watched", [0, 1, 2])
def test_hooks_see_what_they_saw(watched, calls, watched_calls):
    model, plain, seen = optimize(small().eval()), small().eval(), {"ours": [], "plain": []}
    x = torch.randn(4, 3, 8, 8)

    def watch(network, name):
        return network[watched].register_forward_hook(
            lambda module, inputs, y: seen[name].append((inputs[0].clone(), y.clone()))
        )

    with torch.no_grad():
        for _ in range(calls):
            model(x)
        handles = watch(plain, "plain"), watch(model, "ours")
        for _ in range(watched_calls):
            torch.testing.assert_close(model(x), plain(x))
        torch.testing.assert_close(seen["ours"], seen["plain"])
        for handle in handles:
            handle.remove()
        for _ in range(2):
            torch.testing.assert_close(model(x), plain(x))
    assert len(seen["ours"]) == len(seen["plain"]) == watched_calls


def test_hooks_of_all_modules_and_those_that_change_a_result():
    model, plain, x = optimize(small().eval()), small().eval(), torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        for _ in range(3):
            model(x)
        handle = nn.modules.module.register_module_forward_pre_hook(
            lambda module, inputs: (inputs[0] * 2,) if isinstance(module, nn.Conv2d) else None
        )
        try:
            torch.testing.assert_close(model(x), plain(x))
        finally:
            handle.remove()
        torch.testing.assert_close(model(x), plain(x))


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


def patched(layer):
    layer.forward = torch.abs
    return layer


SURGERY = {
    "synchronised": nn.SyncBatchNorm.convert_sync_batchnorm,
    "fused": fuse,
    "fused by torch": lambda m: torch.ao.quantization.fuse_modules(m, [["0.0", "0.1", "0.2"]]),
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
    "patched norm": replace(1, patched),
    "patched activation": replace(2, patched),
    "parametrised": lambda m: parametrizations.weight_norm(m[0][0]) and m,
    "pruned": lambda m: prune.l1_unstructured(m[0][0], "weight", 20) and m,
    "in double": lambda m: m.double(),
}


@pytest.mark.filterwarnings("ignore:.*is deprecated:UserWarning")
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
    ours = optimize(plain, copy=True)
    with torch.no_grad():
        ours(x)
    ours, theirs = SURGERY[surgery](ours), SURGERY[surgery](plain)
    x = x.to(next(theirs.parameters()).dtype)
    assert_same(ours, theirs, x)
    assert_same(restore(ours), theirs, x)


@pytest.mark.parametrize(
    "build",
    [
        odd.SharedNorm,
        odd.NormTwice,
        odd.FunctionalReLU,
        odd.ReusedInput,
        odd.TrainingBranch,
        odd.Switch,
        odd.FrozenNorm,
        lambda: odd.ResidualTwice(nn.SiLU()),
        lambda: odd.ResidualTwice(nn.ReLU(inplace=True)),
        lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.0), nn.ReLU()),
    ],
)
def test_what_looks_like_a_pair_and_is_none(build):
    torch.manual_seed(0)
    plain = build()
    ours = optimize(plain, copy=True)
    x = torch.randn(4, 3, 8, 8)
    assert_agree(ours, plain, x, kinks=1e-4)
    plain.eval(), ours.eval()
    assert_same(ours, plain, x)


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


def test_checkpointing_inside_and_around():
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.body = small()

        def forward(self, x):
            return checkpoint(self.body, x, use_reentrant=False)

    plain = Checkpointed()
    assert_agree(optimize(plain, copy=True), plain, torch.randn(4, 3, 8, 8), kinks=1e-4)
    ours, inner = optimize(small()), small()
    x = torch.randn(4, 3, 8, 8, requires_grad=True)
    checkpoint(ours, x, use_reentrant=False).sum().backward()
    got, x.grad = x.grad, None
    inner(x).sum().backward()
    torch.testing.assert_close(got, x.grad, rtol=1e-3, atol=1e-5)


def test_an_average_of_the_weights_is_a_model_of_its_own():
    model = optimize(small())
    average = torch.optim.swa_utils.AveragedModel(model)
    x = torch.randn(4, 3, 8, 8)
    model(x).sum().backward()
    with torch.no_grad():
        model[0].weight.add_(1.0)
    average.update_parameters(model)
    plain = copy.deepcopy(average.module)
    assert_same(average.module.eval(), plain.eval(), x)


@pytest.mark.parametrize("export", ["export", "trace", "restored"])
def test_it_exports_as_pytorchs_ops(export):
    model = optimize(small().eval())
    x = torch.randn(2, 3, 8, 8)
    expected = model(x)
    if export == "trace":
        exported = torch.jit.trace(model, x)
    else:
        model = restore(model) if export == "restored" else model
        program = torch.export.export(model, (x,))
        assert not [n for n in program.graph.nodes if "lamina" in str(n.target)]
        exported = program.module()
    torch.testing.assert_close(exported(x), expected)


def test_threads_share_a_model():
    model = optimize(small().eval())
    x = torch.randn(4, 3, 8, 8)
    with torch.no_grad():
        expected = model(x)
        results = []

        def call():
            with torch.no_grad():
                results.append(model(x))

        threads = [threading.Thread(target=call) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(results) == 4
    for result in results:
        torch.testing.assert_close(result, expected)


def test_a_wrapper_runs_its_module_whole():
    plain = nn.DataParallel(small()).eval()
    assert_same(optimize(plain, copy=True), plain, torch.randn(2, 3, 8, 8))
