"""There and back again: weights bit for bit, under their names.

A separable layer is two in PyTorch and stays two. Keras's torch backend allows no dots in names:
what PyTorch calls layer1.0.conv1 is layer1_0_conv1 there, and after a file of Keras's.
"""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch

from lamina import layers, models
from lamina.interchange import from_keras, from_torch, to_keras, to_torch


def classifier() -> keras.Model:
    image = keras.Input((16, 14, 3))
    x = layers.Conv2D(8, 3, strides=2, padding="same", name="stem")(image)
    x = layers.BatchNormalization(name="norm")(x)
    y = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2, name="depthwise")(x)
    y = layers.Conv2D(8, 1, name="pointwise")(y)
    x = layers.PReLU(shared_axes=(1, 2), name="slope")(layers.Add(name="sum")([x, y]))
    x = layers.Conv2DTranspose(4, 2, strides=2, name="up")(x)
    return keras.Model(image, layers.Dense(5, name="head")(layers.Flatten(name="flat")(x)))


def drawn(model: keras.Model) -> keras.Model:
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    return model


@pytest.mark.parametrize(
    "build",
    [
        classifier,
        lambda: models.get(
            "mobilenet_v3_small", flavour="keras", num_classes=4, input_shape=(64, 64, 3)
        ),
    ],
    ids=["small", "mobilenet_v3_small"],
)
def test_keras_to_torch_and_back(build) -> None:
    model = drawn(build())
    module = to_torch(model)
    back = to_keras(module, (1, 3, *model.input_shape[1:3]))
    before = {w.path: np.array(w) for w in model.weights}
    after = {w.path: np.array(w) for w in back.weights}
    assert after.keys() == before.keys()
    for path, weight in after.items():
        np.testing.assert_array_equal(weight, before[path], err_msg=path)
    x = np.random.default_rng(1).uniform(0, 255, (2, *model.input_shape[1:])).astype("float32")
    there, here = back.predict(x, verbose=0), model.predict(x, verbose=0)
    np.testing.assert_allclose(there, here, rtol=1e-4, atol=1e-4 * np.abs(here).max())


def test_torch_to_keras_and_back() -> None:
    module = models.get("resnet18", num_classes=4).eval()
    for parameter in module.parameters():
        torch.nn.init.uniform_(parameter, 0.5, 1.5)
    crossing = from_torch.cross(module, (1, 3, 64, 64))
    again = from_keras.cross(crossing.keras_model)
    state, returned = module.state_dict(), again.torch_model.state_dict()
    assert returned.keys() == state.keys()
    for name, tensor in returned.items():
        assert torch.equal(tensor, state[name]) or name.endswith("num_batches_tracked"), name
    scope: dict[str, type[torch.nn.Module]] = {}
    exec(from_keras.source(again, "Again"), scope)
    written = scope["Again"]().eval()
    written.load_state_dict(state)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(written(x), module(x), rtol=1e-4, atol=1e-4)
