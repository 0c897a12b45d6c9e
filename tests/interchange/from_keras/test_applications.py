"""The classic networks of keras.applications, against TensorFlow: native sizes and odd ones."""

import keras
import pytest

from lamina.interchange.proof import verify
from tests.interchange.from_keras.compare import crossed, difference, inputs_for, run

NATIVE = {
    "VGG16": 224,
    "ResNet50": 224,
    "ResNet50V2": 224,
    "MobileNet": 224,
    "MobileNetV2": 224,
    "MobileNetV3Small": 224,
    "MobileNetV3Large": 224,
    "EfficientNetB0": 224,
    "EfficientNetV2B0": 224,
    "DenseNet121": 224,
    "Xception": 299,
    "InceptionV3": 299,
    "NASNetMobile": 224,
    "ConvNeXtTiny": 224,
}
FIXED = ["NASNetMobile"]  # it asks for sizes when it is built


def options_of(name, size):
    """``None`` stands for a network that takes any size, run on an odd one."""
    if size == "native":
        return {}, (NATIVE[name],) * 2
    if size == "any" and name not in FIXED:
        return {"include_top": False, "input_shape": (None, None, 3), "pooling": "avg"}, (97, 131)
    return {"include_top": False, "input_shape": (97, 131, 3)}, (97, 131)


def compare(tensorflow, name, size, flavour="torch"):
    """The difference of the outputs; every weight has crossed."""
    options, shape = options_of(name, size)
    model = keras.models.model_from_json(tensorflow.described(name, **options))
    weights, crossing = crossed(model, flavour=flavour)
    inputs = inputs_for(crossing.keras_model, shape, batch=2)
    wanted, _ = tensorflow.call(name, weights, inputs, **options)
    assert len(crossing.weights) == len(weights)
    return difference(run(crossing, inputs), wanted)


@pytest.mark.parametrize(("name", "size"), [("MobileNetV2", "any"), ("MobileNetV3Small", "built")])
def test_a_small_network_gives_tensorflows_numbers(tensorflow, name, size):
    assert compare(tensorflow, name, size) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("flavour", ["torch", "lamina"])
@pytest.mark.parametrize("size", ["native", "built", "any"])
@pytest.mark.parametrize("name", sorted(NATIVE))
def test_a_network_gives_tensorflows_numbers(tensorflow, name, size, flavour):
    assert compare(tensorflow, name, size, flavour) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(NATIVE))
def test_a_training_step_of_a_network_is_proven(tensorflow, name):
    options, _ = options_of(name, "built")
    model = keras.models.model_from_json(tensorflow.described(name, **options))
    _, crossing = crossed(model)
    proof = verify(crossing, backend="tensorflow")
    assert proof.holds, proof.verdict
    assert {row.kind for row in proof.rows} >= {"output", "loss", "gradient", "weight"}
