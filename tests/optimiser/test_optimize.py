"""`lamina.optimize` gives the same numbers from the same model, and `lamina.restore` the model."""

import copy
import io
import json
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import lamina.nn
from lamina.optimiser import optimize, restore
from tests.models.agreement import assert_agree, step
from tests.models.torchvision_definitions import BasicBlock, EfficientNet, MobileNetV2, ResNet

NETWORKS = {
    "mobilenet_v2": lambda: MobileNetV2(num_classes=10, width=0.35, dropout=0.0),
    "resnet18": lambda: ResNet(BasicBlock, (2, 2, 2, 2), num_classes=10),
    "efficientnet_b0": lambda: EfficientNet(10, width=0.35, dropout=0.0, drop_path=0.0),
}
PAIRS = {"mobilenet_v2": 35, "resnet18": 0, "efficientnet_b0": 33}
"""Those in a Sequential; of what a forward calls nothing is assumed."""


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


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network_gives_the_same_outputs_gradients_and_statistics(name):
    torch.manual_seed(1)
    plain = NETWORKS[name]()
    ours = optimize(plain, copy=True)
    assert ours.lamina_report.fused == PAIRS[name]
    assert all(row.before == "StochasticDepth" for row in ours.lamina_report.left)
    assert list(ours.state_dict()) == list(plain.state_dict())
    assert_agree(ours, plain, torch.randn(4, 3, 64, 64), kinks=5e-3, rounding=1e-4)


@pytest.mark.parametrize("name", NETWORKS)
def test_restore_gives_the_plain_network_back(name):
    plain = NETWORKS[name]()
    again = restore(optimize(plain, copy=True))
    assert [type(module) for module in again.modules()] == [type(m) for m in plain.modules()]
    assert repr(again) == repr(plain)
    for theirs, ours in zip(plain.modules(), again.modules(), strict=True):
        assert vars(ours).keys() == vars(theirs).keys()
    x = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.eval()(x), plain.eval()(x))


def test_in_place_it_keeps_every_object():
    model = small()
    modules, parameters = list(model.modules()), list(model.parameters())
    buffers = list(model.buffers())
    random_state = torch.get_rng_state()
    assert optimize(model) is model
    assert torch.equal(torch.get_rng_state(), random_state)
    assert all(a is b for a, b in zip(model.modules(), modules, strict=True))
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert all(a is b for a, b in zip(model.buffers(), buffers, strict=True))
    assert type(model[0]) is lamina.nn.Conv2d and isinstance(model[0], nn.Conv2d)


def test_a_copy_leaves_the_model_alone():
    model = small()
    before = repr(model)
    ours = optimize(model, copy=True)
    assert repr(model) == before and not hasattr(model, "lamina_report")
    shared = {p.data_ptr() for p in model.parameters()} & {p.data_ptr() for p in ours.parameters()}
    assert not shared


def test_an_optimiser_made_before_trains_the_model():
    model = small()
    optimiser = torch.optim.SGD(model.parameters(), lr=0.1)
    optimize(model)
    before = model[0].weight.detach().clone()
    model(torch.randn(4, 3, 8, 8)).square().sum().backward()
    optimiser.step()
    assert not torch.equal(model[0].weight, before)


def test_modes_flags_and_own_attributes_stay():
    model = small()
    model[1].eval()
    model[0].weight.requires_grad_(False)
    model[4].bn1.momentum, model[4].bn1.eps = None, 1e-3
    model[0].tag = "stem"
    model[0].register_buffer("mask", torch.ones(2), persistent=False)
    optimize(model)
    for _ in range(2):
        assert not model[1].training and model[2].training
        assert not model[0].weight.requires_grad
        assert (model[4].bn1.momentum, model[4].bn1.eps) == (None, 1e-3)
        assert model[0].tag == "stem"
        assert "0.mask" in dict(model.named_buffers())
        assert "0.mask" not in model.state_dict()
        restore(model)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_dtypes_run_on_torch_ops(dtype):
    plain = small().to(dtype).eval()
    ours = optimize(plain, copy=True)
    x = torch.randn(2, 3, 8, 8, dtype=dtype)
    torch.testing.assert_close(ours(x), plain(x))


def test_a_model_on_meta_stays_there():
    with torch.device("meta"):
        model = small()
    optimize(model)
    assert model(torch.empty(2, 3, 8, 8, device="meta")).shape == (2, 4)


def test_channels_last_on_request():
    plain = small()
    ours = optimize(plain, copy=True, channels_last=True)
    channels_last = {"memory_format": torch.channels_last}
    assert ours[0].weight.is_contiguous(**channels_last)
    x = torch.randn(2, 3, 8, 8)
    assert_agree(ours, plain, x)
    assert ours[:2](x.to(**channels_last)).is_contiguous(**channels_last)
    assert restore(ours)[0].weight.is_contiguous()


def test_deepcopy_pickle_and_save_keep_it_optimised():
    ours = optimize(small()).eval()
    x = torch.randn(2, 3, 8, 8)
    saved = io.BytesIO()
    torch.save(ours, saved)
    saved.seek(0)
    for twin in (
        copy.deepcopy(ours),
        pickle.loads(pickle.dumps(ours)),
        torch.load(saved, weights_only=False),
    ):
        assert torch.equal(twin(x), ours(x))
        assert [type(m) for m in twin.modules()] == [type(m) for m in ours.modules()]
        assert twin.lamina_report == ours.lamina_report
        assert repr(restore(twin)) == repr(small())


def test_weights_go_both_ways():
    torch.manual_seed(5)
    plain, ours = small(), optimize(small())
    with torch.no_grad():
        plain[0].weight.fill_(0.5)
    ours.load_state_dict(plain.state_dict())
    assert torch.equal(ours[0].weight, plain[0].weight)
    plain.load_state_dict(ours.state_dict())


@pytest.mark.parametrize("training", [True, False])
def test_it_compiles_whole(training):
    plain = small().train(training)
    ours = optimize(plain, copy=True)
    x = torch.randn(2, 3, 8, 8)
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    got, expected = step(compiled, x), step(plain, x)
    assert len(got) == len(expected)
    for (name, ours_value), value in zip(got.items(), expected.values(), strict=True):
        torch.testing.assert_close(ours_value, value, rtol=1e-4, atol=1e-5, msg=name)


def test_twice_is_once():
    model = optimize(small())
    types = [type(module) for module in model.modules()]
    optimize(model)
    assert [type(module) for module in model.modules()] == types
    assert model.lamina_report.exchanged == []
    assert repr(restore(model)) == repr(small())


def test_a_model_of_lamina_layers_is_fused_too():
    model = lamina.nn.Sequential(lamina.nn.BatchNorm2d(3, running_variance="biased"), nn.SiLU())
    optimize(model)
    assert model.lamina_report.fused == 1 and model[0].running_variance == "biased"


def test_without_fusion_layers_are_exchanged_alone():
    model = optimize(small(), fuse=False)
    assert model.lamina_report.fused == 0
    assert type(model) is nn.Sequential and type(model[2]) is lamina.nn.ReLU


def test_a_single_layer():
    layer = optimize(nn.Conv2d(3, 4, 3, padding="same"))
    assert type(layer) is lamina.nn.Conv2d and layer.padding == "same"
    assert [row.name for row in layer.lamina_report.rows] == ["(model)"]
    assert type(restore(layer)) is nn.Conv2d


@pytest.mark.parametrize("model", [3, None, "resnet18", nn.Conv2d])
def test_what_is_no_module_is_refused(model):
    for function in (optimize, restore):
        with pytest.raises(TypeError, match=r"^model must be a torch\.nn\.Module, got "):
            function(model)


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


def test_the_report_is_a_row_per_layer():
    model = nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4))
    report = optimize(model).lamina_report
    rows = {row.name: (row.before, row.after, row.note) for row in report.rows}
    assert rows == {
        "0": ("BatchNorm2d", "lamina.nn.BatchNorm2d", "in one pass with the ReLU '1'"),
        "1": ("ReLU", "lamina.nn.ReLU", "in one pass with the BatchNorm2d '0'"),
        "2": ("Conv2d", "lamina.nn.Conv2d", ""),
        "3": ("GroupNorm", None, "lamina has no GroupNorm"),
    }
    text = str(report)
    assert report.summary() in text and "lamina has no GroupNorm" in text
    assert json.loads(report.to_json())["rows"][3]["after"] is None
    assert "| 3 | GroupNorm | – | lamina has no GroupNorm |" in report.to_markdown()


LAYERS = {
    "conv": lambda: nn.Conv2d(4, 4, 3, padding=1),
    "depthwise": lambda: nn.Conv2d(4, 4, 5, padding=2, groups=4, bias=False),
    "norm": lambda: nn.BatchNorm2d(4),
    "norm1": lambda: nn.BatchNorm2d(4, affine=False, track_running_stats=False),
    "pair": lambda: nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
    "relu": nn.ReLU,
    "relu6": nn.ReLU6,
    "leaky": lambda: nn.LeakyReLU(0.2),
    "silu": nn.SiLU,
    "hardswish": nn.Hardswish,
    "gelu": nn.GELU,
    "max": lambda: nn.MaxPool2d(3, 1, 1),
    "mean": lambda: nn.AvgPool2d(2, 1, ceil_mode=True),
}


@given(st.lists(st.sampled_from(sorted(LAYERS)), min_size=1, max_size=7), st.integers(0, 99))
@settings(max_examples=10, deadline=None)
def test_any_sequence_agrees_and_comes_back(kinds, seed):
    torch.manual_seed(seed)
    plain = nn.Sequential(*(LAYERS[kind]() for kind in kinds))
    ours = optimize(plain, copy=True)
    assert_agree(ours, plain, torch.randn(2, 4, 8, 8), kinks=5e-3)
    assert repr(restore(ours)) == repr(plain)


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
    assert optimize(plain)[0].algorithm == "auto"


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
