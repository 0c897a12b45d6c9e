"""A photograph and simple feature maps of it, for layers that stand behind others."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_sample_image

from lamina import ops

_TOP, _LEFT, _SIZE = 72, 157, 300
_SOBEL = np.array([[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]) / 4


def photo(side: int) -> NDArray[np.float64]:
    """The flower of scikit-learn's sample images, (3, side, side), from 0 to 1.

    Args:
        side: pixels, a divisor of 300: each is the mean of a square of the photograph.
    """
    whole = load_sample_image("flower.jpg")[_TOP : _TOP + _SIZE, _LEFT : _LEFT + _SIZE] / 255
    return shrunk(whole.transpose(2, 0, 1), side)


def shrunk(maps: NDArray[np.float64], side: int) -> NDArray[np.float64]:
    """Means of squares: (C, H, W) to (C, side, side), H and W multiples of ``side``."""
    channels, height, width = maps.shape
    squares = maps.reshape(channels, side, height // side, side, width // side)
    return squares.mean((2, 4))


def edges(image: NDArray[np.float64]) -> NDArray[np.float64]:
    """Vertical and horizontal edges by Sobel's kernels: (H, W) to (2, H, W)."""
    padded = torch.tensor(np.pad(image, 1, mode="edge"))[None, None]
    kernels = torch.tensor(np.stack([_SOBEL, _SOBEL.T]))[:, None]
    return ops.conv2d(padded, kernels)[0].numpy()


def channels(side: int) -> NDArray[np.float64]:
    """Four feature maps, (4, side, side), none negative: light, red over green, and both edges."""
    colours = photo(side)
    light = colours.mean(0)
    red = np.maximum(colours[0] - colours[1], 0)
    return np.stack([light, red, *np.abs(edges(light))])
