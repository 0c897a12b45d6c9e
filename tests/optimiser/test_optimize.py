"""`lamina.optimize`: the same numbers from the same model, in place, whatever is done to it."""

import copy
import io
import pickle

import pytest
import torch
from torch import nn

from lamina.optimiser import optimize, restore

from .alike import assert_same, small


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
