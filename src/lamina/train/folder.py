"""The images of a folder or of a table, read whole and checked before training starts."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from lamina.errors import InputError
from lamina.settings import OnBadImage
from lamina.train.images import DEEP, Pixels, look, read_image
from lamina.train.listing import NAMED, PARTS, entries_of

MAX_SKIPPED_SHARE = 0.1
"""Share of a folder's images that may be left out as unreadable: more is no accident."""
MAX_BYTES = 4 * 2**30
"""Bytes that a folder's images, brought to one size, may take in memory."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class FolderImages:
    """Images that were read.

    Args:
        images: (N, H, W, 3) bytes.
        labels: (N,) class numbers.
        classes: their names.
        parts: (N,) places in `lamina.train.listing.PARTS`; None where nothing says.
        skipped: files left out as unreadable.
        bits: of the grey levels that were no bytes, see `read_image`.
    """

    images: Pixels
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    parts: NDArray[np.int64] | None
    skipped: tuple[str, ...]
    bits: int


def read_folder(
    root: Path, side: int | None, on_bad_image: OnBadImage, warn: Callable[[str], None]
) -> FolderImages:
    """Read every image of a folder or a table; a damaged one is found now, not in epoch three.

    Args:
        root: the folder, or a ``.csv`` file.
        side: height and width in pixels to bring the images to; None takes the median of their
            shorter sides, at most 224.
        on_bad_image: ``"error"`` refuses a folder with unreadable images and names them,
            ``"skip"`` leaves up to a tenth of the images out.
        warn: gets a line for what is no image, and one per image left out.

    Raises:
        InputError: fewer than two classes, unreadable images, too many bytes, a link that leaves
            the folder.
    """
    entries = entries_of(root, warn)
    classes = sorted({entry.label for entry in entries})
    if len(classes) < 2:
        found = "no class" if not classes else f"only the class {classes[0]!r}"
        raise InputError(
            f"data: expected images of at least two classes in {str(root)!r}, found {found}"
        )
    paths = [entry.path for entry in entries]
    looks, unreadable = _read_all(paths, look)
    deep = max((one.bits for one in looks.values()), default=0)
    if side is None:
        sides = [min(one.height, one.width) for one in looks.values()]
        side = min(224, int(np.median(sides))) if sides else 1
    if len(paths) * side * side * 3 > MAX_BYTES:
        raise InputError(
            f"data: {len(paths):,} images of {side}x{side} pixels take more than "
            f"{MAX_BYTES // 2**30} GiB; a smaller --image-size takes less"
        )
    read = partial(read_image, size=(side, side), channels=3, bits=deep or DEEP)
    images, damaged = _read_all(list(looks), read)
    bad = unreadable | damaged
    if bad and on_bad_image == "error":
        raise InputError(f"data: {named(bad)}; --on-bad-image skip leaves such images out")
    for reason in bad.values():
        warn(f"left out: {reason}")
    if len(bad) > MAX_SKIPPED_SHARE * len(paths):
        raise InputError(
            f"data: {len(bad)} of {len(paths)} images are unreadable; at most "
            f"{MAX_SKIPPED_SHARE:.0%} may be left out"
        )
    kept = [entry for entry in entries if entry.path in images]
    numbers = {label: number for number, label in enumerate(classes)}
    parts = [PARTS.index(entry.part) for entry in kept if entry.part is not None]
    return FolderImages(
        images=np.stack(list(images.values())),
        labels=np.array([numbers[entry.label] for entry in kept]),
        classes=tuple(classes),
        parts=np.array(parts) if parts else None,
        skipped=tuple(str(path) for path in bad),
        bits=deep or DEEP,
    )


def named(bad: dict[Path, str]) -> str:
    """Return one line about unreadable files: the reason where it is one, else their names."""
    if len(bad) == 1:
        return next(iter(bad.values()))
    names = [str(path) for path in bad]
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return f"{len(names)} images cannot be read: {', '.join(names[:NAMED])}{more}"


def _read_all(
    paths: Sequence[Path], read: Callable[[Path], _Result]
) -> tuple[dict[Path, _Result], dict[Path, str]]:
    """Read files on all cores, in order: what was read, and why the others were not."""
    good: dict[Path, _Result] = {}
    bad: dict[Path, str] = {}
    with ThreadPoolExecutor() as pool:
        for path, future in [(path, pool.submit(read, path)) for path in paths]:
            try:
                good[path] = future.result()
            except InputError as error:
                bad[path] = str(error)
    return good, bad
