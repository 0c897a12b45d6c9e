"""The tf.keras dialect: Keras's own layers, on its torch backend, with the work done by `ops`.

    from lamina import layers            # in the place of: from keras import layers

The classes below are subclasses of Keras's of the same name. Constructor, config, initialisers,
regularisers, constraints, masks, models, ``fit``, callbacks and ``.keras`` files are Keras's;
``call`` is ours. Every other public name of ``keras.layers`` (``Input``, ``Add``, ``Conv1D``, ...)
is handed on, by ``from lamina.layers import *`` too. `to_keras` gives a model its plain layers
back.

Keras has one backend per process and chooses it when it is first imported. Import
``lamina.layers`` before ``keras`` and it chooses torch; import ``keras`` first and it must have
been told so by ``KERAS_BACKEND=torch``.

Raises:
    ImportError: Keras is not installed, or runs on another backend; the message says what to do.

Example:
    >>> import keras
    >>> model = keras.Sequential([Conv2D(8, 3, activation="relu"), MaxPooling2D(2), Flatten()])
    >>> tuple(model(keras.ops.ones((1, 10, 10, 3))).shape)
    (1, 128)
"""

from typing import Any

from lamina.layers import backend as _backend

_backend.require_torch()

import keras as _keras  # noqa: E402  (the backend is chosen first)

from lamina.layers.activation import (  # noqa: E402
    ELU,
    Activation,
    LeakyReLU,
    PReLU,
    ReLU,
    Softmax,
)
from lamina.layers.batch_norm2d import BatchNormalization  # noqa: E402
from lamina.layers.conv2d import Conv2D, PointwiseConv2D  # noqa: E402
from lamina.layers.dense import Dense, Flatten  # noqa: E402
from lamina.layers.depthwise_conv2d import DepthwiseConv2D  # noqa: E402
from lamina.layers.dropout import Dropout, DropPath, SpatialDropout2D  # noqa: E402
from lamina.layers.exchange import from_keras, to_keras  # noqa: E402
from lamina.layers.pool2d import (  # noqa: E402
    AdaptiveAveragePooling2D,
    AdaptiveMaxPooling2D,
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from lamina.layers.separable_conv2d import SeparableConv2D  # noqa: E402
from lamina.layers.squeeze_excite import SqueezeExcite  # noqa: E402

# Keras's second names must lead to ours too.
Convolution2D = Conv2D
SeparableConvolution2D = SeparableConv2D
MaxPool2D = MaxPooling2D
AvgPool2D = AveragePooling2D
GlobalMaxPool2D = GlobalMaxPooling2D
GlobalAvgPool2D = GlobalAveragePooling2D

__all__ = [
    "ELU",
    "Activation",
    "AdaptiveAveragePooling2D",
    "AdaptiveMaxPooling2D",
    "AveragePooling2D",
    "AvgPool2D",
    "BatchNormalization",
    "Conv2D",
    "Convolution2D",
    "Dense",
    "DepthwiseConv2D",
    "DropPath",
    "Dropout",
    "Flatten",
    "GlobalAveragePooling2D",
    "GlobalAvgPool2D",
    "GlobalMaxPool2D",
    "GlobalMaxPooling2D",
    "LeakyReLU",
    "MaxPool2D",
    "MaxPooling2D",
    "PReLU",
    "PointwiseConv2D",
    "ReLU",
    "SeparableConv2D",
    "SeparableConvolution2D",
    "Softmax",
    "SpatialDropout2D",
    "SqueezeExcite",
    "from_keras",
    "to_keras",
]
__all__ += sorted({name for name in dir(_keras.layers) if name[0] != "_"} - {*__all__})


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """What is not ours is Keras's: ``layers.Input``, ``layers.Add``, ``layers.Conv1D``, ..."""
    try:
        return getattr(_keras.layers, name)
    except AttributeError:
        raise AttributeError(f"neither lamina.layers nor keras.layers has {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*globals(), *dir(_keras.layers)})
