"""Every argument of every layer at once, none at its default, against TensorFlow's Keras."""

from __future__ import annotations

import inspect
from typing import Any

import keras
import numpy as np
import pytest
import torch

from lamina import layers
from tests.layers.parity import assert_parity
from tests.layers.referee import Referee

EVERYWHERE = {"activity_regularizer": "l2", "trainable": True, "dtype": "float32", "name": "mine"}


def weight(name: str, law: str, size: str = "l2") -> dict[str, str]:
    return {
        f"{name}_initializer": law,
        f"{name}_regularizer": size,
        f"{name}_constraint": "non_neg",
    }


WINDOW = {"strides": (2, 2), "padding": "same", "data_format": "channels_last"}
CASES: dict[str, dict[str, Any]] = {
    "Conv2D": {
        **WINDOW,
        **{"filters": 4, "kernel_size": (3, 2), "dilation_rate": (1, 1), "groups": 2},
        **{"activation": "tanh", "use_bias": True},
        **weight("kernel", "he_uniform"),
        **weight("bias", "ones", "l1"),
    },
    "DepthwiseConv2D": {
        **WINDOW,
        **{"kernel_size": (3, 2), "depth_multiplier": 2, "dilation_rate": (1, 1)},
        **{"activation": "tanh", "use_bias": True},
        **weight("depthwise", "he_uniform"),
        **weight("bias", "ones", "l1"),
    },
    "SeparableConv2D": {
        **WINDOW,
        **{"filters": 3, "kernel_size": (3, 2), "depth_multiplier": 2, "dilation_rate": (1, 1)},
        **{"activation": "tanh", "use_bias": True},
        **weight("depthwise", "he_uniform"),
        **weight("pointwise", "lecun_uniform"),
        **weight("bias", "ones", "l1"),
    },
    "BatchNormalization": {
        **{"axis": -1, "momentum": 0.7, "epsilon": 0.01, "center": True, "scale": True},
        **weight("beta", "ones"),
        **weight("gamma", "ones", "l1"),
        **{"moving_mean_initializer": "ones", "moving_variance_initializer": "ones"},
        **{"renorm": True, "renorm_clipping": {"rmax": 1.2, "rmin": 0.8, "dmax": 0.3}},
        **{"renorm_momentum": 0.6, "synchronized": False},
    },
    "MaxPooling2D": {"pool_size": (3, 2), **WINDOW},
    "AveragePooling2D": {"pool_size": (3, 2), **WINDOW},
    "GlobalMaxPooling2D": {"data_format": "channels_last", "keepdims": True},
    "GlobalAveragePooling2D": {"data_format": "channels_last", "keepdims": True},
    "AdaptiveMaxPooling2D": {"output_size": (3, 2), "data_format": "channels_last"},
    "AdaptiveAveragePooling2D": {"output_size": (3, 2), "data_format": "channels_last"},
    "Dropout": {"rate": 0.5, "noise_shape": (None, 1, 1, 4), "seed": 3},
    "SpatialDropout2D": {"rate": 0.5, "data_format": "channels_last", "seed": 3},
    "Dense": {
        **{"units": 3, "activation": "tanh", "use_bias": True},
        **weight("kernel", "he_uniform"),
        **weight("bias", "ones", "l1"),
    },
    "Flatten": {"data_format": "channels_last"},
}
OPTIONS_OF_OTHERS = {
    # Named here, and left to the docstrings: neither changes what a layer computes.
    "Dense": {"lora_rank", "lora_alpha", "quantization_config"},
}
IMAGE = np.random.default_rng(0).standard_normal((3, 7, 6, 4)).astype("float32")


def configured(name: str) -> dict[str, Any]:
    """All of a layer's arguments; Keras's SpatialDropout2D takes fewer of the common ones."""
    common = {"dtype", "name"} if name == "SpatialDropout2D" else {*EVERYWHERE}
    return CASES[name] | {key: EVERYWHERE[key] for key in common}


@pytest.mark.parametrize("name", CASES)
def test_no_argument_of_keras_s_is_left_out(name: str) -> None:
    parameters = inspect.signature(getattr(keras.layers, name)).parameters.values()
    named = {p.name for p in parameters if p.kind is not inspect.Parameter.VAR_KEYWORD}
    assert named <= {*configured(name)} | OPTIONS_OF_OTHERS.get(name, set())


@pytest.mark.parametrize("training", [False, True], ids=["inference", "training"])
@pytest.mark.parametrize("name", [name for name in CASES if "Dropout" not in name])
def test_all_arguments_together(referee: Referee, name: str, training: bool) -> None:
    """Outputs, gradients of weights through every penalty, the penalties, the statistics."""
    call = {"training": training} if name == "BatchNormalization" else {}
    assert_parity(referee, name, configured(name), [IMAGE * 0.5 + 1, IMAGE], **call)


@pytest.mark.parametrize("name", CASES)
def test_frozen_layer_has_nothing_to_train(name: str) -> None:
    if name == "SpatialDropout2D":
        pytest.skip("Keras's takes no trainable")
    layer = getattr(layers, name)(**configured(name) | {"trainable": False})
    layer(torch.from_numpy(IMAGE))
    assert not layer.trainable_weights and not layer.trainable


@pytest.mark.parametrize(
    "name", [name for name in CASES if any("constraint" in k for k in CASES[name])]
)
def test_constraints_hold_after_a_step(name: str) -> None:
    model = keras.Sequential([getattr(layers, name)(**configured(name)), layers.Flatten()])
    model.compile(keras.optimizers.SGD(10.0), "mse")
    outputs = model.compute_output_shape(IMAGE.shape)
    model.fit(IMAGE, np.ones(outputs, "float32"), verbose=0)
    for value in model.trainable_weights:
        assert float(value.value.min()) >= 0


def test_initial_weights_follow_their_arguments(referee: Referee) -> None:
    for name, config in CASES.items():
        laws = {key: value for key, value in config.items() if key.endswith("initializer")}
        if not laws:
            continue
        layer = getattr(layers, name)(**configured(name))
        layer.build(IMAGE.shape)
        theirs = referee.initial_weights(name, configured(name), IMAGE.shape)
        for ours, (label, reference) in zip(layer.weights, theirs, strict=True):
            value = np.asarray(ours.value.detach())
            assert (ours.name, value.shape) == (label, reference.shape)
            if reference.std() == 0:
                np.testing.assert_array_equal(value, reference, err_msg=f"{name} {label}")
