"""The classic networks as keras.applications defines them, of `lamina.layers`.

Names of layers, order and shapes of weights are Keras's, so that its weights files load, and those
saved here load in any Keras: ``lamina.restore`` gives the layers back to it. What they take is what
`preprocess` gives with ``flavour="keras"``.

Source: Keras, ``keras/src/applications``; ResNet-18, which Keras lacks, is in its others' manner.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from lamina.errors import InputError, closest
from lamina.extras import require
from lamina.theory.validation import positive_int

__all__ = ["keras_network"]

_CLASSES = {
    "efficientnet_b0": "EfficientNetB0",
    "mobilenet_v1": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "mobilenet_v3_large": "MobileNetV3Large",
    "mobilenet_v3_small": "MobileNetV3Small",
    "resnet50": "ResNet50",
    "vgg16": "VGG16",
}
_OURS = ("include_top", "weights", "input_tensor", "input_shape", "pooling", "classes", "name")
"""Arguments of keras.applications that stand for themselves here, or under another name."""


def keras_network(
    name: str,
    num_classes: int = 1000,
    input_shape: Sequence[int | None] = (224, 224, 3),
    **arguments: Any,
) -> Any:  # noqa: ANN401 - a keras.Model; Keras has no types
    """Build a network as a functional Keras model, with weights drawn anew.

    Args:
        name: of the network.
        num_classes: at least 1; the output is their probabilities.
        input_shape: (height, width, channels); None for a size that stays open.
        **arguments: those of the function in ``keras.applications``, such as ``alpha`` or
            ``dropout_rate``.

    Raises:
        InputError: Keras has no such network, or it no such argument; Keras on another backend.
        MissingExtraError: Keras is not installed.

    Example:
        >>> model = keras_network("mobilenet_v2", num_classes=10, input_shape=(64, 64, 3))
        >>> model.output_shape, model.get_layer("Conv1").kernel.shape
        ((None, 10), (3, 3, 3, 32))
    """
    require("keras", "a network in Keras's definition")
    try:
        from lamina.layers import from_keras
    except ImportError as error:
        raise InputError(f"{name}: {error}") from error
    import keras

    known = [*_CLASSES, "resnet18"]
    if name not in known:
        raise InputError(
            f"model: in Keras's flavour expected one of {', '.join(sorted(known))}; got {name!r}"
            f"{closest(name, known)}"
        )
    build: Callable[..., Any] = (
        _resnet18 if name == "resnet18" else getattr(keras.applications, _CLASSES[name])
    )
    allowed = [p for p in inspect.signature(build).parameters if p not in _OURS]
    for argument in arguments:
        if argument not in allowed:
            raise InputError(
                f"{name}: no argument {argument!r}; in Keras's flavour it has num_classes, "
                f"input_shape, {', '.join(allowed)}{closest(argument, allowed)}"
            )
    classes = positive_int(num_classes, "num_classes")
    return from_keras(
        build(weights=None, classes=classes, input_shape=tuple(input_shape), **arguments)
    )


def _resnet18(
    weights: None = None,
    input_shape: tuple[int | None, ...] = (224, 224, 3),
    classes: int = 1000,
    classifier_activation: str = "softmax",
) -> Any:  # noqa: ANN401
    from keras.src.applications.resnet import ResNet

    def stages(x: Any) -> Any:  # noqa: ANN401
        for stage, channels in enumerate((64, 128, 256, 512), 2):
            x = _basic_block(x, channels, 1 if stage == 2 else 2, f"conv{stage}_block1")
            x = _basic_block(x, channels, 1, f"conv{stage}_block2")
        return x

    return ResNet(
        stages,
        preact=False,
        use_bias=True,
        weights=weights,
        input_shape=input_shape,
        classes=classes,
        classifier_activation=classifier_activation,
        name="resnet18",
    )


def _basic_block(x: Any, channels: int, stride: int, name: str) -> Any:  # noqa: ANN401
    """Two 3×3 convolutions, the stride on the first; epsilon and biases are Keras's."""
    from keras import layers

    def normalized(x: Any, part: int, size: int, stride: int) -> Any:  # noqa: ANN401
        x = layers.Conv2D(
            channels, size, strides=stride, padding="same", name=f"{name}_{part}_conv"
        )(x)
        return layers.BatchNormalization(epsilon=1.001e-5, name=f"{name}_{part}_bn")(x)

    changes = stride > 1 or x.shape[-1] != channels
    shortcut = normalized(x, 0, 1, stride) if changes else x
    x = layers.Activation("relu", name=f"{name}_1_relu")(normalized(x, 1, 3, stride))
    x = layers.Add(name=f"{name}_add")([shortcut, normalized(x, 2, 3, 1)])
    return layers.Activation("relu", name=f"{name}_out")(x)
