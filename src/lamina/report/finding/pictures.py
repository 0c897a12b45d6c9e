"""Arrays as small PNG pictures in base64, for `Picture` and for a panel's background."""

import base64

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lamina.report.confusion import png_bytes

_COLD, _WARM = np.array([0x2B, 0x6C, 0x9B]), np.array([0xC2, 0x56, 0x2D])
_MIDDLE = np.array([0xF4, 0xF2, 0xEE])


def grey(image: ArrayLike, low: float | None = None, high: float | None = None) -> str:
    """Return an image (H, W), or (H, W, 3), from black at ``low`` to white at ``high``.

    Args:
        image: finite values.
        low: shown black; the least value by default.
        high: shown white; the largest value by default.
    """
    pixels = np.asarray(image, dtype=np.float64)
    low = float(pixels.min()) if low is None else low
    high = float(pixels.max()) if high is None else high
    share = np.clip((pixels - low) / max(high - low, 1e-12), 0, 1)
    return _png(np.rint(255 * share).astype(np.uint8))


def signed(image: ArrayLike, scale: float | None = None) -> str:
    """Return an image (H, W): blue below zero, red above, pale at zero.

    Args:
        image: finite values.
        scale: the distance from zero of the full colours; the largest one by default.
    """
    pixels = np.asarray(image, dtype=np.float64)
    scale = float(np.abs(pixels).max()) if scale is None else scale
    share = np.clip(pixels / max(scale, 1e-12), -1, 1)[..., None]
    colour = np.where(
        share > 0, _MIDDLE + share * (_WARM - _MIDDLE), _MIDDLE - share * (_COLD - _MIDDLE)
    )
    return _png(np.rint(colour).astype(np.uint8))


def _png(pixels: NDArray[np.uint8]) -> str:
    height, width, *rest = pixels.shape
    data = png_bytes(pixels.tobytes(), width, height, rest[0] if rest else 1)
    return base64.b64encode(data).decode()
