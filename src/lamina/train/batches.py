"""Batches whose content depends on (seed, epoch, index) alone, whoever prepares them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset, Sampler

from lamina.settings import TrainConfig
from lamina.train.data import Facts, ImageData, Indices
from lamina.train.images import Pixels

Place = tuple[int, int]  # (epoch, index)
Batch = tuple[torch.Tensor, torch.Tensor]

_SHIFT = 1 / 16  # of the side
_ANGLE = 10.0  # degrees
_ZOOM = 0.1  # natural logarithm of the factor


class EpochSampler(Sampler[Place]):
    """The order of the training images, drawn from (seed, epoch), and this rank's share of it.

    It yields (epoch, index): the epoch travels with the index, so that a worker process that has
    lived through several epochs augments as a fresh one would.

    Args:
        indices: the training images.
        seed: of the order.
        rank: which of ``ranks`` processes this is; they draw the same order and take turns.
        ranks: processes that train together.
        epoch: the first to be drawn, from 0.
    """

    def __init__(
        self, indices: Indices, seed: int, rank: int = 0, ranks: int = 1, epoch: int = 0
    ) -> None:
        self.indices, self.seed, self.rank, self.ranks = indices, seed, rank, ranks
        self.epoch = epoch

    def set_epoch(self, epoch: int) -> None:
        """Draw the next order for ``epoch``; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.indices) // self.ranks

    def __iter__(self) -> Iterator[Place]:
        order = np.random.default_rng((self.seed, self.epoch)).permutation(self.indices)
        for index in order[self.rank :: self.ranks][: len(self)]:
            yield self.epoch, int(index)


class AugmentedImages(Dataset[tuple[Pixels, int]]):
    """Training images, each moved a little by amounts drawn from (seed, epoch, index)."""

    def __init__(self, data: ImageData, seed: int, augment: bool) -> None:
        self.images, self.labels = data.images, data.labels
        self.seed, self.augment = seed, augment

    def __getitem__(self, place: Place) -> tuple[Pixels, int]:
        """Return one image (H, W, C) and its class."""
        epoch, index = place
        image = self.images[index]
        if self.augment:
            image = augmented(image, np.random.default_rng((self.seed, epoch, index)))
        return image, int(self.labels[index])


def augmented(image: Pixels, draw: np.random.Generator) -> Pixels:
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
    moved = Image.fromarray(image[..., 0] if channels == 1 else image).transform(
        (width, height), Image.Transform.AFFINE, matrix, Image.Resampling.BILINEAR
    )
    return np.asarray(moved).reshape(image.shape)


class Collate:
    """Stack images (H, W, C) into a normalised batch; an object, so that it travels to workers."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts

    def __call__(self, samples: Sequence[tuple[Pixels, int]]) -> Batch:
        """Return (N, C, H, W) float32 and (N,) int64."""
        images, labels = zip(*samples, strict=True)
        return self.facts.normalise(np.stack(images)), torch.tensor(labels)


def train_loader(
    data: ImageData, config: TrainConfig, rank: int = 0, ranks: int = 1, epoch: int = 0
) -> DataLoader[tuple[Pixels, int]]:
    """Return the training batches of one of ``ranks`` processes; every batch is full.

    The images that are left over differ from epoch to epoch, since the order does. With fewer
    images than ``config.batch_size`` there is one batch of them all.

    ``epoch`` is where training begins: Lightning makes the first iterator before it says which
    epoch it is, and worker processes draw the order at once.
    """
    sampler = EpochSampler(data.train, config.seed, rank, ranks, epoch)
    return DataLoader(
        AugmentedImages(data, config.seed, config.augment),
        batch_size=min(config.batch_size, len(sampler)),
        sampler=sampler,
        drop_last=True,
        collate_fn=Collate(data.facts),
        num_workers=config.workers,
        persistent_workers=config.workers > 0,
        # A loader draws a number per epoch; from here, it leaves the generator of dropout alone.
        generator=torch.Generator().manual_seed(config.seed),
    )


class FixedBatches(Dataset[Batch]):
    """Batches of images as they are, in order; the last one may be smaller."""

    def __init__(self, data: ImageData, indices: Indices, batch_size: int) -> None:
        self.data = data
        self.parts = np.split(indices, range(batch_size, len(indices), batch_size))

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, place: int) -> Batch:
        """Return (N, C, H, W) float32 and (N,) int64."""
        part = self.parts[place]
        images = self.data.facts.normalise(self.data.images[part])
        return images, torch.from_numpy(self.data.labels[part])

    def __iter__(self) -> Iterator[Batch]:
        return (self[place] for place in range(len(self)))
