"""What Keras on TensorFlow refuses is refused here, by name; so is what it lets through wrongly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.layers.parity import run_ours
from tests.layers.referee import Referee, RefereeRefusedError

IMAGE = np.ones((2, 8, 9, 4), "float32")

BOTH_REFUSE = [
    ("Conv2D", {"filters": 0, "kernel_size": 3}, IMAGE, "filters"),
    ("Conv2D", {"filters": 4, "kernel_size": 0}, IMAGE, "kernel_size"),
    ("Conv2D", {"filters": 4, "kernel_size": (3, 3, 3)}, IMAGE, "kernel_size"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "strides": 0}, IMAGE, "strides"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "dilation_rate": -1}, IMAGE, "dilation_rate"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 0}, IMAGE, "groups"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "groups": 3}, IMAGE, "groups"),
    ("Conv2D", {"filters": 3, "kernel_size": 3, "groups": 3}, IMAGE, "groups"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "padding": "full"}, IMAGE, "padding"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "padding": (1, 1)}, IMAGE, "padding"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "activation": "rela"}, IMAGE, "rela"),
    ("Conv2D", {"filters": 4, "kernel_size": 3, "data_format": "nhwc"}, IMAGE, "data_format"),
    (
        "Conv2D",
        {"filters": 4, "kernel_size": 3, "strides": 2, "dilation_rate": 2},
        IMAGE,
        "strides > 1",
    ),
    ("Conv2D", {"filters": 4, "kernel_size": 9}, IMAGE, "negative"),
    ("Conv2D", {"filters": 4, "kernel_size": 3}, IMAGE[0], "same length"),
    ("Conv2D", {"filters": 4, "kernel_size": 3}, IMAGE[None], "same length"),
    ("Conv2D", {"filters": 4, "kernel_size": 3}, IMAGE[..., :0], "at least one channel"),
    ("Conv2D", {"filters": 4, "kernel_size": 3}, IMAGE.astype("int32"), "floating-point"),
    ("DepthwiseConv2D", {"kernel_size": 3, "depth_multiplier": 0}, IMAGE, "depth_multiplier"),
    ("DepthwiseConv2D", {"kernel_size": 9}, IMAGE, "negative"),
    ("SeparableConv2D", {"filters": -1, "kernel_size": 3}, IMAGE, "filters"),
    ("SeparableConv2D", {"filters": 4, "kernel_size": 9}, IMAGE, "negative"),
    ("MaxPooling2D", {"pool_size": 0}, IMAGE, "pool_size"),
    ("MaxPooling2D", {"pool_size": 2, "strides": 0}, IMAGE, "strides"),
    ("MaxPooling2D", {"pool_size": 2, "padding": "full"}, IMAGE, "padding"),
    ("MaxPooling2D", {"pool_size": 2}, IMAGE[0], "ndim=4"),
    ("AveragePooling2D", {"pool_size": 2, "strides": (1, 0)}, IMAGE, "strides"),
    ("AdaptiveMaxPooling2D", {"output_size": 0}, IMAGE, "output_size"),
    ("AdaptiveAveragePooling2D", {"output_size": (None, 2)}, IMAGE, "output_size"),
    ("AdaptiveAveragePooling2D", {"output_size": "big"}, IMAGE, "output_size"),
    ("Dropout", {"rate": 1.5}, IMAGE, "rate"),
    ("Dropout", {"rate": float("nan")}, IMAGE, "rate"),
    ("Dense", {"units": 0}, IMAGE, "units"),
    ("Dense", {"units": 2.5}, IMAGE, "units"),
    ("Dense", {"units": 2}, IMAGE[0, 0, 0], "min_ndim=2"),
]


@pytest.mark.parametrize(("name", "config", "x", "message"), BOTH_REFUSE)
def test_what_keras_refuses_is_refused(
    referee: Referee, name: str, config: dict[str, Any], x: np.ndarray, message: str
) -> None:
    with pytest.raises(RefereeRefusedError):
        referee.call(name, config, [x])
    with pytest.raises((ValueError, TypeError), match=message):
        run_ours(name, config, [x])


WE_REFUSE = [
    # TensorFlow's kernels die of it, or take it as it never was meant.
    (
        "MaxPooling2D",
        {"pool_size": (2, 10)},
        IMAGE,
        ValueError,
        r"pool_size must fit .* got pool_size \(2, 10\) and an image of 8x9 pixels",
    ),
    (
        "AveragePooling2D",
        {"pool_size": 9, "data_format": "channels_first"},
        IMAGE,
        ValueError,
        "9x4",
    ),
    ("Dropout", {"rate": 0.5, "noise_shape": (None, 1)}, IMAGE, ValueError, "noise_shape must"),
    (
        "Dropout",
        {"rate": 0.5, "noise_shape": (2, 1, 1, 1, 1)},
        IMAGE,
        ValueError,
        "noise_shape must",
    ),
    ("GlobalMaxPooling2D", {}, IMAGE[:, :0], ValueError, "at least one pixel"),
    ("SqueezeExcite", {"squeeze_channels": 0}, IMAGE, ValueError, "squeeze_channels"),
    ("SqueezeExcite", {"squeeze_channels": 2, "gate": "softmax"}, IMAGE, ValueError, "gate"),
    ("SqueezeExcite", {"squeeze_channels": 2}, IMAGE[0], ValueError, "ndim=4"),
    ("PointwiseConv2D", {"filters": 2, "kernel_size": 3}, IMAGE, TypeError, "kernel_size"),
]


@pytest.mark.parametrize(("name", "config", "x", "error", "message"), WE_REFUSE)
def test_what_we_refuse(
    name: str, config: dict[str, Any], x: np.ndarray, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        run_ours(name, config, [x], **({"training": True} if "noise_shape" in config else {}))


@pytest.mark.parametrize(
    ("name", "config"),
    [("Conv2D", {"filters": 4, "kernel_size": 3}), ("Dense", {"units": 2})],
)
def test_another_number_of_channels_is_refused_after_the_first_call(
    name: str, config: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 4"):
        run_ours(name, config, [IMAGE, IMAGE[..., :3]])
