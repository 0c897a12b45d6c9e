"""A folder of images, one sub-folder per class, read whole and checked before training starts."""

from collections import Counter
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
from lamina.train.images import DEEP, Pixels, files_under, is_image, look, read_image

MAX_SKIPPED_SHARE = 0.1
"""Share of a folder's images that may be left out as unreadable: more is no accident."""
MAX_BYTES = 4 * 2**30
"""Bytes that a folder's images, brought to one size, may take in memory."""
_NAMED = 20
"""Files that one line names at most."""
_PARTS = frozenset({"train", "training", "val", "valid", "validation", "dev", "test", "testing"})
"""Folders of a split, not of classes."""

_Result = TypeVar("_Result")


@dataclass(frozen=True)
class FolderImages:
    """The images of a folder.

    Args:
        images: (N, H, W, 3) bytes.
        labels: (N,) class numbers.
        classes: their names.
        skipped: files left out as unreadable.
        bits: of the grey levels that were no bytes, see `read_image`.
    """

    images: Pixels
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    skipped: tuple[str, ...]
    bits: int


def read_folder(
    root: Path, side: int | None, on_bad_image: OnBadImage, warn: Callable[[str], None]
) -> FolderImages:
    """Read every image of a folder; a damaged one is found now, not in epoch three.

    Args:
        root: the folder.
        side: height and width in pixels to bring the images to; None takes the median of their
            shorter sides, at most 224.
        on_bad_image: ``"error"`` refuses a folder with unreadable images and names them,
            ``"skip"`` leaves up to a tenth of the images out.
        warn: gets a line for what is no image, and one per image left out.

    Raises:
        InputError: fewer than two classes, unreadable images, too many bytes, a link that leaves
            the folder.
    """
    found = class_files(root, warn)
    if len(found) < 2:
        classes = "no class" if not found else f"only the class {next(iter(found))!r}"
        raise InputError(
            f"data: expected at least two sub-folders with images in {str(root)!r}, found {classes}"
        )
    paths = [path for files in found.values() for path in files]
    labels = [number for number, files in enumerate(found.values()) for _ in files]
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
    return FolderImages(
        images=np.stack(list(images.values())),
        labels=np.array(
            [label for path, label in zip(paths, labels, strict=True) if path in images]
        ),
        classes=tuple(found),
        skipped=tuple(str(path) for path in bad),
        bits=deep or DEEP,
    )


def class_files(root: Path, warn: Callable[[str], None]) -> dict[str, list[Path]]:
    """Return each class of an image folder with its files, both in alphabetical order.

    A class is a sub-folder; the folders in it belong to it.

    Args:
        root: the folder.
        warn: gets one line about what was left aside: other files, files beside the sub-folders,
            sub-folders without an image. Names that begin with a dot are passed over in silence.

    Raises:
        InputError: a file or sub-folder is a link that leaves ``root``, or the sub-folders are a
            split and no classes.
    """
    seen = [path for path in sorted(root.iterdir()) if not path.name.startswith(".")]
    folders = [path for path in seen if path.is_dir()]
    names = {folder.name.lower() for folder in folders}
    if names and names <= _PARTS:
        first = next((folder for folder in folders if folder.name.lower()[:5] == "train"), None)
        raise InputError(
            f"data: {str(root)!r} is split into {', '.join(sorted(f.name for f in folders))}, and "
            f"lamina makes a split of its own; name a folder whose sub-folders are the classes, "
            f"such as {first or folders[0]}"
        )
    classes: dict[str, list[Path]] = {}
    others: Counter[str] = Counter()
    empty = []
    for folder in folders:
        files = list(files_under(folder, root))
        images = [file for file in files if is_image(file)]
        others.update(file.suffix.lower() or "no suffix" for file in files if not is_image(file))
        if images:
            classes[folder.name] = images
        else:
            empty.append(folder.name)
    aside = []
    if others:
        kinds = ", ".join(f"{count} of {suffix}" for suffix, count in sorted(others.items()))
        aside.append(f"{others.total()} files that are no images ({kinds})")
    if beside := len(seen) - len(folders):
        aside.append(f"{beside} files beside the sub-folders")
    if empty:
        aside.append(f"the sub-folders without an image {', '.join(map(repr, empty[:_NAMED]))}")
    if aside:
        warn(f"left aside in {root}: {'; '.join(aside)}")
    return classes


def named(bad: dict[Path, str]) -> str:
    """Return one line about unreadable files: the reason where it is one, else their names."""
    if len(bad) == 1:
        return next(iter(bad.values()))
    names = [str(path) for path in bad]
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return f"{len(names)} images cannot be read: {', '.join(names[:_NAMED])}{more}"


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
