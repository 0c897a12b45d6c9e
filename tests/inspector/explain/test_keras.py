"""Keras models on the torch backend: their images have the channels last."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch
from keras import layers

from lamina.inspector.explain import explain
from tests.inspector.explain.recompute import numbers
from tests.inspector.explain.test_networks import check


def network(form="channels_last"):
    size = (12, 10, 3) if form == "channels_last" else (3, 12, 10)
    axis = -1 if form == "channels_last" else 1
    given = keras.Input(size)
    more = {"data_format": form}
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="stem", **more)(
        given
    )
    y = layers.BatchNormalization(axis=axis, name="norm")(x)
    y = layers.DepthwiseConv2D(3, padding="same", name="depthwise", **more)(y)
    x = layers.Add(name="sum")([x, y])
    x = layers.SeparableConv2D(6, 3, padding="same", name="separable", **more)(x)
    x = layers.MaxPooling2D(2, name="pool", **more)(x)
    x = layers.Concatenate(axis=axis, name="both")([x, x])
    x = layers.Dropout(0.3, name="drop")(x)
    x = layers.GlobalAveragePooling2D(name="mean", **more)(x)
    x = layers.Dense(5, activation="softmax", name="dense")(x)
    model = keras.Model(given, x)
    draw = np.random.default_rng(0)
    norm = model.get_layer("norm")
    norm.set_weights([draw.uniform(0.5, 2, 4).astype(np.float32) for _ in range(4)])
    return model


@pytest.mark.parametrize("form", ["channels_last", "channels_first"])
def test_a_keras_model_is_explained_in_either_layout(form):
    keras.utils.set_random_seed(0)
    model = network(form)
    image = torch.randn(3, 12, 10)
    given = image.permute(1, 2, 0) if form == "channels_last" else image
    weights = [value.copy() for value in model.get_weights()]
    record = explain(model, given.contiguous()).record
    check(record, 10)
    assert all(np.array_equal(a, b) for a, b in zip(weights, model.get_weights(), strict=True))
    kinds = [layer.kind for layer in record.layers]
    assert kinds == [
        *("input", "conv2d", "activation", "batch_norm2d", "depthwise_conv2d", "add"),
        *("depthwise_conv2d", "pointwise_conv2d", "max_pool2d", "cat", "dropout"),
        *("global_avg_pool2d", "dense", "activation"),
    ]
    assert record.layers[0].channels_last == (form == "channels_last")
    conv = record.layers[1]
    assert conv.maps.total == 4 and (conv.maps.rows, conv.maps.columns) == (6, 5)
    kernel = model.get_layer("stem").kernel.value.detach().permute(3, 2, 0, 1).double().numpy()
    assert numbers(conv.arithmetic.kernels) == pytest.approx(kernel[list(conv.maps.channels)])
    assert conv.arithmetic.bias is not None and conv.cost.parameters == 4 * 28
    assert record.layers[5].inputs == (2, 4)
    with torch.no_grad():
        shares = model(given[None], training=False)[0]
    best = record.answer.classes[0]
    assert record.answer.is_probability and best.index == int(shares.argmax())
    assert best.probability == pytest.approx(float(shares.max()), abs=1e-6)
    assert record.class_maps[0].method == "class activation map"
    dense = record.layers[-2]
    place = dense.maps.channels.index(best.index)
    score = numbers(dense.arithmetic.results)[place]
    values = numbers(record.class_maps[0].values)
    assert values.mean() + record.class_maps[0].bias == pytest.approx(score, abs=1e-5)


def test_the_size_of_a_keras_model_is_its_own():
    pixels = np.zeros((40, 40, 3), np.uint8)
    record = explain(network(), pixels).record
    assert record.layers[0].output_shape == (1, 12, 10, 3)
    assert record.model.startswith("functional")
