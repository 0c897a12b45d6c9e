"""Images for experiments, as tensors: scikit-learn's digits, drawn shapes, or a person's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from lamina.train.data import load_data


@dataclass(frozen=True)
class Part:
    """Images of one purpose.

    Args:
        x: (N, C, H, W) float32, channels-last, standardised per channel.
        y: (N,) class numbers.
    """

    x: Tensor
    y: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def first(self, count: int) -> Part:
        """The first ``count`` images, or all where there are fewer."""
        return Part(self.x[:count], self.y[:count])

    def few(self, per_class: int, seed: int) -> Part:
        """Draw ``per_class`` images of each class, or all of a class that has fewer."""
        draw = np.random.default_rng(seed)
        chosen = [
            draw.permutation(np.flatnonzero(self.y.numpy() == label))[:per_class]
            for label in np.unique(self.y.numpy())
        ]
        index = torch.from_numpy(draw.permutation(np.concatenate(chosen)))
        return Part(self.x[index], self.y[index])


@dataclass(frozen=True)
class Images:
    """Labelled images, split.

    Args:
        name: what they are called.
        classes: names.
        train: to learn from; like the others in drawn order.
        validation: to watch.
        test: to judge by.
    """

    name: str
    classes: tuple[str, ...]
    train: Part
    validation: Part
    test: Part

    @property
    def channels(self) -> int:
        """Channels of an image."""
        return self.train.x.shape[1]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.train.x.shape[2:]
        return height, width

    def mapped(self, change: Callable[[Tensor, np.random.Generator], Tensor], seed: int) -> Images:
        """Change the images of each part, moved or enlarged, by a function of (x, generator)."""
        parts = [
            Part(change(part.x, np.random.default_rng((seed, number))), part.y)
            for number, part in enumerate((self.train, self.validation, self.test))
        ]
        return Images(self.name, self.classes, *parts)


def load(name: str = "digits", warn: Callable[[str], None] = print) -> Images:
    """Load ``"digits"`` (8×8 pixels, no download) or a folder of images, a sub-folder per class.

    Args:
        name: ``"digits"`` or the folder.
        warn: gets a line for what is no image.

    Raises:
        InputError: as `lamina.train.data.load_data`.

    Example:
        >>> images = load()
        >>> images.train.x.shape[1:], len(images.classes)
        (torch.Size([1, 8, 8]), 10)
    """
    data = load_data(name, warn=warn)
    # An experiment that takes the first hundred must find every class among them.
    parts = []
    for members in (data.train, data.validation, data.test):
        index = np.random.default_rng(0).permutation(members)
        x, y = data.facts.normalise(data.images[index]), torch.from_numpy(data.labels[index])
        parts.append(Part(x, y))
    return Images(data.name, data.facts.classes, *parts)


def on_ground(x: Tensor, draw: np.random.Generator, side: int, scale: int = 1) -> Tensor:
    """Put each image, ``scale`` times as large, at a drawn place of an empty square.

    Args:
        x: (N, C, H, W).
        draw: draws the places.
        side: height and width of the square in pixels; at least ``scale`` times the image's.
        scale: how many times as high and as wide.

    Returns:
        (N, C, side, side), channels-last; the ground has the image's least value.
    """
    x = x.repeat_interleave(scale, 2).repeat_interleave(scale, 3)
    count, channels, height, width = x.shape
    ground = torch.full((count, channels, side, side), float(x.min()))
    tops = draw.integers(0, side - height + 1, count)
    lefts = draw.integers(0, side - width + 1, count)
    for image, top, left, place in zip(x, tops, lefts, ground, strict=True):
        place[:, top : top + height, left : left + width] = image
    return ground.contiguous(memory_format=torch.channels_last)
