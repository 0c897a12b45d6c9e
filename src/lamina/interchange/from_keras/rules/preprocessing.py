"""Layers that prepare images, and those that change their size."""

from __future__ import annotations

import operator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lamina.interchange.from_keras.call import Call, layer
from lamina.interchange.from_keras.constructor import constructor
from lamina.interchange.from_keras.value import Value, inverse

__all__: list[str] = []


@layer("Rescaling")
def _rescaling(call: Call, x: Value) -> Value:
    import keras

    scale, offset = np.asarray(call.operation.scale), np.asarray(call.operation.offset)
    if scale.ndim == offset.ndim == 0:
        node = x.node
        if scale != 1:
            node = call.function(operator.mul, node, float(scale))
        if offset != 0:
            node = call.function(operator.add, node, float(offset))
        return replace(x, node=node)
    if keras.config.image_data_format() == "channels_first":
        call.refuse("Keras takes its numbers for those of channels_first images", "data-format")
    shape = np.broadcast_shapes(scale.shape, offset.shape)
    scales, offsets = (_spread(np.broadcast_to(one, shape), x) for one in (scale, offset))
    y = call.module(x, constructor("ChannelAffine", tuple(scales.shape)))
    call.constant("scale", scales)
    call.constant("offset", offsets)
    return y


@layer("Normalization")
def _normalization(call: Call, x: Value) -> Value:
    norm = call.operation
    if norm.invert:
        call.refuse("invert=True undoes a normalisation")
    if norm.mean is None:
        call.refuse("it has not been adapted to data")
    adapted = norm.input_mean is None
    mean, variance = (_spread(_array(one), x) for one in (norm.mean, norm.variance))
    y = call.module(x, constructor("Normalize", tuple(mean.shape)))
    # Variables that were set, and not loaded or adapted, are not what the layer computes with.
    if adapted and _holds(norm.adapt_mean, mean) and _holds(norm.adapt_variance, variance):
        call.weight(norm.adapt_mean, "mean", shape=mean.shape)
        call.weight(norm.adapt_variance, "variance", shape=mean.shape)
        call.weight(norm.count, "count")
    else:
        call.constant("mean", mean)
        call.constant("variance", variance)
    return y


@layer("UpSampling2D")
def _up_sampling2d(call: Call, x: Value) -> Value:
    up = call.operation
    if up.interpolation not in ("nearest", "bilinear"):
        call.refuse(f"torch has another {up.interpolation} interpolation", "interpolation")
    options: dict[str, tuple[Any, Any]] = {
        "scale_factor": (tuple(up.size), None),
        "mode": (up.interpolation, "nearest"),
    }
    return call.module(call.image(x), constructor("Upsample", **options))


@layer("Resizing")
def _resizing(call: Call, x: Value) -> Value:
    resize = call.operation
    modes = {"nearest": "nearest-exact", "bilinear": "bilinear"}
    mode = modes.get(resize.interpolation)
    if mode is None:
        call.refuse(f"torch has another {resize.interpolation} interpolation", "interpolation")
    if resize.crop_to_aspect_ratio or resize.pad_to_aspect_ratio or resize.antialias:
        call.refuse("it keeps the aspect ratio, or smooths first", "interpolation")
    x = call.image(x)
    options = {"size": ((resize.height, resize.width), None), "mode": (mode, "nearest")}
    return call.module(x, constructor("Upsample", **options))


@layer("CenterCrop")
def _center_crop(call: Call, x: Value) -> Value:
    crop, x = call.operation, call.image(x)
    keys: list[slice] = [slice(None), slice(None)]
    for size, wanted in zip(x.torch_shape[2:], (crop.height, crop.width), strict=True):
        if size is None or size < wanted:
            call.refuse("it crops images of a size that is not fixed, or enlarges them")
        start = (size - wanted) // 2
        keys.append(slice(start, start + wanted))
    return replace(x, node=call.function(operator.getitem, x.node, tuple(keys)))


def _holds(variable: Any, numbers: torch.Tensor) -> bool:  # noqa: ANN401 - a Keras variable
    return bool(np.array_equal(_array(variable.value).ravel(), numbers.numpy().ravel()))


def _array(tensor: Any) -> NDArray[np.float32]:  # noqa: ANN401 - a backend's tensor
    return torch.as_tensor(tensor).detach().cpu().float().numpy()


def _spread(array: NDArray[Any], x: Value) -> torch.Tensor:
    """Numbers that broadcast over Keras's tensor, in the order of torch's axes, without a batch."""
    array = array.reshape((1,) * (x.rank - array.ndim) + array.shape).transpose(inverse(x.axes))
    tensor = torch.from_numpy(np.ascontiguousarray(array, dtype=np.float32))
    return tensor[0] if tensor.shape[0] == 1 else tensor
