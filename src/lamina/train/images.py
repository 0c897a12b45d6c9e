"""Image files in: which ones a folder holds, and their pixels under limits of our own."""

import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lamina.errors import InputError

Pixels = NDArray[np.uint8]

FORMATS = ("PNG", "JPEG")
SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
MAX_PIXELS = 50_000_000
"""Pixels that one image may have; a small file can claim billions."""


def read_image(path: Path, size: tuple[int, int], channels: int) -> Pixels:
    """Read a PNG or JPEG file, scaled to cover ``size`` and cropped to it around the centre.

    Args:
        path: the file.
        size: height and width in pixels of the result.
        channels: 1 for grey, 3 for red, green and blue.

    Returns:
        An array (height, width, channels) of uint8.

    Raises:
        InputError: the file is missing, no PNG or JPEG, damaged, or has over `MAX_PIXELS`.
    """
    with _opened(path) as image:
        upright = ImageOps.exif_transpose(image)
        if upright.mode.startswith("I"):
            # 16 bits a pixel: Pillow's own conversion to 8 bits clips instead of scaling.
            upright = Image.fromarray((np.asarray(upright) >> 8).clip(0, 255).astype(np.uint8))
        grey = upright.convert("RGB" if channels == 3 else "L")
        height, width = size
        fitted = ImageOps.fit(grey, (width, height), Image.Resampling.BILINEAR)
        return np.asarray(fitted, dtype=np.uint8).reshape(height, width, channels)


def image_size(path: Path) -> tuple[int, int]:
    """Return the (height, width) that an image file states, without reading its pixels."""
    with _opened(path) as image:
        return image.height, image.width


class _opened:  # noqa: N801 - used as a statement, `with _opened(path)`
    """Open an image; whatever goes wrong with it, then or while it is read, names the file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __enter__(self) -> Image.Image:
        if not self._path.is_file():
            raise InputError(f"{self._path}: no such image file")
        try:
            with warnings.catch_warnings():
                # Pillow only warns of a decompression bomb that is not large enough for it.
                warnings.simplefilter("ignore", Image.DecompressionBombWarning)
                self._image = Image.open(self._path, formats=FORMATS)
        except Exception as error:
            raise self._unreadable(error) from error
        pixels = self._image.width * self._image.height
        if pixels > MAX_PIXELS:
            self._image.close()
            raise InputError(
                f"{self._path}: expected at most {MAX_PIXELS:,} pixels, got {pixels:,}"
            )
        return self._image

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._image.close()
        if isinstance(error, Exception) and not isinstance(error, InputError):
            raise self._unreadable(error) from error

    def _unreadable(self, error: Exception) -> InputError:
        if isinstance(error, Image.DecompressionBombError):
            return InputError(f"{self._path}: expected at most {MAX_PIXELS:,} pixels, got far more")
        return InputError(
            f"{self._path}: not a readable PNG or JPEG image ({type(error).__name__})"
        )


def class_folders(root: Path) -> Iterator[tuple[str, list[Path]]]:
    """Yield each class of an image folder with its files, both in alphabetical order.

    Files whose names end in other than ``.png``, ``.jpg`` or ``.jpeg``, and names that begin with
    a dot, are no images.

    Raises:
        InputError: a file or sub-folder is a link that leaves ``root``.
    """
    inside = root.resolve()
    for folder in sorted(root.iterdir()):
        if folder.name.startswith(".") or not folder.is_dir():
            continue
        files = []
        for file in sorted(folder.iterdir()):
            if file.name.startswith(".") or file.suffix.lower() not in SUFFIXES:
                continue
            if not file.resolve().is_relative_to(inside):
                raise InputError(
                    f"{file}: a link that leaves {root}; copy the image into the folder"
                )
            files.append(file)
        yield folder.name, files
