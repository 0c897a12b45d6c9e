"""Every network is torchvision's (MobileNetV1: timm's): names, laws, outputs, gradients, counts."""

import re

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from lamina import models
from lamina.errors import InputError

from .agreement import assert_agree
from .torchvision_definitions import DEFINITIONS

NAMES = sorted(DEFINITIONS)
SCALED = ("efficientnet_b0", "mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")

# Parameters and entries of the state_dict, as torchvision and timm publish them.
PUBLISHED = {
    "efficientnet_b0": (5_288_548, 360),
    "mobilenet_v1": (4_231_976, 164),
    "mobilenet_v2": (3_504_872, 314),
    "mobilenet_v3_large": (5_483_032, 312),
    "mobilenet_v3_small": (2_542_856, 244),
    "resnet18": (11_689_512, 122),
    "resnet50": (25_557_032, 320),
    "vgg16": (138_357_544, 32),
}

# MACs of convolutions and dense layers at 224×224, as the docstrings and the docs give them.
MACS = {
    "efficientnet_b0": 385_814_752,
    "mobilenet_v1": 568_740_352,
    "mobilenet_v2": 300_774_272,
    "mobilenet_v3_large": 216_589_760,
    "mobilenet_v3_small": 56_510_400,
    "resnet18": 1_814_073_344,
    "resnet50": 4_089_184_256,
    "vgg16": 15_470_264_320,
}

# Spot checks of the definitions below, from files of weights that torchvision and timm give out.
ENTRIES = {
    "efficientnet_b0": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.0.block.0.0.weight": (32, 1, 3, 3),
        "features.1.0.block.1.fc1.weight": (8, 32, 1, 1),
        "features.4.2.block.2.fc2.bias": (480,),
        "features.6.0.block.1.0.weight": (672, 1, 5, 5),
        "features.8.1.running_var": (1280,),
        "classifier.1.weight": (1000, 1280),
    },
    "mobilenet_v1": {
        "conv_stem.weight": (32, 3, 3, 3),
        "blocks.0.0.conv_dw.weight": (32, 1, 3, 3),
        "blocks.3.5.bn2.running_mean": (512,),
        "classifier.weight": (1000, 1024),
    },
    "mobilenet_v2": {
        "features.0.0.weight": (32, 3, 3, 3),
        "features.1.conv.0.0.weight": (32, 1, 3, 3),
        "features.1.conv.1.weight": (16, 32, 1, 1),
        "features.2.conv.3.num_batches_tracked": (),
        "features.18.1.bias": (1280,),
        "classifier.1.bias": (1000,),
    },
    "mobilenet_v3_large": {
        "features.1.block.0.0.weight": (16, 1, 3, 3),
        "features.4.block.2.fc1.weight": (24, 72, 1, 1),
        "features.15.block.3.1.weight": (160,),
        "features.16.0.weight": (960, 160, 1, 1),
        "classifier.0.weight": (1280, 960),
        "classifier.3.weight": (1000, 1280),
    },
    "mobilenet_v3_small": {
        "features.1.block.1.fc1.weight": (8, 16, 1, 1),
        "features.12.0.weight": (576, 96, 1, 1),
        "classifier.0.weight": (1024, 576),
    },
    "resnet18": {
        "conv1.weight": (64, 3, 7, 7),
        "layer2.0.downsample.0.weight": (128, 64, 1, 1),
        "layer4.1.bn2.running_mean": (512,),
        "fc.weight": (1000, 512),
    },
    "resnet50": {
        "layer1.0.downsample.1.weight": (256,),
        "layer2.0.conv2.weight": (128, 128, 3, 3),
        "layer4.2.conv3.weight": (2048, 512, 1, 1),
        "fc.bias": (1000,),
    },
    "vgg16": {
        "features.28.weight": (512, 512, 3, 3),
        "classifier.0.weight": (4096, 25088),
        "classifier.6.weight": (1000, 4096),
    },
}


def on_meta(factory, *arguments, **named):
    with torch.device("meta"):
        return factory(*arguments, **named)


def shapes(model):
    return [(key, tuple(value.shape), value.dtype) for key, value in model.state_dict().items()]


@pytest.mark.parametrize("name", NAMES)
def test_state_dict_has_the_names_order_and_shapes_of_the_definition(name):
    ours, theirs = on_meta(models.get, name), on_meta(DEFINITIONS[name])
    assert shapes(ours) == shapes(theirs)
    state = ours.state_dict()
    assert {key: tuple(state[key].shape) for key in ENTRIES[name]} == ENTRIES[name]
    assert [key for key, _ in ours.named_parameters()] == [
        key for key, _ in theirs.named_parameters()
    ]


@pytest.mark.parametrize("name", NAMES)
def test_counts_are_the_published_ones(name):
    model = on_meta(models.get, name)
    counted = sum(parameter.numel() for parameter in model.parameters()), len(model.state_dict())
    assert counted == PUBLISHED[name]


@pytest.mark.parametrize("width", [0.35, 0.75, 1.4])
@pytest.mark.parametrize("name", SCALED)
def test_width_scales_as_in_the_definition(name, width):
    ours = on_meta(models.get, name, num_classes=10, width=width)
    assert shapes(ours) == shapes(on_meta(DEFINITIONS[name], num_classes=10, width=width))


def test_mobilenet_v1_at_half_width_has_timms_count():
    model = on_meta(models.get, "mobilenet_v1", width=0.5)
    assert sum(parameter.numel() for parameter in model.parameters()) == 1_331_592


@pytest.mark.parametrize("name", [name for name in NAMES if name != "vgg16"])
def test_one_seed_draws_the_definitions_weights(name):
    torch.manual_seed(3)
    ours = models.get(name, num_classes=10).state_dict()
    torch.manual_seed(3)
    theirs = DEFINITIONS[name](num_classes=10).state_dict()
    for key, value in theirs.items():
        torch.testing.assert_close(ours[key], value, rtol=1e-6, atol=0, msg=key)


def test_vgg16_draws_by_the_definitions_laws():
    model = models.get("vgg16", num_classes=10)
    layer, dense = model.features[2], model.classifier[6]
    assert layer.weight.std().item() == pytest.approx((2 / (64 * 9)) ** 0.5, rel=0.02)
    assert dense.weight.std().item() == pytest.approx(0.01, rel=0.02)
    assert not layer.bias.any() and not dense.bias.any()


@pytest.mark.parametrize("name", [name for name in NAMES if name != "vgg16"])
def test_outputs_gradients_and_statistics_agree_with_the_definition(name):
    arguments = {"drop_path": 0.0} if name == "efficientnet_b0" else {}
    if name in SCALED:
        arguments |= {"width": 0.35, "dropout": 0.0}
    torch.manual_seed(0)
    theirs = DEFINITIONS[name](num_classes=10, **arguments)
    ours = models.get(name, num_classes=10, **arguments)
    ours.load_state_dict(theirs.state_dict())
    assert_agree(ours, theirs, torch.randn(8, 3, 32, 32), kinks=5e-3, rounding=1e-4)


@pytest.mark.slow  # in float64 it takes 3 GB
@pytest.mark.usefixtures("plain_sums")
def test_outputs_and_gradients_agree_with_the_definition_of_vgg16():
    """By plain sums: of its last 4096 maxima, one that moves is a hundredth of every gradient."""
    torch.manual_seed(0)
    theirs = DEFINITIONS["vgg16"](num_classes=10, dropout=0.0)
    ours = models.get("vgg16", num_classes=10, dropout=0.0)
    ours.load_state_dict(theirs.state_dict())
    assert_agree(ours, theirs, torch.randn(8, 3, 32, 32))


@pytest.mark.parametrize("name", NAMES)
def test_macs_are_the_stated_ones(name):
    model = on_meta(models.get, name).eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(1, 3, 224, 224, device="meta"))
    assert counter.get_total_flops() == 2 * MACS[name]


@pytest.mark.parametrize("name", NAMES)
def test_docstring_states_parameters_and_macs(name):
    text = models.factory(name).__doc__
    assert f"{PUBLISHED[name][0]:,} parameters" in text
    assert f"{MACS[name]:,} MACs at 224×224" in text


@pytest.mark.parametrize("name", NAMES)
def test_grey_images_and_a_batch_of_one(name):
    model = on_meta(models.get, name, num_classes=3, in_channels=1).eval()
    assert model(torch.empty(1, 1, 32, 32, device="meta")).shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "arguments", "message"),
    [
        ("resnet18", {"num_classes": 0}, "num_classes must be"),
        ("vgg16", {"in_channels": 0}, "in_channels must be"),
        ("mobilenet_v2", {"width": 0.0}, "width must be"),
        ("mobilenet_v3_small", {"width": "wide"}, "width must be"),
        ("efficientnet_b0", {"drop_path": 1.5}, "drop_path must be"),
        ("mobilenet_v2", {"dropout": -0.1}, "p must be"),
    ],
)
def test_bad_arguments_are_named(name, arguments, message):
    with pytest.raises(ValueError, match=message):
        models.get(name, **arguments)


def test_unknown_name_and_argument_are_one_line():
    with pytest.raises(InputError, match=re.escape("did you mean 'resnet18'?")):
        models.get("resnet81")
    with pytest.raises(InputError, match=r"^resnet18: no argument 'width'; it has .*num_classes"):
        models.get("resnet18", width=0.5)
