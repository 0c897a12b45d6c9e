"""The networks in Keras's definition: keras.applications' own, its files both ways, its pixels."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from keras.src.legacy.saving import legacy_h5_format

import lamina
from lamina import models
from lamina.errors import InputError
from lamina.models.keras_networks import _CLASSES

SMALL = {"mobilenet_v2": {"alpha": 0.35}, "mobilenet_v3_small": {}, "efficientnet_b0": {}}
PARAMETERS = {  # as Keras publishes them, in all
    "efficientnet_b0": 5_330_571,
    "mobilenet_v1": 4_253_864,
    "mobilenet_v2": 3_538_984,
    "resnet50": 25_636_712,
    "vgg16": 138_357_544,
}


@pytest.mark.parametrize("name", sorted(PARAMETERS))
def test_weights_are_as_many_as_published(name: str) -> None:
    with torch.device("meta"):
        model = models.get(name, flavour="keras")
    assert model.count_params() == PARAMETERS[name]


@pytest.mark.parametrize("name", [*sorted(_CLASSES), "resnet18"])
def test_every_network_is_of_our_layers_and_answers(name: str) -> None:
    model = models.get(name, flavour="keras", num_classes=7, input_shape=(64, 64, 3))
    kinds = {type(layer).__module__ for layer in model.layers}
    assert "lamina.layers.conv2d" in kinds and "keras.src.layers.convolutional.conv2d" not in kinds
    x = models.preprocess(name, torch.randint(0, 256, (2, 64, 64, 3)), flavour="keras")
    y = model(x)
    assert y.shape == (2, 7)
    torch.testing.assert_close(y.sum(1), torch.ones(2), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", sorted(SMALL))
@pytest.mark.parametrize("suffix", [".weights.h5", ".h5"], ids=["Keras 3", "Keras 2"])
def test_weights_files_of_keras_applications_and_back(tmp_path, name, suffix) -> None:
    sizes = {"input_shape": (64, 64, 3), **SMALL[name]}
    theirs = getattr(keras.applications, _CLASSES[name])(weights=None, classes=5, **sizes)
    random = np.random.default_rng(0)
    theirs.set_weights([w + random.uniform(0, 0.1, w.shape) for w in theirs.get_weights()])
    file = tmp_path / f"weights{suffix}"
    save(theirs, file)
    ours = models.get(name, flavour="keras", num_classes=5, **sizes)
    ours.load_weights(file)
    assert_equal(ours, theirs)
    x = random.uniform(-1, 1, (2, 64, 64, 3)).astype("float32")
    expected = theirs.predict(x, verbose=0)
    np.testing.assert_allclose(ours.predict(x, verbose=0), expected, rtol=1e-3, atol=1e-5)
    ours.set_weights([w + 1 for w in ours.get_weights()])
    save(lamina.restore(ours), file)
    theirs.load_weights(file)
    assert_equal(theirs, ours)


def save(model: keras.Model, file) -> None:
    if file.name.endswith(".weights.h5"):
        model.save_weights(file)
        return
    import h5py

    with h5py.File(file, "w") as opened:
        legacy_h5_format.save_weights_to_hdf5_group(opened, model)


def assert_equal(one: keras.Model, other: keras.Model) -> None:
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("name", [*sorted(_CLASSES)])
def test_keras_s_pixels_are_keras_s(name: str) -> None:
    module = {"mobilenet_v1": "mobilenet", "efficientnet_b0": "efficientnet"}.get(name, name)
    module = "mobilenet_v3" if module.startswith("mobilenet_v3") else module
    pixels = torch.randint(0, 256, (2, 5, 4, 3))
    theirs = getattr(keras.applications, module).preprocess_input(pixels.numpy().astype("float32"))
    ours = models.preprocess(name, pixels, flavour="keras")
    np.testing.assert_allclose(ours.numpy(), theirs, rtol=1e-6, atol=1e-5)


def test_torch_s_pixels_have_imagenet_s_statistics() -> None:
    mean = torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)
    deviation = torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    pixels = (255 * (mean + 2 * deviation)).expand(1, 3, 2, 2)
    torch.testing.assert_close(models.preprocess("vgg16", pixels), torch.full((1, 3, 2, 2), 2.0))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: models.get("resnet81", flavour="keras"), "did you mean 'resnet18'"),
        (lambda: models.get("digits_cnn", flavour="keras"), "in Keras's flavour expected one of"),
        (lambda: models.get("vgg16", flavour="keras", alpha=2), "no argument 'alpha'"),
        (lambda: models.get("vgg16", flavour="keras", weights="imagenet"), "no argument 'weights'"),
        (lambda: models.get("vgg16", flavour="tf"), "flavour must be"),
        (lambda: models.preprocess("vgg", torch.zeros(1, 3, 2, 2)), "did you mean 'vgg16'"),
        (lambda: models.preprocess("vgg16", torch.zeros(1, 2, 2, 3)), r"\(\.\.\., 3, H, W\)"),
    ],
)
def test_bad_input_is_one_line(call, message: str) -> None:
    with pytest.raises((InputError, ValueError), match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
