"""Image files in: which ones a folder holds, and their pixels under limits of our own."""

import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from lamina.errors import InputError

Pixels = NDArray[np.uint8]

FORMATS = {
    "PNG": (".png",),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "WEBP": (".webp",),
    "BMP": (".bmp", ".dib"),
    "GIF": (".gif",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
}
"""What is read, by Pillow's names, and how such files are called."""
SUFFIXES = frozenset(suffix for suffixes in FORMATS.values() for suffix in suffixes)
MAX_PIXELS = 50_000_000
"""Pixels that one image may have; a small file can claim billions."""
DEEP = 16
"""Bits of a grey level that is not a byte."""
_GROUND = (255, 255, 255)
"""What shows through where an image is transparent."""
_SPARE = 2
"""A JPEG is decoded at the smallest eighth of its size that is so many times the size wanted."""


@dataclass(frozen=True)
class Look:
    """What is known of an image before it is scaled.

    Args:
        height: in pixels.
        width: in pixels.
        bits: that its levels take, from 9 to 16; 0 for images of bytes.
    """

    height: int
    width: int
    bits: int = 0


def look(path: Path) -> Look:
    """Return what an image file states; only where its levels are no bytes its pixels are read.

    Raises:
        InputError: as `read_image`.
    """
    with _opened(path) as image:
        bits = int(_levels(path, image).max()).bit_length() if _is_deep(image) else 0
        return Look(image.height, image.width, max(9, bits) if bits else 0)


def read_image(path: Path, size: tuple[int, int], channels: int, bits: int = DEEP) -> Pixels:
    """Read an image file, scaled to cover ``size`` and cropped to it around the centre.

    It is turned as its camera says, what is transparent is laid on white, and of several images in
    one file the first is taken.

    Args:
        path: a file of one of `FORMATS`.
        size: height and width in pixels of the result.
        channels: 1 for grey, 3 for red, green and blue.
        bits: of the grey levels that are no bytes: 12 for a 12-bit camera's in a 16-bit file.

    Returns:
        An array (height, width, channels) of uint8.

    Raises:
        InputError: the file is missing, of another format, damaged, or has over `MAX_PIXELS`.
    """
    height, width = size
    with _opened(path) as image:
        if image.format == "JPEG":
            least = _SPARE * max(size)  # turned or not
            image.draft(None, (least, least))
        if _is_deep(image):
            levels = (_levels(path, image) >> (bits - 8)).clip(0, 255).astype(np.uint8)
            exif = image.getexif()
            image = Image.fromarray(levels)
            image.getexif().update(exif)
        upright = ImageOps.exif_transpose(image)
        if upright.has_transparency_data:
            laid = Image.new("RGBA", upright.size, _GROUND)
            laid.alpha_composite(upright.convert("RGBA"))
            upright = laid
        plain = upright.convert("RGB" if channels == 3 else "L")
        fitted = ImageOps.fit(plain, (width, height), Image.Resampling.BILINEAR)
        return np.asarray(fitted, dtype=np.uint8).reshape(height, width, channels)


def _is_deep(image: Image.Image) -> bool:
    return image.mode.startswith(("I", "F"))


def _levels(path: Path, image: Image.Image) -> NDArray[np.int64]:
    """Grey levels of more than a byte: Pillow's own conversion clips them instead of scaling."""
    levels = np.asarray(image)
    if levels.dtype.kind == "f" or levels.min() < 0 or levels.max() >= 1 << DEEP:
        raise InputError(
            f"{path}: expected levels of 8 or 16 bits, got {image.mode!r} from {levels.min():g} "
            f"to {levels.max():g}"
        )
    return levels.astype(np.int64)


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
                self._image = Image.open(self._path, formats=tuple(FORMATS))
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
            f"{self._path}: not a readable {', '.join(FORMATS)} image ({type(error).__name__})"
        )


def files_under(folder: Path, root: Path) -> Iterator[Path]:
    """Yield the files of a folder and of the folders in it, in alphabetical order.

    Names that begin with a dot are passed over, and links to folders are not followed.

    Raises:
        InputError: a file, or the folder itself, is a link that leaves ``root``.
    """
    inside = root.resolve()
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        found += [Path(place, name) for name in names if not name.startswith(".")]
    for file in sorted(found):
        if not file.resolve().is_relative_to(inside):
            raise InputError(f"{file}: a link that leaves {root}; copy the image into the folder")
        yield file


def is_image(file: Path) -> bool:
    """Tell by its name whether a file is to be read."""
    return file.suffix.lower() in SUFFIXES
