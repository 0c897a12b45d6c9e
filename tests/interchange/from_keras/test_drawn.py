"""Convolutions, pools and padding as hypothesis draws them, against TensorFlow."""

import keras
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.interchange.from_keras.compare import crossed, difference, inputs_for, run

pair = st.tuples(st.integers(1, 4), st.integers(1, 4))
padding = st.sampled_from(["same", "valid"])
quick = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
wide = settings(quick, max_examples=600)


@st.composite
def layer(draw):
    kind = draw(
        st.sampled_from(
            [
                "Conv2D",
                "DepthwiseConv2D",
                "SeparableConv2D",
                "Conv2DTranspose",
                "MaxPooling2D",
                "AveragePooling2D",
            ]
        )
    )
    config = {"padding": draw(padding), "strides": draw(pair)}
    if "Pooling" in kind:
        return kind, {**config, "pool_size": draw(pair)}
    if kind in ("DepthwiseConv2D", "SeparableConv2D"):  # TensorFlow wants equal strides
        config["strides"] = (draw(st.integers(1, 3)),) * 2
        config["depth_multiplier"] = draw(st.integers(1, 3))
    if max(config["strides"]) == 1 and kind != "Conv2DTranspose":
        config["dilation_rate"] = (draw(st.integers(1, 3)),) * 2
    if kind != "DepthwiseConv2D":
        config["filters"] = 4
    if kind == "Conv2D":
        config["groups"] = draw(st.sampled_from([1, 2, 4]))
    return kind, {**config, "kernel_size": draw(pair), "use_bias": draw(st.booleans())}


@st.composite
def network(draw):
    """A shape, fixed or not, and a few layers."""
    size = draw(st.tuples(st.integers(13, 18), st.integers(13, 18)))
    shape = draw(st.sampled_from([(*size, 4), (None, None, 4)]))
    parts = [draw(layer())]
    if draw(st.booleans()):
        border = draw(st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * 2))
        parts.insert(0, ("ZeroPadding2D", {"padding": border}))
    return size, shape, parts


def check(tensorflow, drawn, flavour):
    size, shape, parts = drawn
    made = [getattr(keras.layers, kind)(**config) for kind, config in parts]
    weights, crossing = crossed(keras.Sequential([keras.Input(shape), *made]), flavour=flavour)
    inputs = inputs_for(crossing.keras_model, size, batch=2)
    wanted, _ = tensorflow.call("sequence", weights, inputs, shape=shape, parts=parts)
    assert difference(run(crossing, inputs), wanted) < 1e-5


@quick
@given(drawn=network(), flavour=st.sampled_from(["torch", "lamina"]))
def test_a_drawn_network_gives_tensorflows_numbers(tensorflow, drawn, flavour):
    check(tensorflow, drawn, flavour)


@pytest.mark.slow
@wide
@given(drawn=network(), flavour=st.sampled_from(["torch", "lamina"]))
def test_many_drawn_networks_give_tensorflows_numbers(tensorflow, drawn, flavour):
    check(tensorflow, drawn, flavour)
