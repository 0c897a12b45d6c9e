"""Images and labels in memory, split into training, validation and test."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from lamina.errors import InputError, closest
from lamina.models.preprocessing import DEVIATION, MEAN
from lamina.settings import OnBadImage, Statistics
from lamina.train.folder import read_folder
from lamina.train.images import DEEP, MAX_PIXELS, Pixels

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class Facts:
    """What a trained model has to know of its data: sizes, classes, and the scale of its input.

    Args:
        classes: their names; a class's number is its place.
        size: height and width in pixels.
        channels: 1 or 3.
        mean: mean of the training pixels per channel, of 255.
        deviation: standard deviation of the training pixels per channel, of 255.
        bits: of grey levels that are no bytes, see `lamina.train.images.read_image`.
    """

    classes: tuple[str, ...]
    size: tuple[int, int]
    channels: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]
    bits: int = DEEP

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Shape (1, C, H, W) of one image as the model gets it."""
        return (1, self.channels, *self.size)

    def normalise(self, images: Pixels) -> torch.Tensor:
        """Turn bytes (N, H, W, C) into float32 (N, C, H, W), channels-last, standardised."""
        return self.standardise(torch.from_numpy(images).float().div_(255.0).permute(0, 3, 1, 2))

    def standardise(self, x: torch.Tensor) -> torch.Tensor:
        """Bring channels (N, C, H, W) in [0, 1] to mean 0 and deviation 1, in place."""
        mean, deviation = (torch.tensor(v)[:, None, None] for v in (self.mean, self.deviation))
        return x.sub_(mean).div_(deviation)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for ``config.json``."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Facts":
        """Read what `to_dict` wrote.

        Raises:
            InputError: a field is missing or not of its type.
        """
        try:
            height, width = (int(side) for side in values["size"])
            facts = cls(
                classes=tuple(str(name) for name in values["classes"]),
                size=(height, width),
                channels=int(values["channels"]),
                mean=tuple(float(value) for value in values["mean"]),
                deviation=tuple(float(value) for value in values["deviation"]),
                bits=int(values.get("bits", DEEP)),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            raise InputError("config.json: the facts of the data are damaged") from error
        right = facts.channels in (1, 3) and min(facts.size) >= 1 and len(facts.classes) >= 2
        right = right and height * width <= MAX_PIXELS and 8 < facts.bits <= DEEP
        if not right or {len(facts.mean), len(facts.deviation)} != {facts.channels}:
            raise InputError("config.json: the facts of the data are damaged")
        return facts


@dataclass(frozen=True)
class ImageData:
    """Images in memory with their labels and their split.

    Args:
        name: what the data are called.
        images: (N, H, W, C) uint8.
        labels: (N,) class numbers.
        facts: see `Facts`.
        train: indices of the training images.
        validation: indices of the images that are watched during training.
        test: indices of the images that judge the result; nothing else sees them.
        skipped: files left out as unreadable.
    """

    name: str
    images: Pixels
    labels: Indices
    facts: Facts
    train: Indices
    validation: Indices
    test: Indices
    skipped: tuple[str, ...] = ()


def load_data(
    name: str,
    *,
    image_size: int | None = None,
    on_bad_image: OnBadImage = "error",
    statistics: Statistics = "measured",
    warn: Callable[[str], None] = print,
) -> ImageData:
    """Load ``"digits"`` (scikit-learn's, 8×8 pixels, no download), a folder of images or a table.

    Where the data do not say which image is for what, a tenth is for validation and a fifth for the
    test, each class in proportion; the split is the same for every seed, so that runs can be
    compared. Data with ``train`` alone give a tenth of it to validation; those without ``test`` are
    judged by the images of validation, which a line says.

    Args:
        name: ``"digits"``, or as `lamina.train.listing.entries_of` reads it.
        image_size: see `TrainConfig`.
        on_bad_image: see `TrainConfig`.
        statistics: see `TrainConfig`.
        warn: gets a line for what is no image, and one per image left out.

    Raises:
        InputError: no such data, fewer than two classes, fewer than three images in a class, an
            unreadable image (or too many of them), a link that leaves the folder, a split
            in the place of classes.
    """
    if name == "digits":
        if image_size is not None:
            raise InputError("image_size: expected none for digits, which are 8x8 pixels")
        if statistics != "measured":
            raise InputError(f"statistics: expected measured for digits, got {statistics!r}")
        return _digits()
    root = Path(name)
    if not root.exists():
        hint = closest(name, ["digits"])
        raise InputError(
            f"data: expected digits, a folder of images or a .csv file, got {name!r}{hint}"
        )
    found = read_folder(root, image_size, on_bad_image, warn)
    name = root.resolve().stem if root.is_file() else root.resolve().name
    data = _split(name, found.images, found.labels, found.classes, found.parts, warn)
    facts = replace(data.facts, bits=found.bits)
    if statistics == "imagenet":
        facts = replace(facts, mean=MEAN, deviation=DEVIATION)
    return replace(data, facts=facts, skipped=found.skipped)


def _digits() -> ImageData:
    # The file is read where it lies: `import sklearn` would load an OpenMP runtime of its own.
    package = find_spec("sklearn")
    if package is None or package.origin is None:
        raise InputError("data: digits come with scikit-learn, which is not installed")
    file = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    table = np.loadtxt(file, delimiter=",", dtype=np.int64)
    # 17 grey levels, 0 to 16, spread over a byte: augmentation and prediction work on bytes.
    images = np.rint(table[:, :64] * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
    labels = table[:, 64]
    return _split("digits", images, labels, tuple(str(digit) for digit in range(10)))


def _split(
    name: str,
    images: Pixels,
    labels: Indices,
    classes: tuple[str, ...],
    parts: Indices | None = None,
    warn: Callable[[str], None] = print,
) -> ImageData:
    if parts is None:
        train_part, validation_part, test_part = _drawn(labels, classes, (5, 10))
    else:
        train_part, validation_part, test_part = (np.flatnonzero(parts == i) for i in range(3))
        if not len(validation_part):
            places = train_part
            kept, drawn = _drawn(labels[places], classes, (10,))
            train_part, validation_part = places[kept], places[drawn]
        if not len(test_part):
            warn("no images for test: those of validation, by which the run is steered, judge it")
            test_part = validation_part
    mean, deviation = _moments(images, train_part)
    facts = Facts(
        classes=classes,
        size=(images.shape[1], images.shape[2]),
        channels=images.shape[3],
        mean=mean,
        deviation=deviation,
    )
    return ImageData(name, images, labels, facts, train_part, validation_part, test_part)


def _drawn(labels: Indices, classes: tuple[str, ...], shares: tuple[int, ...]) -> list[Indices]:
    """The places of what is kept, and before it of one in so many for each share, by class.

    Raises:
        InputError: a class has too few images for one in each.
    """
    counts = np.bincount(labels, minlength=len(classes))
    if counts.min() <= len(shares):
        poor = int(counts.argmin())
        raise InputError(
            f"data: expected at least {len(shares) + 1} images per class (training, validation"
            f"{', test' if len(shares) > 1 else ''}), found {counts[poor]} of {classes[poor]!r}"
        )
    # Class by class, so that each has at least one image in every part, however small it is.
    parts: list[list[Indices]] = [[] for _ in range(len(shares) + 1)]
    for number, total in enumerate(counts):
        members = np.flatnonzero(labels == number)
        members = np.random.default_rng((0, number)).permutation(members)
        cuts = np.split(members, np.cumsum([max(1, round(total / share)) for share in shares]))
        for part, cut in zip(parts, cuts, strict=True):
            part.append(cut)
    *drawn, kept = (np.sort(np.concatenate(part)) for part in parts)
    return [kept, *reversed(drawn)]


def _moments(images: Pixels, indices: Indices) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, of 255, without a float copy of the images."""
    channels = images.shape[-1]
    counts = np.zeros((channels, 256), dtype=np.int64)
    for index in indices:
        for channel in range(channels):
            counts[channel] += np.bincount(images[index, ..., channel].ravel(), minlength=256)
    levels = np.arange(256) / 255
    shares = counts / counts.sum(axis=1, keepdims=True)
    mean = shares @ levels
    variance = (shares * (levels - mean[:, None]) ** 2).sum(axis=1)
    # A constant channel has no scale; without a floor it would be divided by zero.
    return tuple(mean.tolist()), tuple(np.maximum(np.sqrt(variance), 1e-3).tolist())
