"""Training images made anew: what is drawn decides all, and labels say what was blended."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
from PIL import Image

from lamina.settings import TrainConfig
from lamina.train.augmentation import augmented, moved
from lamina.train.batches import train_loader
from lamina.train.data import load_data
from lamina.train.evaluation import learnt


class Drawn:
    """A generator that draws what it is told: angle, zoom, right, down."""

    def __init__(self, *values):
        self.values = np.array(values)

    def uniform(self, low, high, size):
        return self.values


def test_a_movement_shifts_by_what_was_drawn():
    image = np.zeros((16, 16, 1), dtype=np.uint8)
    image[8, 8] = 255
    assert (moved(image, Drawn(0, 0, 0, 0)) == image).all()
    assert moved(image, Drawn(0, 0, 1, 0))[8, 9, 0] == 255  # 1/16 of 16 pixels
    assert moved(image, Drawn(0, 0, 0, 1))[9, 8, 0] == 255


def test_a_movement_turns_and_zooms_around_the_centre():
    image = np.zeros((33, 33, 3), dtype=np.uint8)
    image[12:21, 12:21] = (10, 100, 200)
    larger, smaller = (moved(image, Drawn(0, zoom, 0, 0)) for zoom in (1, -1))
    assert smaller.astype(int).sum() < image.astype(int).sum() < larger.astype(int).sum()
    turned = moved(image, Drawn(1, 0, 0, 0))
    assert (turned[16, 16] == (10, 100, 200)).all()
    assert turned.astype(int).sum() == pytest.approx(image.astype(int).sum(), rel=0.05)
    assert (turned != image).any()


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def batch(count=16, size=(12, 10), channels=3):
    draw = torch.Generator().manual_seed(0)
    return torch.rand(count, channels, *size, generator=draw), torch.arange(count) % 5


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("preset", ["standard", "strong"])
def test_the_seed_decides_and_dropouts_numbers_stay(preset, channels):
    images, labels = batch(channels=channels)
    kept = images.clone()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, third = (augmented(images, labels, preset, 5, (7, s)) for s in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(images, kept)
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one, other)
    assert not torch.equal(first[0], third[0])
    assert first[0].shape == images.shape and 0 <= first[0].min() <= first[0].max() <= 1


def test_threads_do_not_change_what_is_made():
    images, labels = batch(32, (40, 40))
    made = []
    threads = torch.get_num_threads()
    for count in (1, 2):
        torch.set_num_threads(count)
        made.append([augmented(images, labels, "strong", 5, (seed,))[0] for seed in range(8)])
    torch.set_num_threads(threads)
    assert all(torch.equal(*pair) for pair in zip(*made, strict=True))


def test_shares_of_classes_are_those_of_the_pixels():
    """Each image is one level, by its class: a blend's mean is the classes' by their shares."""
    labels = torch.arange(4)
    levels = torch.tensor([0.1, 0.3, 0.6, 0.9])
    images = levels[:, None, None, None].expand(-1, 3, 24, 24).contiguous()
    blended = 0
    for how in ("mixup", "cutmix"):
        from lamina.train.augmentation import _blended

        for seed in range(6):
            torch.manual_seed(seed)
            made, shares = _blended(images, labels, 4, how)
            assert shares.sum(dim=1) == pytest.approx(torch.ones(4), abs=1e-6)
            assert made.mean(dim=(1, 2, 3)) == pytest.approx(shares @ levels, abs=1e-5)
            blended += int((shares.max(dim=1).values < 1).sum())
    assert blended > 12


def test_strong_blends_most_batches_and_standard_none():
    images, labels = batch(8)
    kinds = {
        preset: [augmented(images, labels, preset, 5, (s,))[1].dim() for s in range(40)]
        for preset in ("standard", "strong")
    }
    assert set(kinds["standard"]) == {1}
    assert 24 <= kinds["strong"].count(2) <= 38  # four in five


@pytest.mark.parametrize("preset", ["light", "standard", "strong"])
def test_batches_are_the_same_from_workers(digits, preset):
    config = TrainConfig(augment=preset, batch_size=32, seed=3)
    alone = list(train_loader(digits, config))
    helped = list(train_loader(digits, TrainConfig(**{**vars(config), "workers": 2})))
    for one, other in zip(alone, helped, strict=True):
        assert all(torch.equal(*pair) for pair in zip(one, other, strict=True))
    again = list(train_loader(digits, config, epoch=1))
    assert not torch.equal(alone[0][0], again[0][0])


def test_what_is_made_is_standardised_and_channels_last(digits):
    config = TrainConfig(augment="standard", batch_size=64)
    x, _ = next(iter(train_loader(digits, config)))
    assert x.is_contiguous(memory_format=torch.channels_last) and x.dtype == torch.float32
    low, high = ((v - digits.facts.mean[0]) / digits.facts.deviation[0] for v in (0, 1))
    assert low - 1e-5 <= x.min() and x.max() <= high + 1e-5


@pytest.mark.parametrize("preset", ["none", "strong"])
def test_a_report_shows_what_was_learnt_from(digits, preset):
    shown = learnt(digits, TrainConfig(augment=preset, batch_size=32))
    assert len(shown) == 16
    images, labels = next(iter(train_loader(digits, TrainConfig(augment=preset, batch_size=32))))
    for (png, said), x, label in zip(shown, images, labels, strict=False):
        pixels = np.asarray(Image.open(io.BytesIO(png))) / 255
        made = x[0] * digits.facts.deviation[0] + digits.facts.mean[0]
        assert np.abs(pixels - made.numpy()).max() <= 0.5 / 255 + 1e-6
        if label.dim() == 0:
            assert said == digits.facts.classes[int(label)]
        else:
            assert (
                said.endswith(digits.facts.classes[int(label.topk(2).indices[1])]) or "100" in said
            )
