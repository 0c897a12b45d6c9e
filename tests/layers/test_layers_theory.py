"""What the formulas predict of a layer is what the layer has and returns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from lamina import layers, theory
from lamina.layers.data_format import nchw_shape

SHAPE = (2, 9, 8, 4)
CASES = [
    layers.Conv2D(6, 3, strides=2, padding="same", groups=2),
    layers.Conv2D(6, (1, 3), dilation_rate=(1, 2), use_bias=False),
    layers.PointwiseConv2D(5),
    layers.DepthwiseConv2D(3, strides=(2, 1), depth_multiplier=2),
    layers.SeparableConv2D(5, 3, padding="same", depth_multiplier=2, use_bias=False),
    layers.BatchNormalization(),
    layers.BatchNormalization(scale=False),
    layers.BatchNormalization(renorm=True),
    layers.MaxPooling2D(3, strides=2, padding="same"),
    layers.AveragePooling2D(2),
    layers.AdaptiveMaxPooling2D((3, 5)),
    layers.AdaptiveAveragePooling2D(2),
    layers.GlobalMaxPooling2D(keepdims=True),
    layers.GlobalAveragePooling2D(),
    layers.Dropout(0.5),
    layers.SpatialDropout2D(0.5),
    layers.DropPath(0.5),
    layers.Dense(7),
    layers.Dense(7, use_bias=False),
    layers.SqueezeExcite(3),
]


def elements(weights: list[Any]) -> int:
    return sum(int(np.prod(weight.shape)) for weight in weights)


@pytest.mark.parametrize("layer", CASES, ids=lambda layer: type(layer).__name__)
def test_cost_counts_the_layer_s_parameters(layer: Any) -> None:
    layer(torch.ones(SHAPE))
    cost = layer.cost(SHAPE)
    assert cost.parameters == elements(layer.trainable_weights)
    if isinstance(layer, layers.BatchNormalization):
        assert cost.buffers == elements(layer.non_trainable_weights)
    assert cost.bytes_moved > 0


@pytest.mark.parametrize("layer", CASES, ids=lambda layer: type(layer).__name__)
def test_keras_predicts_the_output_shape(layer: Any) -> None:
    predicted = layer.compute_output_shape(SHAPE)
    assert tuple(layer(torch.ones(SHAPE)).shape) == tuple(predicted)


@pytest.mark.parametrize(
    ("layer", "predicted"),
    [
        (CASES[0], theory.conv2d.output_shape(nchw_shape(SHAPE, "channels_last"), 6, 3, 2, "same")),
        (
            CASES[3],
            theory.depthwise_conv2d.output_shape(
                nchw_shape(SHAPE, "channels_last"), 3, (2, 1), depth_multiplier=2
            ),
        ),
        (CASES[8], theory.pool2d.output_shape(nchw_shape(SHAPE, "channels_last"), 3, 2, "same")),
    ],
    ids=["convolution", "depthwise", "pool"],
)
def test_theory_and_keras_agree_on_the_output_shape(layer: Any, predicted: tuple[int, ...]) -> None:
    assert nchw_shape(layer.compute_output_shape(SHAPE), "channels_last") == predicted
