"""Order comes from (seed, epoch), augmentation from (seed, epoch, index), and from nothing else."""

import numpy as np
import pytest
import torch

from lamina.settings import TrainConfig
from lamina.train.batches import EpochSampler, FixedBatches, train_loader
from lamina.train.data import load_data


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def epochs(loader, count):
    batches = []
    for epoch in range(count):
        loader.sampler.set_epoch(epoch)
        batches.append(list(loader))
    return batches


def test_the_number_of_workers_does_not_matter(digits):
    alone = epochs(train_loader(digits, TrainConfig(batch_size=256, seed=5)), 2)
    shared = epochs(train_loader(digits, TrainConfig(batch_size=256, seed=5, workers=2)), 2)
    for ours, theirs in zip(alone, shared, strict=True):
        for (images, labels), (other_images, other_labels) in zip(ours, theirs, strict=True):
            assert torch.equal(images, other_images)
            assert torch.equal(labels, other_labels)


def test_a_batch_does_not_depend_on_the_epochs_before_it(digits):
    config = TrainConfig(batch_size=256, seed=5)
    both = epochs(train_loader(digits, config), 2)
    fresh = train_loader(digits, config)
    fresh.sampler.set_epoch(1)
    assert torch.equal(next(iter(fresh))[0], both[1][0][0])
    assert not torch.equal(both[0][0][0], both[1][0][0])


def test_a_loader_leaves_the_global_generator_alone(digits):
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    next(iter(train_loader(digits, TrainConfig())))
    assert torch.equal(torch.rand(1), expected)


def test_ranks_share_the_order_without_overlap():
    indices = np.arange(11)
    whole = [index for _, index in EpochSampler(indices, seed=1)]
    shares = [[index for _, index in EpochSampler(indices, 1, rank, 2)] for rank in (0, 1)]
    assert sorted(whole) == list(range(11))
    assert [len(share) for share in shares] == [5, 5]
    assert [index for pair in zip(*shares, strict=True) for index in pair] == whole[:10]


def test_every_batch_is_full_and_few_images_are_one_batch(digits):
    loader = train_loader(digits, TrainConfig(batch_size=100))
    assert {len(labels) for _, labels in loader} == {100}
    assert len(train_loader(digits, TrainConfig(batch_size=10_000))) == 1


def test_without_augmentation_an_image_is_itself(digits):
    images, _ = next(iter(train_loader(digits, TrainConfig(augment="none", batch_size=8))))
    order = [index for _, index in EpochSampler(digits.train, seed=0)][:8]
    assert torch.equal(images, digits.facts.normalise(digits.images[order]))


def test_fixed_batches_hold_every_image_once_in_order(digits):
    batches = list(FixedBatches(digits, digits.test, 100))
    assert [len(labels) for _, labels in batches] == [100, 100, 100, 59]
    labels = torch.cat([labels for _, labels in batches])
    assert labels.tolist() == digits.labels[digits.test].tolist()
