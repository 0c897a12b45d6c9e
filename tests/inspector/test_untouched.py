"""Nothing of a model or of the process changes, whatever happens; and a second call agrees."""

import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parameter import is_lazy

from lamina.errors import InputError
from lamina.inspector import ForwardError, inspect
from tests.inspector.networks import Hand, Wrap


class Restless(nn.Module):
    """Counts its calls, changes a buffer by assignment, draws random numbers, clips its weight."""

    def __init__(self, depends_on_data=False, fails=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.norm = nn.BatchNorm2d(4)
        self.register_buffer("seen", torch.zeros(()))
        self.calls, self.log = 0, []
        self.depends_on_data, self.fails = depends_on_data, fails

    def forward(self, x):
        self.calls += 1
        self.log.append(random.random() + np.random.rand())
        self.seen = self.seen + 1
        with torch.no_grad():
            self.conv.weight.clamp_(-0.01, 0.01)
        x = self.norm(self.conv(x)) + torch.rand(())
        if self.depends_on_data and x.sum() > 1e9:
            x = -x
        if self.fails:
            raise RuntimeError("on purpose")
        return x


def everything(model):
    state = {name: tensor.clone() for name, tensor in model.state_dict(keep_vars=True).items()}
    grads = {
        name: (p.grad, None if p.grad is None else p.grad.clone())
        for name, p in model.named_parameters()
    }
    identities = {name: id(tensor) for name, tensor in model.state_dict(keep_vars=True).items()}
    flags = [module.training for module in model.modules()]
    hooks = [
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        for m in model.modules()
    ]
    generators = torch.get_rng_state(), random.getstate(), np.random.get_state()
    return state, grads, identities, flags, hooks, generators


def assert_same(before, after):
    for name, tensor in before[0].items():
        assert torch.equal(tensor, after[0][name]), name
    for name, (grad, value) in before[1].items():
        assert after[1][name][0] is grad
        assert grad is None or torch.equal(value, after[1][name][1])
    assert before[2:5] == after[2:5]
    assert torch.equal(before[5][0], after[5][0])
    assert before[5][1] == after[5][1]
    assert np.array_equal(before[5][2][1], after[5][2][1])


@pytest.mark.parametrize("depends_on_data", [False, True], ids=["fake", "real"])
@pytest.mark.parametrize("fails", [False, True], ids=["returns", "raises"])
def test_nothing_changes(depends_on_data, fails):
    model = Restless(depends_on_data, fails)
    model.train()
    model.norm.eval()
    model.conv.weight.grad = torch.ones_like(model.conv.weight)
    before = everything(model)
    try:
        inspect(model, (2, 3, 8, 8), training=True)
    except ForwardError as error:
        assert fails and "on purpose" in str(error)
    else:
        assert not fails
    assert_same(before, everything(model))
    assert (model.calls, model.log) == (0, [])
    assert not torch.nn.modules.module._global_forward_hooks
    assert not torch.nn.modules.module._global_forward_pre_hooks
    assert torch.overrides._get_current_function_mode() is None


def test_a_second_call_gives_the_same_answer():
    model = Hand()
    assert inspect(model, (1, 3, 32, 32)).as_dict() == inspect(model, (1, 3, 32, 32)).as_dict()


def test_the_callers_tensors_get_no_gradient():
    x = torch.randn(1, 3, 32, 32, requires_grad=True)
    account = inspect(Hand(), input_data=x)
    assert x.grad is None
    # The stem's input gradient is now part of the backward pass.
    assert account.totals.backward.macs == 2 * account.totals.macs


def test_gradients_switched_off_outside_do_not_matter():
    with torch.no_grad():
        assert inspect(Hand(), (1, 3, 32, 32)).totals.backward.macs == 6_555_648


def test_an_exception_in_a_function_leaves_no_mode_behind():
    with pytest.raises(ForwardError, match="mat1 and mat2"):
        inspect(Wrap(lambda x: x @ x), (2, 3))
    assert torch.utils._python_dispatch._get_current_dispatch_mode() is None


class MakesItsHead(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.head = nn.Conv2d(3, 4, 3), None

    def forward(self, x):
        x = self.conv(x).mean((2, 3))
        if self.head is None:
            self.head = nn.Linear(x.shape[1], 5)
        return self.head(x)


class MakesAWeight(nn.Module):
    def forward(self, x):
        if not hasattr(self, "weight"):
            self.weight = nn.Parameter(torch.ones(x.shape[1], 1, 1))
        return x * self.weight


@pytest.mark.parametrize(
    ("build", "name"), [(MakesItsHead, "head.weight"), (MakesAWeight, "weight")]
)
def test_parameters_made_in_forward_are_refused_and_unmade(build, name):
    model = build()
    before = set(model.state_dict())
    for _ in range(2):
        with pytest.raises(InputError, match=f"^the model makes '{name}' in forward; run it once"):
            inspect(model, (2, 3, 8, 8))
        assert set(model.state_dict()) == before
    model(torch.zeros(2, 3, 8, 8))
    count = sum(parameter.numel() for parameter in model.parameters())
    assert inspect(model, (2, 3, 8, 8)).totals.parameters == count


def test_a_lazy_model_that_cannot_be_copied_is_refused():
    model = nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    model.batches = (x for x in ())
    with pytest.raises(InputError, match=r"cannot be copied: .*; run it once, then inspect it$"):
        inspect(model, (2, 3, 8, 8))
    assert is_lazy(model[1].weight)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("mode", [True, False])
@pytest.mark.parametrize("asked", [True, False, None])
def test_parts_in_torchscript_keep_their_mode(mode, asked):
    body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout())
    traced = torch.jit.trace(body.eval(), torch.randn(2, 3, 8, 8))
    model = nn.Sequential(traced, torch.jit.script(nn.Sequential(nn.Conv2d(4, 4, 1))))
    model.train(mode)
    model[0].eval()
    before = everything(model)
    assert inspect(model, (2, 3, 8, 8), training=asked).totals.macs == 2 * 36 * (4 * 27 + 16)
    assert_same(before, everything(model))


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore:torch.quantize_per:UserWarning")
def test_quantised_parts_are_run_on_real_tensors():
    plain = nn.Sequential(nn.Flatten(), nn.Linear(192, 10), nn.ReLU(), nn.Conv1d(2, 3, 1))
    model = torch.ao.quantization.quantize_dynamic(plain, {nn.Linear})
    account = inspect(model, (2, 3, 8, 8))
    assert account.totals.coverage == "partial" and account.totals.macs == 3 * 2 * 10
    assert any("on real tensors" in note for note in account.notes)
