"""A folder of images, one sub-folder per class, read whole and checked before training starts."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lamina.errors import InputError
from lamina.train.config import OnBadImage
from lamina.train.images import Pixels, class_folders, image_size, read_image

MAX_SKIPPED_SHARE = 0.1
"""Share of a folder's images that may be left out as unreadable: more is no accident."""
MAX_BYTES = 4 * 2**30
"""Bytes that a folder's images, brought to one size, may take in memory."""

_Result = TypeVar("_Result")


def read_folder(
    root: Path, side: int | None, on_bad_image: OnBadImage, warn: Callable[[str], None]
) -> tuple[Pixels, NDArray[np.int64], tuple[str, ...], tuple[str, ...]]:
    """Read every image of a folder; a damaged one is found now, not in epoch three.

    Args:
        root: the folder.
        side: height and width in pixels to bring the images to; None takes the median of their
            shorter sides, at most 224.
        on_bad_image: ``"error"`` refuses the folder at its first unreadable image, ``"skip"``
            leaves up to a tenth of the images out.
        warn: gets a line per image left out.

    Returns:
        Images (N, H, W, 3), labels (N,), the names of the classes, the files left out.

    Raises:
        InputError: fewer than two classes, unreadable images, too many bytes, a link that leaves
            the folder.
    """
    found = [(name, files) for name, files in class_folders(root) if files]
    if len(found) < 2:
        classes = "no class" if not found else f"only the class {found[0][0]!r}"
        raise InputError(
            f"data: expected at least two sub-folders with PNG or JPEG images in {str(root)!r}, "
            f"found {classes}"
        )
    paths = [path for _, files in found for path in files]
    labels = [number for number, (_, files) in enumerate(found) for _ in files]
    if side is None:
        stated, _ = _read_all(paths, image_size, on_bad_image)
        sides = [min(size) for size in stated.values()]
        side = min(224, int(np.median(sides))) if sides else 1
    if len(paths) * side * side * 3 > MAX_BYTES:
        raise InputError(
            f"data: {len(paths):,} images of {side}x{side} pixels take more than "
            f"{MAX_BYTES // 2**30} GiB; a smaller --image-size takes less"
        )
    read = partial(read_image, size=(side, side), channels=3)
    images, bad = _read_all(paths, read, on_bad_image)
    for reason in bad.values():
        warn(f"left out: {reason}")
    if len(bad) > MAX_SKIPPED_SHARE * len(paths):
        raise InputError(
            f"data: {len(bad)} of {len(paths)} images are unreadable; at most "
            f"{MAX_SKIPPED_SHARE:.0%} may be left out"
        )
    return (
        np.stack(list(images.values())),
        np.array([label for path, label in zip(paths, labels, strict=True) if path in images]),
        tuple(name for name, _ in found),
        tuple(str(path) for path in bad),
    )


def _read_all(
    paths: Sequence[Path], read: Callable[[Path], _Result], on_bad_image: OnBadImage
) -> tuple[dict[Path, _Result], dict[Path, str]]:
    """Read files on all cores, in order: what was read, and why the others were not."""
    good: dict[Path, _Result] = {}
    bad: dict[Path, str] = {}
    with ThreadPoolExecutor() as pool:
        for path, future in [(path, pool.submit(read, path)) for path in paths]:
            try:
                good[path] = future.result()
            except InputError as error:
                if on_bad_image == "error":
                    pool.shutdown(cancel_futures=True)
                    raise InputError(f"{error}; --on-bad-image skip leaves it out") from error
                bad[path] = str(error)
    return good, bad
