"""`lamina.optimize`: the same numbers from the same model, in place, whatever is done to it."""

import copy
import io
import pickle
import threading

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.utils.checkpoint import checkpoint

from lamina.optimiser import optimize, restore
from tests.models.agreement import assert_agree
from tests.models.torchvision_definitions import BasicBlock

from . import odd_modules as odd


def small():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        BasicBlock(8, 8),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Dropout(0.0),
        nn.Linear(8, 4),
    )


def assert_same(ours, plain, x):
    """In the mode in which they are, with and without gradients."""
    assert ours.training == plain.training
    torch.testing.assert_close(ours(x), plain(x), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), plain(x), rtol=1e-4, atol=1e-5)


def test_in_place_it_keeps_every_object():
    model = small()
    before = repr(model)
    modules, parameters = list(model.modules()), list(model.parameters())
    buffers, keys = list(model.buffers()), list(model.state_dict())
    random_state = torch.get_rng_state()
    assert optimize(model) is model
    assert torch.equal(torch.get_rng_state(), random_state)
    model.eval()(torch.randn(1, 3, 8, 8))
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(a is b for a, b in zip(model.buffers(), buffers, strict=True))
    assert type(model[0]) is nn.Conv2d
    assert list(model.state_dict()) == keys
    assert repr(model) == before


def test_a_copy_leaves_the_model_alone():
    model = small()
    ours = optimize(model, copy=True)
    assert not hasattr(model, "lamina_report")
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in ours.parameters()}
    assert not shared


def test_an_optimiser_made_before_trains_the_model():
    model, plain = small(), small()
    optimiser = torch.optim.SGD(model.parameters(), lr=1e-3)
    theirs = torch.optim.SGD(plain.parameters(), lr=1e-3)
    optimize(model)
    for step in range(3):
        torch.manual_seed(step)
        x = torch.randn(4, 3, 8, 8)
        for network, steps in ((model, optimiser), (plain, theirs)):
            steps.zero_grad()
            network(x).square().sum().backward()
            steps.step()
    torch.testing.assert_close(
        dict(model.state_dict()), dict(plain.state_dict()), rtol=1e-3, atol=1e-5
    )
    assert_same(model.eval(), plain.eval(), torch.randn(2, 3, 8, 8))


def test_the_report_says_what_runs_what():
    model = optimize(small().eval())
    assert str(model.lamina_report) == "Sequential: not called yet"
    with torch.no_grad():
        model(torch.randn(1, 3, 8, 8))
    rows = {row.layer: row for row in model.lamina_report.rows}
    stem = rows["0, 1, 2"]
    assert (stem.what, stem.runs, stem.fused) == ("conv2d + batch_norm + relu", "conv2d", 3)
    assert list(stem.chosen) == [(1, 3, 8, 8)]
    assert rows["4.conv2, 4.bn2, 4, 4.relu"].what == "conv2d + batch_norm + add + relu"
    assert "0, 1, 2: conv2d + batch_norm + relu -> conv2d (1×3×8×8: " in str(model.lamina_report)


def test_deepcopy_pickle_and_save_give_the_plain_model():
    ours = optimize(small()).eval()
    x = torch.randn(2, 3, 8, 8)
    expected = ours(x)
    saved = io.BytesIO()
    torch.save(ours, saved)
    saved.seek(0)
    for twin in (
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
        torch.load(saved, weights_only=False),
    ):
        torch.testing.assert_close(twin(x), expected)
        torch.testing.assert_close(optimize(twin)(x), expected)


def test_twice_is_once():
    model = optimize(optimize(small().eval()))
    assert_same(model, small().eval(), torch.randn(2, 3, 8, 8))
    assert repr(restore(model)) == repr(small())


def test_restore_runs_the_plain_model_again():
    model, plain = optimize(small().eval()), small().eval()
    x = torch.randn(2, 3, 8, 8)
    model(x)
    restore(model)
    assert not hasattr(model, "lamina_report")
    assert torch.equal(model(x), plain(x))
    assert vars(model).keys() - {"_compiled_call_impl"} == vars(plain).keys()


@pytest.mark.parametrize("model", [3, None, "resnet18", nn.Conv2d])
def test_what_is_no_module_is_refused(model):
    for function in (optimize, restore):
        with pytest.raises(TypeError, match=r"^model must be a torch\.nn\.Module, got "):
            function(model)


# ---- what is done to a model afterwards ---------------------------------------------------------


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


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("watched", [0, 1, 2])
def test_hooks_see_what_they_saw(watched, when):
    model, plain, seen = small().eval(), small().eval(), {"ours": [], "plain": []}
    x = torch.randn(4, 3, 8, 8)

    def watch(network, name):
        network[watched].register_forward_hook(
            lambda module, inputs, y: seen[name].append((inputs[0].clone(), y.clone()))
        )

    watch(plain, "plain")
    if when == "before":
        watch(model, "ours")
        optimize(model)
    else:
        optimize(model)
        model(x)
        watch(model, "ours")
    with torch.no_grad():
        torch.testing.assert_close(model(x), plain(x))
    torch.testing.assert_close(seen["ours"], seen["plain"])


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
