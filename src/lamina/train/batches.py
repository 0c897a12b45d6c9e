"""Batches whose content depends on (seed, epoch, index) alone, whoever prepares them."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from lamina.settings import TrainConfig
from lamina.train.augmentation import augmented, moved
from lamina.train.data import Facts, ImageData, Indices
from lamina.train.images import Pixels

Place = tuple[int, int]  # (epoch, index)
Batch = tuple[torch.Tensor, torch.Tensor]

Sample = tuple[Pixels, int, Place]


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


class TrainingImages(Dataset[Sample]):
    """Training images; where `TrainConfig.augment` is light, each moved by (seed, epoch, index)."""

    def __init__(self, data: ImageData, config: TrainConfig) -> None:
        self.images, self.labels = data.images, data.labels
        self.seed, self.moves = config.seed, config.augment == "light"

    def __getitem__(self, place: Place) -> Sample:
        """Return one image (H, W, C), its class, and the place that was asked for."""
        epoch, index = place
        image = self.images[index]
        if self.moves:
            image = moved(image, np.random.default_rng((self.seed, epoch, index)))
        return image, int(self.labels[index]), place


class Collate:
    """Make a batch of samples, and augment it by (seed, epoch, index of the first).

    An object, so that it travels to workers.
    """

    def __init__(self, facts: Facts, config: TrainConfig) -> None:
        self.facts, self.config = facts, config

    def __call__(self, samples: Sequence[Sample]) -> Batch:
        """Return (N, C, H, W) float32 and (N,) int64; or (N, classes) shares of classes."""
        images, labels, places = zip(*samples, strict=True)
        pixels, numbers = np.stack(images), torch.tensor(labels)
        preset = self.config.augment
        if preset in ("none", "light"):
            return self.facts.normalise(pixels), numbers
        x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float().div_(255.0)
        seed = (self.config.seed, *places[0])
        x, targets = augmented(x, numbers, preset, len(self.facts.classes), seed)
        return self.facts.standardise(x.contiguous(memory_format=torch.channels_last)), targets


def train_loader(
    data: ImageData, config: TrainConfig, rank: int = 0, ranks: int = 1, epoch: int = 0
) -> DataLoader[Sample]:
    """Return the training batches of one of ``ranks`` processes; every batch is full.

    The images that are left over differ from epoch to epoch, since the order does. With fewer
    images than ``config.batch_size`` there is one batch of them all.

    ``epoch`` is where training begins: Lightning makes the first iterator before it says which
    epoch it is, and worker processes draw the order at once.
    """
    sampler = EpochSampler(data.train, config.seed, rank, ranks, epoch)
    return DataLoader(
        TrainingImages(data, config),
        batch_size=min(config.batch_size, len(sampler)),
        sampler=sampler,
        drop_last=True,
        collate_fn=Collate(data.facts, config),
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
