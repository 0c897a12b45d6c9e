"""What the classic networks' published weights expect of an image, in both flavours.

Source: torchvision, ``ImageClassification`` presets; Keras, ``imagenet_utils.preprocess_input``.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from lamina.errors import InputError, closest
from lamina.theory.validation import one_of

__all__ = ["preprocess"]

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_BLUE_GREEN_RED = (103.939, 116.779, 123.68)
_KERAS = {
    "efficientnet_b0": "inside",
    "mobilenet_v1": "to ±1",
    "mobilenet_v2": "to ±1",
    "mobilenet_v3_large": "inside",
    "mobilenet_v3_small": "inside",
    "resnet18": "minus means",
    "resnet50": "minus means",
    "vgg16": "minus means",
}


def preprocess(
    name: str, images: Tensor, *, flavour: Literal["torch", "keras"] = "torch"
) -> Tensor:
    """Pixels as a network's published weights expect them.

    Args:
        name: of the network.
        images: RGB, values in [0, 255], of any type: (..., 3, H, W) in torch's flavour,
            (..., H, W, 3) in Keras's.
        flavour: ``"torch"``: torchvision's weights, x/255 less the channels' mean, over their
            deviation. ``"keras"``: x/127.5 − 1 for MobileNet 1 and 2; blue, green, red less their
            means for VGG and ResNet; MobileNetV3 and EfficientNet scale inside of the model, and
            take the pixels as they are.

    Returns:
        float32, of the same shape; a new tensor unless the images are what is asked for.

    Raises:
        InputError: an unknown network.
        ValueError: an unknown flavour, or not three channels.

    Example:
        >>> white = torch.full((1, 2, 2, 3), 255)
        >>> preprocess("mobilenet_v2", white, flavour="keras")[0, 0, 0]
        tensor([1., 1., 1.])
    """
    one_of(flavour, "flavour", ("torch", "keras"))
    if name not in _KERAS:
        raise InputError(
            f"preprocess: expected one of {', '.join(_KERAS)}; got {name!r}"
            f"{closest(name, [*_KERAS])}"
        )
    channels = -3 if flavour == "torch" else -1
    if images.dim() < 3 or images.shape[channels] != 3:
        wanted = "(..., 3, H, W)" if flavour == "torch" else "(..., H, W, 3)"
        raise ValueError(f"images must be {wanted}, got {tuple(images.shape)}")
    x = images.to(torch.float32)
    if flavour == "torch":
        mean, deviation = (_per_channel(of, x, channels) for of in (MEAN, DEVIATION))
        return (x / 255 - mean) / deviation
    if _KERAS[name] == "inside":
        return x
    if _KERAS[name] == "to ±1":
        return x / 127.5 - 1
    return x.flip(channels) - _per_channel(_BLUE_GREEN_RED, x, channels)


def _per_channel(values: tuple[float, ...], x: Tensor, channels: int) -> Tensor:
    shape = [1] * x.dim()
    shape[channels] = 3
    return torch.tensor(values, device=x.device).view(shape)
