"""Whole networks: ours, and thirty of other people's."""

import pytest
import torch

from lamina import models
from lamina.interchange import from_torch
from tests.interchange.from_torch.agreement import check
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


@pytest.mark.slow
@pytest.mark.parametrize("name", _FROM_PYTORCHCV.split())
def test_a_network_of_others_crosses(name, tmp_path, tensorflow):
    provider = pytest.importorskip("pytorchcv.model_provider")
    torch.manual_seed(0)
    size = 299 if "ception" in name and name != "bninception" else 224
    module = provider.get_model(name, pretrained=False)
    check(module, (1, 3, size, size), tmp_path=tmp_path, tensorflow=tensorflow)
