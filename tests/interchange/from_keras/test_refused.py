"""What cannot cross is refused in one line that names the layer; what changes is noted."""

import keras
import pytest
import torch
from keras import layers, ops

from lamina.errors import InputError
from lamina.interchange.from_keras import cross


class Weighted(layers.Layer):
    def build(self, input_shape):
        self.w = self.add_weight(name="w", shape=(3,))

    def call(self, x):
        return x * self.w


class TwoFaced(layers.Layer):
    def call(self, x, training=False):
        return x * 2 if training else x


class OwnConv(layers.Conv2D):
    def convolution_op(self, inputs, kernel):
        return super().convolution_op(inputs, kernel) * 2


def image(*parts, shape=(8, 8, 3)):
    return keras.Sequential([keras.Input(shape), *parts])


def masked():
    inputs = keras.Input((5,), dtype="int32")
    return keras.Model(inputs, layers.Embedding(7, 3, mask_zero=True, name="it")(inputs))


def called_in_training():
    inputs = keras.Input((4,))
    return keras.Model(inputs, TwoFaced(name="it")(inputs))


REFUSED = {
    "lambda": (lambda: image(layers.Lambda(lambda x: x, name="it")), "nothing in torch.nn"),
    "rnn": (lambda: image(layers.LSTM(3, name="it"), shape=(5, 3)), "nothing in torch.nn"),
    "one axis": (
        lambda: image(layers.Conv1D(3, 3, name="it"), shape=(5, 3)),
        "nothing in torch.nn",
    ),
    "three axes": (
        lambda: image(layers.MaxPooling3D(name="it"), shape=(4, 4, 4, 3)),
        "nothing in torch.nn",
    ),
    "renorm": (
        lambda: image(layers.BatchNormalization(renorm=True, name="it")),
        r"renorm keeps statistics .* \[renorm and mask\]",
    ),
    "own weights": (lambda: image(Weighted(name="it")), "a weight of its own, 'w'"),
    "two modes": (called_in_training, "different things in training and in evaluation"),
    "own convolution": (
        lambda: image(OwnConv(3, 3, name="it")),
        "a weight of its own, 'kernel'",
    ),
    "mask": (masked, "it masks what comes after"),
    "bicubic": (
        lambda: image(layers.Resizing(4, 4, interpolation="bicubic", name="it")),
        r"another bicubic interpolation \[resizing\]",
    ),
    "aspect": (
        lambda: image(layers.Resizing(4, 4, crop_to_aspect_ratio=True, name="it")),
        "aspect ratio",
    ),
    "activation": (
        lambda: image(layers.Conv2D(3, 3, activation=lambda x: x * 2, name="it")),
        "no activation '<lambda>'",
    ),
    "sparsemax": (
        lambda: image(layers.Activation("sparsemax", name="it")),
        "no activation 'sparsemax'",
    ),
    "softmax": (
        lambda: image(layers.Softmax(axis=[1, 2], name="it")),
        r"the axes \[1, 2\] together",
    ),
    "noise": (
        lambda: image(layers.Dropout(0.5, noise_shape=(8, 3), name="it")),
        "is not of its input's 4 axes",
    ),
    "layer norm": (
        lambda: image(layers.LayerNormalization(axis=[1, 3], name="it")),
        r"normalises the axes \[1, 3\]",
    ),
    "dot": (
        lambda: keras.Model(
            (inputs := [keras.Input((3, 4)), keras.Input((3, 4))]),
            layers.Dot(axes=1, name="it")(inputs),
        ),
        "the product of vectors alone",
    ),
    "ranks": (
        lambda: keras.Model(
            (inputs := [keras.Input((3, 4)), keras.Input((4,))]), layers.Add(name="it")(inputs)
        ),
        "joins 3 and 2 axes",
    ),
    "inverse": (
        lambda: image(layers.Normalization(mean=0.0, variance=1.0, invert=True, name="it")),
        "undoes a normalisation",
    ),
    "lora": (lambda: lora(), "quantised or adapted"),
}


def lora():
    dense = layers.Dense(3, name="it")
    model = image(dense, shape=(4,))
    dense.enable_lora(2)
    return model


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_it_is_refused_by_its_name(name):
    factory, reason = REFUSED[name]
    with pytest.raises(InputError, match=reason) as caught:
        cross(factory())
    message = str(caught.value)
    assert message.startswith("layer 'it' (")
    assert "cannot cross: " in message
    assert "\n" not in message


def test_a_cast_is_refused():
    inputs = keras.Input((3,))
    with pytest.raises(InputError, match=r"it casts to int32 \[mixed precision\]"):
        cross(keras.Model(inputs, ops.cast(inputs, "int32")))


def test_a_call_that_cannot_be_traced_is_refused():
    class Model(keras.Model):
        def call(self, x):
            return x if float(ops.convert_to_numpy(ops.sum(x))) > 0 else -x

    model = Model(name="it")
    model(torch.ones(1, 3))
    with pytest.raises(InputError, match=r"layer 'it' \(Model\) cannot cross: its call cannot be"):
        cross(model)


def test_a_model_that_was_not_built_needs_a_shape():
    model = keras.Sequential([layers.Dense(3)], name="it")
    with pytest.raises(InputError, match="model 'it' is not built: give an input_shape"):
        cross(model)
    assert cross(model, input_shape=(None, 4)).torch_model(torch.zeros(2, 4)).shape == (2, 3)


def test_what_is_no_model_is_refused():
    with pytest.raises(InputError, match=r"model must be a keras.Model, got a Linear"):
        cross(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match="flavour must be"):
        cross(image(), flavour="jax")


def notes(model, **options):
    return {(note.layer, note.fate, note.trap) for note in cross(model, **options).notes}


def test_what_stays_behind_is_noted():
    found = notes(
        image(
            layers.RandomFlip(name="flip"),
            layers.Conv2D(
                3,
                3,
                kernel_regularizer="l2",
                bias_constraint="max_norm",
                activity_regularizer="l1",
                name="conv",
            ),
            layers.BatchNormalization(name="bn"),
            layers.Dropout(0.5, seed=3, name="drop"),
            layers.ActivityRegularization(l2=0.1, name="term"),
        )
    )
    assert {
        ("flip", "dropped", "preprocessing"),
        ("conv", "dropped", "regulariser"),
        ("bn", "changed", "momentum"),
        ("bn", "approximated", "biased-variance"),
        ("drop", "dropped", "dropout"),
        ("term", "dropped", "regulariser"),
    } <= found


def test_padding_that_depends_on_the_size_is_noted():
    conv = layers.Conv2D(3, 3, strides=2, padding="same", name="conv")
    assert ("conv", "changed", "same-stride") in notes(image(conv))
    conv = layers.Conv2D(3, 3, strides=2, padding="same", name="conv")
    assert ("conv", "changed", "same-stride") not in notes(image(conv), flavour="lamina")


def test_mixed_precision_is_noted():
    dense = layers.Dense(3, dtype="mixed_bfloat16", name="dense")
    assert ("dense", "approximated", "mixed-precision") in notes(image(dense, shape=(4,)))
