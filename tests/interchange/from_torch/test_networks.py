"""Whole networks: ours, and thirty of other people's."""

import pytest
import torch
from torch import nn

import lamina
from lamina import models
from lamina.interchange import from_torch
from lamina.interchange.proof import verify
from tests.interchange.from_torch.agreement import check, draw_statistics
from tests.interchange.from_torch.test_source import built

QUICK = ("digits_cnn", "mobilenet_v3_small")


def size_of(name: str) -> tuple[int, ...]:
    return (1, 1, 16, 16) if name == "digits_cnn" else (1, 3, 96, 96)


@pytest.mark.parametrize(
    "name",
    [n if n in QUICK else pytest.param(n, marks=pytest.mark.slow) for n in models.names()],
)
def test_a_network_of_ours_crosses(name, tmp_path, tensorflow):
    arguments = {} if name == "digits_cnn" else {"num_classes": 10}
    crossing = check(
        models.get(name, **arguments), size_of(name), tmp_path=tmp_path, tensorflow=tensorflow
    )
    model = built(from_torch.source(crossing))
    given = crossing.keras_model
    assert [layer.name for layer in model.layers] == [layer.name for layer in given.layers]
    assert model.count_params() == given.count_params()


_FROM_PYTORCHCV = """
bn_vgg11 vgg11 resnet10 resnet18 resnet50 preresnet18 resnext50_32x4d seresnet18 senet16
cbam_resnet18 densenet121 darknet53 squeezenet_v1_0 squeezeresnet_v1_0 shufflenet_g3_w1
shufflenetv2_w1 menet108_8x1_g3 mobilenet_w1 mobilenetv2_w1 mobilenetv3_small_w1 igcv3_w1
mnasnet_b1 proxylessnas_cpu fbnet_cb efficientnet_b0 mixnet_s xception inceptionv3 inceptionv4
dpn68 wrn50_2 bninception fdmobilenet_w1 peleenet hardnet39ds dla34 vovnet27s ghostnet spnasnet
regnetx002
"""


def of_others(name: str) -> tuple[nn.Module, int]:
    """A network of pytorchcv's, and the height and width that it was made for."""
    provider = pytest.importorskip("pytorchcv.model_provider")
    torch.manual_seed(0)
    size = 299 if "ception" in name and name != "bninception" else 224
    return provider.get_model(name, pretrained=False), size


@pytest.mark.slow
@pytest.mark.parametrize("name", _FROM_PYTORCHCV.split())
def test_a_network_of_others_crosses(name, tmp_path, tensorflow):
    module, size = of_others(name)
    check(module, (1, 3, size, size), tmp_path=tmp_path, tensorflow=tensorflow)


@pytest.mark.slow
@pytest.mark.parametrize("name", _FROM_PYTORCHCV.split())
def test_a_training_step_of_a_network_of_others_is_proven(name):
    module, size = of_others(name)
    if isinstance(getattr(module.features, "final_pool", None), nn.AvgPool2d):
        # A global pool, as it is at the full size, allows for a small one, which is quicker.
        module.features.final_pool = nn.AdaptiveAvgPool2d(1)
        size = 64 if size == 224 else 107
    prove_a_step(module, (1, 3, size, size))


@pytest.mark.parametrize(
    "name",
    [n if n == "digits_cnn" else pytest.param(n, marks=pytest.mark.slow) for n in models.names()],
)
def test_a_training_step_of_a_network_of_ours_is_proven(name):
    arguments = {} if name == "digits_cnn" else {"num_classes": 10}
    prove_a_step(models.get(name, **arguments), size_of(name))


def prove_a_step(module: nn.Module, size: tuple[int, ...]) -> None:
    proof = verify(from_torch.cross(draw_statistics(module), size))
    assert proof.holds, proof.verdict
    kinds = {row.kind for row in proof.rows}
    assert kinds >= {"output", "loss", "gradient", "weight"}
    norms = any(isinstance(one, nn.BatchNorm2d | lamina.nn.BatchNorm2d) for one in module.modules())
    assert ("statistic" in kinds) is norms
