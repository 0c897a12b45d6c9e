"""A model's layers of keras.layers as ours, and back: stock Keras then opens its files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

import keras
import torch

from lamina.layers.batch_norm2d import BatchNormalization
from lamina.layers.conv2d import Conv2D, PointwiseConv2D
from lamina.layers.dense import Dense
from lamina.layers.depthwise_conv2d import DepthwiseConv2D
from lamina.layers.dropout import Dropout, DropPath, SpatialDropout2D
from lamina.layers.fusion import fuse_pairs, part_pairs
from lamina.layers.pool2d import (
    AdaptiveAveragePooling2D,
    AdaptiveMaxPooling2D,
    AveragePooling2D,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    MaxPooling2D,
)
from lamina.layers.separable_conv2d import SeparableConv2D
from lamina.layers.squeeze_excite import SqueezeExcite

__all__ = ["from_keras", "layers_of", "to_keras"]

Model = TypeVar("Model", bound=torch.nn.Module)

PLAIN: Mapping[type[keras.layers.Layer], type[keras.layers.Layer]] = {
    **{
        ours: getattr(keras.layers, ours.__name__)
        for ours in (
            AdaptiveAveragePooling2D,
            AdaptiveMaxPooling2D,
            AveragePooling2D,
            BatchNormalization,
            Conv2D,
            Dense,
            DepthwiseConv2D,
            Dropout,
            GlobalAveragePooling2D,
            GlobalMaxPooling2D,
            MaxPooling2D,
            SeparableConv2D,
            SpatialDropout2D,
        )
    },
    PointwiseConv2D: keras.layers.Conv2D,
    DropPath: keras.layers.Dropout,
}


OURS = {plain: ours for ours, plain in PLAIN.items() if plain.__name__ == ours.__name__}
"""Which of our layers stands for one of Keras's with its own arguments."""


def from_keras(model: Model) -> Model:
    """Give a model the layers of lamina.layers in the place of Keras's, in place.

    A layer changes its class and stays the same object, nested, shared and wrapped ones too, with
    its weights, its configuration and its seed; a compiled model stays compiled, with its
    optimizer. What has no equal in lamina.layers, and subclasses of Keras's layers, stay. Where an
    activation follows a batch normalisation in a functional or sequential model, both run as one.

    Args:
        model: a Keras model or layer, or a torch module that holds some.

    Returns:
        The model: TensorFlow's numbers, in less time.

    Example:
        >>> layers = [keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3), keras.layers.ReLU()]
        >>> model = from_keras(keras.Sequential(layers))
        >>> [type(layer).__module__ for layer in model.layers]
        ['lamina.layers.conv2d', 'keras.src.layers.activations.relu']
    """
    layers = layers_of(model)
    _exchange(layers, OURS)
    for layer in layers:
        if isinstance(layer, keras.Model):
            fuse_pairs(layer)
    return model


def to_keras(model: Model) -> Model:
    """Give a model the layers of keras.layers in the place of ours, in place.

    A layer changes its class and stays the same object, nested and wrapped ones too, with its
    weights, its configuration and its seed; a compiled model stays compiled, with its optimizer.
    What the model is saved to then opens wherever Keras does, on any backend.

    Args:
        model: a Keras model or layer, or a torch module that holds some.

    Returns:
        The model. Its numbers are those of Keras's own torch backend from now on: the same but for
        rounding, dropout's masks and what that backend does in another way than TensorFlow.

    Raises:
        ValueError: a layer that Keras has no equal of: ``SqueezeExcite``, a ``DropPath`` that was
            never called, a ``BatchNormalization`` with ``synchronized``, a subclass of one of ours.
            The message names it, and nothing has changed.

    Example:
        >>> model = keras.Sequential([keras.Input((8, 8, 3)), PointwiseConv2D(4), DropPath(0.1)])
        >>> [type(layer).__module__ for layer in to_keras(model).layers]
        ['keras.src.layers.convolutional.conv2d', 'keras.src.layers.regularization.dropout']
        >>> model.layers[1].noise_shape
        (None, 1, 1, 1)
    """
    layers = layers_of(model)
    for layer in layers:
        if problem := _inexpressible(layer):
            raise ValueError(f"restore: layer {layer.path or layer.name!r} {problem}")
    for layer in layers:
        if isinstance(layer, keras.Model):
            part_pairs(layer)
    _exchange(layers, PLAIN)
    return model


def _exchange(
    layers: list[keras.layers.Layer],
    kinds: Mapping[type[keras.layers.Layer], type[keras.layers.Layer]],
) -> None:
    for layer in layers:
        if type(layer) in kinds:
            layer.__class__ = kinds[type(layer)]
        if isinstance(layer, keras.Model):
            # What was compiled of the layers as they were; made anew when it is next needed.
            layer.train_function = layer.test_function = layer.predict_function = None


def layers_of(model: torch.nn.Module) -> list[keras.layers.Layer]:
    """Every Keras layer, each once: those that Keras tracks and those that PyTorch does."""
    modules = [m for m in model.modules() if isinstance(m, keras.layers.Layer)]
    return list(dict.fromkeys(layer for m in modules for layer in m._flatten_layers()))


def _inexpressible(layer: keras.layers.Layer) -> str | None:
    """Why a layer cannot become one of Keras's; None where it can, or is one already."""
    kind = type(layer)
    if isinstance(layer, SqueezeExcite):
        return "cannot be plain: keras.layers has no SqueezeExcite"
    if kind not in PLAIN:
        bases = [ours.__name__ for ours in kind.__mro__ if ours in PLAIN]
        return f"cannot be plain: a subclass of lamina.layers.{bases[0]}" if bases else None
    if kind is DropPath and not layer.built:
        return "cannot be plain yet: DropPath learns the number of axes from its first call"
    if kind is BatchNormalization and layer.synchronized:
        return "cannot be plain: Keras has synchronized=True on TensorFlow alone"
    return None
