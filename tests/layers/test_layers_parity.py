"""Forward and every gradient against TensorFlow, over drawn arguments, shapes and strides."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lamina import layers
from lamina.theory.shapes import resolve_padding
from tests.layers.parity import assert_parity, assert_same, random_weights, run_ours
from tests.layers.referee import Referee

SWEEPS = [pytest.param(12, id="few"), pytest.param(300, id="many", marks=pytest.mark.slow)]
Case = tuple[dict[str, Any], np.ndarray]

pairs = st.tuples(st.integers(1, 3), st.integers(1, 3))
activations = st.sampled_from([None, "relu", "leaky_relu", "gelu", "hard_sigmoid", "softmax"])
formats = st.sampled_from(["channels_last", "channels_first"])


def sweep(strategy: st.SearchStrategy[Case], examples: int, check: Callable[[Case], None]) -> None:
    """Run the check on that many drawn cases, the same ones each time."""
    bounded = settings(max_examples=examples, deadline=None, derandomize=True, database=None)
    bounded(given(strategy)(check))()


def images(draw: st.DrawFn, channels: int, data_format: str, least: int = 1) -> np.ndarray:
    """A batch of up to three images, no two numbers of which are the same."""
    size = st.integers(least, least + 7)
    shape = (draw(st.integers(1, 3)), draw(size), draw(size), channels)
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    x = (rng.permutation(np.prod(shape)) / np.prod(shape) - 0.5).astype("float32").reshape(shape)
    return np.ascontiguousarray(x.transpose(0, 3, 1, 2)) if data_format == "channels_first" else x


def extent(kernel: tuple[int, int], dilation: tuple[int, int]) -> int:
    return max(d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True))


@st.composite
def windows(draw: st.DrawFn, *, strides_and_dilation: bool, square: bool = False) -> dict[str, Any]:
    """What the convolutions share; Conv2D refuses strides and dilation together."""
    strides = draw(pairs)
    dilation = draw(pairs) if strides_and_dilation or max(strides) == 1 else (1, 1)
    return {
        "kernel_size": draw(pairs),
        "strides": (strides[0],) * 2 if square else strides,
        "dilation_rate": dilation,
        "padding": draw(st.sampled_from(["valid", "same", "SAME"])),
        "activation": draw(activations),
        "use_bias": draw(st.booleans()),
        "data_format": draw(formats),
    }


@st.composite
def convolutions(draw: st.DrawFn) -> Case:
    config = draw(windows(strides_and_dilation=False))
    groups = draw(st.integers(1, 3))
    config |= {"filters": groups * draw(st.integers(1, 3)), "groups": groups}
    least = extent(config["kernel_size"], config["dilation_rate"])
    channels = groups * draw(st.integers(1, 3))
    if config["data_format"] == "channels_first" and config["activation"] == "softmax":
        config["activation"] = "tanh"  # the referee transposes, and softmax takes the last axis
    return config, images(draw, channels, config["data_format"], least)


@st.composite
def depthwise(draw: st.DrawFn) -> Case:
    # TensorFlow's depthwise gradient refuses unequal strides: see the test of its own below.
    config = draw(windows(strides_and_dilation=True, square=True))
    config["depth_multiplier"] = draw(st.integers(1, 3))
    config["activation"] = None if config["activation"] == "softmax" else config["activation"]
    least = extent(config["kernel_size"], config["dilation_rate"])
    return config, images(draw, draw(st.integers(1, 4)), config["data_format"], least)


@st.composite
def separable(draw: st.DrawFn) -> Case:
    config, x = draw(depthwise())
    return config | {"filters": draw(st.integers(1, 4))}, x


@st.composite
def pools(draw: st.DrawFn) -> Case:
    size = draw(pairs)
    config = {
        "pool_size": size,
        "strides": draw(st.none() | pairs),
        "padding": draw(st.sampled_from(["valid", "same", "SAME"])),
        "data_format": draw(formats),
    }
    return config, images(draw, draw(st.integers(1, 4)), config["data_format"], max(size))


@st.composite
def adaptive_pools(draw: st.DrawFn, least: int = 1) -> Case:
    sizes = st.integers(least, 4)
    config = {"output_size": (draw(sizes), draw(sizes)), "data_format": draw(formats)}
    return config, images(draw, draw(st.integers(1, 4)), config["data_format"], 3)


@st.composite
def global_pools(draw: st.DrawFn) -> Case:
    config = {"keepdims": draw(st.booleans()), "data_format": draw(formats)}
    return config, images(draw, draw(st.integers(1, 4)), config["data_format"])


@st.composite
def dense(draw: st.DrawFn) -> Case:
    shape = tuple(draw(st.lists(st.integers(1, 5), min_size=2, max_size=4)))
    config = {
        "units": draw(st.integers(1, 6)),
        "activation": draw(activations),
        "use_bias": draw(st.booleans()),
    }
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return config, rng.standard_normal(shape).astype("float32")


@st.composite
def flat(draw: st.DrawFn) -> Case:
    data_format = draw(formats)
    return {"data_format": data_format}, images(draw, draw(st.integers(1, 4)), data_format)


KINDS = [
    ("Conv2D", convolutions()),
    ("DepthwiseConv2D", depthwise()),
    ("SeparableConv2D", separable()),
    ("MaxPooling2D", pools()),
    ("AveragePooling2D", pools()),
    # At a size of 1 TensorFlow's gradient is memory it never wrote: see the test of its own below.
    ("AdaptiveMaxPooling2D", adaptive_pools(least=2)),
    ("AdaptiveAveragePooling2D", adaptive_pools()),
    ("GlobalMaxPooling2D", global_pools()),
    ("GlobalAveragePooling2D", global_pools()),
    ("Dense", dense()),
    ("Flatten", flat()),
]


@pytest.mark.parametrize("examples", SWEEPS)
@pytest.mark.parametrize(("name", "cases"), KINDS, ids=[name for name, _ in KINDS])
def test_layer_gives_what_tensorflow_gives(
    referee: Referee, name: str, cases: st.SearchStrategy[Case], examples: int
) -> None:
    def check(case: Case) -> None:
        config, x = case
        assert_parity(referee, name, config, x)

    sweep(cases, examples, check)


def test_one_adaptive_maximum_is_the_global_one(referee: Referee) -> None:
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 3)).astype("float32")
    upstream = np.ones((2, 1, 1, 3), dtype="float32")
    ours = run_ours("AdaptiveMaxPooling2D", {"output_size": 1}, [x], upstream=upstream)
    theirs = referee.call("GlobalMaxPooling2D", {"keepdims": True}, [x], upstream=upstream)
    assert_same(ours, theirs)


@pytest.mark.parametrize("padding", ["valid", "same"])
@pytest.mark.parametrize(("strides", "dilation"), [((1, 2), 1), ((3, 1), 1), ((2, 3), (1, 2))])
def test_depthwise_takes_unequal_strides(
    referee: Referee, padding: str, strides: tuple[int, int], dilation: int | tuple[int, int]
) -> None:
    """TensorFlow's depthwise gradient does not; strided rows of what it does at stride 1 judge."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 9, 10, 3)).astype("float32")
    config = {"kernel_size": 3, "depth_multiplier": 2, "dilation_rate": dilation}
    layer = layers.DepthwiseConv2D(**config, strides=strides, padding=padding)
    layer.build(x.shape)
    weights = random_weights(layer, rng)
    rows, columns = resolve_padding(
        padding, (9, 10), (3, 3), strides, dilation if isinstance(dilation, tuple) else (1, 1)
    )
    upstream = rng.standard_normal(layer.compute_output_shape(x.shape)).astype("float32")
    ours = run_ours(
        "DepthwiseConv2D",
        {**config, "strides": strides, "padding": padding},
        [x],
        weights,
        upstream,
    )
    # The same convolution at stride 1, of the image padded by hand; every stride-th row counts.
    padded = np.pad(x, ((0, 0), rows, columns, (0, 0)))
    every = (slice(None), slice(None, None, strides[0]), slice(None, None, strides[1]))
    full = layers.DepthwiseConv2D(**config).compute_output_shape(padded.shape)
    spread = np.zeros(full, dtype="float32")
    spread[every] = upstream
    theirs = referee.call("DepthwiseConv2D", config, [padded], weights=weights, upstream=spread)
    assert theirs.input_gradient is not None
    theirs.output = theirs.output[every]
    theirs.input_gradient = theirs.input_gradient[
        :, rows[0] : rows[0] + 9, columns[0] : columns[0] + 10
    ]
    assert_same(ours, theirs)


@pytest.mark.parametrize("name", ["MaxPooling2D", "GlobalMaxPooling2D"])
def test_equal_maxima_share_the_gradient_as_in_tensorflow(referee: Referee, name: str) -> None:
    x = np.array([1, 2, 2, 2, 0, 2, 2, 1], dtype="float32").reshape(1, 2, 4, 1)
    config = {"pool_size": (2, 4)} if name == "MaxPooling2D" else {}
    assert_parity(referee, name, config, x)


def test_max_pool_propagates_nan() -> None:
    """TensorFlow on a CPU drops it, which hides a diverged layer; both our dialects show it."""
    x = np.zeros((1, 4, 4, 1), dtype="float32")
    x[0, 1, 1] = np.nan
    pooled = layers.MaxPooling2D(2)(torch.from_numpy(x)).numpy()
    assert np.isnan(pooled[0, 0, 0, 0])
    assert np.isfinite(pooled).sum() == 3


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(3, 3),
        layers.DepthwiseConv2D(3),
        layers.SeparableConv2D(3, 3),
        layers.MaxPooling2D(2),
        layers.AveragePooling2D(2, padding="same"),
        layers.GlobalAveragePooling2D(),
        layers.AdaptiveAveragePooling2D(2),
        layers.SqueezeExcite(2),
        layers.Dense(3),
        layers.Flatten(),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_empty_batch_gives_an_empty_output(layer: Any) -> None:
    """TensorFlow's convolutions fail on one; a last batch that a filter emptied should not."""
    x = torch.zeros(0, 8, 8, 4)
    assert tuple(layer(x).shape) == layer.compute_output_shape(x.shape)


def test_one_filter_on_one_small_image(referee: Referee) -> None:
    """Where PyTorch's own gradient fails on a kernel of Keras's strides."""
    x = np.random.default_rng(0).standard_normal((1, 2, 3, 2)).astype("float32")
    assert_parity(referee, "Conv2D", {"filters": 1, "kernel_size": (1, 2)}, x)
