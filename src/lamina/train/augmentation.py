"""Training images made anew in every epoch: small movements, or kornia's presets on batches.

Source: Krizhevsky et al. (2012), section 4.1 (flips, crops, colours); Cubuk et al., "RandAugment"
(2019); Zhong et al., "Random erasing" (2017); Zhang et al., "mixup" (2018); Yun et al., "CutMix"
(2019).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lamina.settings import Augment
from lamina.train.images import Pixels

_SHIFT = 1 / 16  # of the side
_ANGLE = 10.0  # degrees
_ZOOM = 0.1  # natural logarithm of the factor

_CROP = (0.5, 1.0)  # of the area
_STRONG_CROP = (0.25, 1.0)
_COLOUR = (0.2, 0.2, 0.2, 0.05)  # brightness, contrast, saturation, hue
_ERASED = 0.25  # of the images
_BLENDED = 0.8  # of the batches


def moved(image: Pixels, draw: np.random.Generator) -> Pixels:
    """Shift an image by up to 1/16 of its side, turn it by up to 10°, zoom by up to 10 %.

    Pixels from outside are black.
    """
    height, width, channels = image.shape
    angle, zoom, right, down = draw.uniform(-1, 1, size=4)
    right, down = right * _SHIFT * width, down * _SHIFT * height
    factor = np.exp(zoom * _ZOOM)
    cosine = np.cos(np.deg2rad(angle * _ANGLE)) / factor
    sine = np.sin(np.deg2rad(angle * _ANGLE)) / factor
    x, y = width / 2, height / 2
    # The map from a pixel of the result to its place in the image, around the centre.
    matrix = (
        *(cosine, sine, x - cosine * (x + right) - sine * (y + down)),
        *(-sine, cosine, y + sine * (x + right) - cosine * (y + down)),
    )
    made = Image.fromarray(image[..., 0] if channels == 1 else image).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(made).reshape(image.shape)


def augmented(
    images: Tensor, labels: Tensor, preset: Augment, classes: int, seed: tuple[int, ...]
) -> tuple[Tensor, Tensor]:
    """A batch as a preset makes it anew.

    Args:
        images: (N, C, H, W) in [0, 1], C of 1 or 3.
        labels: (N,) class numbers.
        preset: ``"standard"``: flips, random resized crops, colours; ``"strong"``: RandAugment,
            random erasing, and of most batches mixup or cutmix as well.
        classes: how many there are.
        seed: numbers that decide all of it.

    Returns:
        Images of the same shape; labels, or (N, classes) shares of them where images were blended.
    """
    state = np.random.SeedSequence(seed).generate_state(2, np.uint64)
    with torch.random.fork_rng(devices=[]), torch.no_grad():  # dropout's numbers stay its own
        torch.manual_seed(int(state[0] >> 1))
        colours = images if images.shape[1] == 3 else images.expand(-1, 3, -1, -1)
        made = _of_images(preset, tuple(images.shape[2:]))(colours).clamp(0, 1)
        made = made[:, : images.shape[1]].contiguous()
        chance = int(state[1]) / 2**64
        if preset != "strong" or chance >= _BLENDED or len(images) < 2:
            return made, labels
        return _blended(made, labels, classes, "mixup" if chance < _BLENDED / 2 else "cutmix")


@cache
def _of_images(preset: Augment, size: tuple[int, int]) -> Callable[[Tensor], Tensor]:
    from kornia import augmentation as kornia

    crop = _CROP if preset == "standard" else _STRONG_CROP
    parts = [
        kornia.RandomHorizontalFlip(),
        kornia.RandomResizedCrop(size, scale=crop),
    ]
    if preset == "standard":
        parts.append(kornia.ColorJitter(*_COLOUR, p=0.8))
    else:
        parts += [kornia.auto.RandAugment(2, 9), kornia.RandomErasing(p=_ERASED)]
    return kornia.AugmentationSequential(*parts, data_keys=["input"])


def _blended(images: Tensor, labels: Tensor, classes: int, how: str) -> tuple[Tensor, Tensor]:
    from kornia import augmentation as kornia

    keys: dict[str, Any] = {"data_keys": ["input", "class"], "p": 1.0}
    if how == "mixup":
        made, said = kornia.RandomMixUpV2(**keys)(images, labels)
        first, second, others = said.unbind(-1)
    else:
        made, said = kornia.RandomCutMixV2(**keys, use_correct_lambda=True)(images, labels)
        first, second, own = said[0].unbind(-1)  # of the one cut
        others = 1 - own
    whole, other = (
        torch.nn.functional.one_hot(one.long(), classes).to(images.dtype) for one in (first, second)
    )
    share = others.to(images.dtype)[:, None]
    return made, (1 - share) * whole + share * other
