"""`lamina.restore` gives the plain torch model, whatever it was built from."""

import copy

import pytest
import torch
from torch import nn

import lamina.nn
from lamina.optimiser import optimize, restore


@pytest.mark.parametrize(
    ("layer", "problem"),
    [
        (lamina.nn.Conv2d(1, 1, 3, padding=((0, 1), (0, 1))), r"no padding=\(\(0, 1\), \(0, 1\)\)"),
        (lamina.nn.Conv2d(1, 1, 3, stride=2, padding="same"), "no padding='same'"),
        (lamina.nn.MaxPool2d(3, padding="same"), "no padding='same'"),
        (lamina.nn.BatchNorm2d(1, running_variance="biased"), "no running_variance='biased'"),
        (lamina.nn.Flatten(order="hwc"), "no order='hwc'"),
        (lamina.nn.Dropout(seed=1), "no key=1"),
        (lamina.nn.SeparableBlock(1, 1), "torch.nn has no SeparableBlock"),
        (lamina.nn.SqueezeExcite(4, 2, "softmax"), "torch.nn has no softmax"),
        (lamina.nn.DropPath(seed=3), "no seed=3"),
        (lamina.nn.Linear(None, 2), "size is not known"),
    ],
)
def test_restore_refuses_what_torch_has_not_and_changes_nothing(layer, problem):
    model = nn.Sequential(lamina.nn.ReLU(), layer)
    with pytest.raises(ValueError, match=f"^restore: layer '1' cannot be plain: .*{problem}"):
        restore(model)
    assert type(model[0]) is lamina.nn.ReLU


def test_restore_makes_lamina_layers_plain():
    torch.manual_seed(0)
    ours = nn.Sequential(
        lamina.nn.DepthwiseConv2d(3, 3, padding=1), lamina.nn.PointwiseConv2d(3, 4)
    )
    x = torch.randn(2, 3, 6, 6)
    expected = ours(x)
    plain = restore(ours)
    assert type(plain[0]) is nn.Conv2d and plain[0].groups == 3
    torch.testing.assert_close(plain(x), expected)


def test_an_algorithm_is_no_reason_to_stay():
    """It says how a layer computes; a plain one computes the same in its own way."""
    model = nn.Sequential(
        lamina.nn.Conv2d(3, 4, 3, algorithm="direct"), lamina.nn.PointwiseConv2d(4, 2)
    )
    x = torch.randn(1, 3, 8, 8)
    expected = model(x)
    plain = restore(model)
    assert type(plain[0]) is nn.Conv2d and not hasattr(plain[0], "algorithm")
    torch.testing.assert_close(plain(x), expected, rtol=1e-4, atol=1e-5)


COMPOSITES = {
    "separable": lambda: lamina.nn.SeparableConv2d(4, 6, 3, stride=2, padding=1),
    "global mean": lamina.nn.GlobalAvgPool2d,
    "global mean without axes": lambda: lamina.nn.GlobalAvgPool2d(keepdims=False),
    "global maximum": lamina.nn.GlobalMaxPool2d,
    "squeeze": lambda: lamina.nn.SqueezeExcite(4, 2, "silu", "hardsigmoid"),
    "branch": lambda: lamina.nn.DropPath(0.3),
}


@pytest.mark.parametrize("name", COMPOSITES)
def test_restore_takes_apart_what_torch_has_in_pieces(name):
    torch.manual_seed(0)
    layer = COMPOSITES[name]().eval()
    layer.register_forward_hook(lambda *_: None)
    x = torch.randn(2, 4, 9, 8)
    keys, expected = list(layer.state_dict()), layer(x)
    plain = restore(layer)
    assert plain is layer and list(plain.state_dict()) == keys and not plain.training
    assert not any(type(m).__module__.startswith("lamina.nn") for m in plain.modules())
    assert len(plain._forward_hooks) == 1
    torch.testing.assert_close(plain(x), expected, rtol=1e-5, atol=1e-6)
    assert repr(plain) and copy.deepcopy(plain)(x).shape == expected.shape


def test_a_branch_is_dropped_with_its_probability():
    plain = restore(lamina.nn.DropPath(0.25))
    y = plain(torch.ones(4000, 2, 1, 1))
    assert sorted(set(y.flatten().tolist())) == pytest.approx([0.0, 4 / 3])
    assert float((y == 0).double().mean()) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("name", lamina.models.names())
def test_restore_gives_every_network_of_ours_in_torch_nn(name):
    options = {} if name in ("vgg16",) or name.startswith(("resnet", "digits")) else {"width": 0.35}
    torch.manual_seed(0)
    model = lamina.models.get(name, num_classes=4, **options).double().eval()
    x = torch.randn(2, 1 if name.startswith("digits") else 3, 32, 32, dtype=torch.float64)
    x = x[..., :8, :8] if name.startswith("digits") else x
    state = {key: value.clone() for key, value in model.state_dict().items()}
    expected = model(x)
    plain = restore(model)
    assert not any(type(m).__module__.startswith("lamina.nn") for m in plain.modules())
    assert list(plain.state_dict()) == list(state)
    torch.testing.assert_close(dict(plain.state_dict()), state, rtol=0, atol=0)
    torch.testing.assert_close(plain(x), expected)
    again = optimize(plain.float())
    torch.testing.assert_close(again(x.float()).double(), expected, rtol=1e-3, atol=1e-4)
