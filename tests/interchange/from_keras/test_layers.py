"""What TensorFlow cannot judge: lamina's own layers, channels_first, and fixed modes."""

import keras
import numpy as np
import pytest
import torch
from keras import layers

from lamina import layers as ours
from tests.interchange.from_keras.compare import crossed, difference, inputs_for, run


def image(*parts, shape=(8, 9, 3)):
    return keras.Sequential([keras.Input(shape), *parts])


def channels_first():
    inputs = keras.Input((3, 9, 8))
    first = {"data_format": "channels_first"}
    x = layers.Conv2D(4, 3, padding="same", strides=2, **first)(inputs)
    x = layers.BatchNormalization(axis=1)(x)
    x = layers.PReLU(shared_axes=[2, 3], alpha_initializer="random_normal")(x)
    x = layers.ZeroPadding2D(((0, 1), (2, 0)), **first)(x)
    x = layers.MaxPooling2D(2, **first)(x)
    return keras.Model(inputs, layers.Dense(3)(layers.Flatten(**first)(x)))


def channels_first_in_keras_order():
    inputs = keras.Input((3, 9, 8))
    x = layers.Conv2D(4, 3, data_format="channels_first")(inputs)
    x = layers.BatchNormalization()(x)  # of columns, as Keras has it
    return keras.Model(inputs, layers.GlobalAveragePooling2D(data_format="channels_first")(x))


NETS = {
    "own": lambda: image(
        ours.PointwiseConv2D(8),
        ours.SqueezeExcite(2, "silu", "hard_sigmoid"),
        ours.DepthwiseConv2D(3, padding="same", strides=2),
        ours.DropPath(0.3),
        ours.SeparableConv2D(4, 3, activation="relu"),
        ours.BatchNormalization(),
        ours.AdaptiveAveragePooling2D(2),
        ours.Dense(3),
    ),
    "channels_first": channels_first,
    "channels_first_in_keras_order": channels_first_in_keras_order,
}


@pytest.mark.parametrize("flavour", ["torch", "lamina"])
@pytest.mark.parametrize("name", sorted(NETS))
def test_it_gives_the_keras_models_numbers(name, flavour):
    model = NETS[name]()
    _, crossing = crossed(model, flavour=flavour)
    inputs = inputs_for(crossing.keras_model)
    with torch.no_grad():
        wanted = model(torch.from_numpy(inputs[0])).numpy()
    assert difference(run(crossing, inputs), [wanted]) < 2e-6


def test_a_channels_first_model_keeps_its_layout():
    _, crossing = crossed(channels_first())
    assert crossing.input_axes == [None]


@pytest.mark.parametrize("flavour", ["torch", "lamina"])
def test_stochastic_depth_drops_whole_images(flavour):
    drop = layers.Dropout(0.5, noise_shape=(None, 1, 1, 1))
    _, crossing = crossed(image(drop), flavour=flavour)
    (y,) = run(crossing, [np.ones((256, 8, 9, 3), np.float32)], training=True)
    assert set(y.reshape(256, -1).sum(1)) == {0.0, 2.0 * 8 * 9 * 3}
    assert 0.3 < (y == 0).mean() < 0.7


@pytest.mark.parametrize("flavour", ["torch", "lamina"])
def test_a_shared_draw_follows_its_axis(flavour):
    drop = layers.Dropout(0.5, noise_shape=(None, None, 1, 1))  # rows of (N, H, W, C)
    _, crossing = crossed(image(drop), flavour=flavour)
    (y,) = run(crossing, [np.ones((64, 8, 9, 3), np.float32)], training=True)
    assert set(y.reshape(64 * 8, -1).sum(1)) == {0.0, 2.0 * 9 * 3}


@pytest.mark.parametrize("layer", [layers.GaussianNoise(0.3), layers.GaussianDropout(0.2)])
def test_noise_has_keras_deviation(layer):
    model = keras.Sequential([keras.Input((1000,)), layer])
    _, crossing = crossed(model)
    ones = np.ones((100, 1000), np.float32)
    (y,) = run(crossing, [ones], training=True)
    with torch.no_grad():
        wanted = model(torch.from_numpy(ones), training=True).numpy()
    assert abs(y.std() / wanted.std() - 1) < 0.02
    assert abs(y.mean() - 1) < 0.01


def test_a_mode_that_own_code_fixes_holds():
    """In a model of somebody's own a call's training=False is kept, unlike in a functional one."""

    class Tuned(keras.Model):
        def __init__(self):
            super().__init__()
            self.norm = layers.BatchNormalization(name="norm")
            self.head = layers.BatchNormalization(name="head")

        def call(self, x, training=None):
            return self.head(self.norm(x, training=False), training=training)

    model = Tuned()
    model(torch.zeros(2, 3))
    _, crossing = crossed(model)
    x = np.random.default_rng(0).normal(size=(16, 3)).astype(np.float32)
    with torch.no_grad():
        wanted = model(torch.from_numpy(x), training=True).numpy()
    assert difference(run(crossing, [x], training=True), [wanted]) < 2e-6
    norm, head = crossing.torch_model.norm, crossing.torch_model.head
    assert (norm.training, head.training) == (False, True)
    assert norm.weight.requires_grad
    np.testing.assert_array_equal(norm.running_mean.numpy(), model.norm.moving_mean.numpy())
