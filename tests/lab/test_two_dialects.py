"""One network in two dialects: the port is faithful, a miss is seen, plants turn the verdict."""

import keras
import numpy as np
import pytest
import torch

from lamina import extras
from lamina.errors import MissingExtraError
from lamina.interchange.traps import TRAPS
from lamina.lab.experiments import two_dialects as tried
from lamina.lab.protocol import Setting
from lamina.lab.tools import twins
from lamina.lab.tools.data import load
from lamina.nn import BatchNorm2d
from lamina.report.finding.drawing import figure
from tests.lab.images import own_images

CRITERIA = tried.EXPERIMENT.criteria
OUTPUTS, TRAINING, MISSES, RUIN = range(4)


def measured(seeds=(0,), images=None):
    return tried.measure(Setting(seeds, True, images or load())).results


def judged(results):
    return [criterion.judge(results) for criterion in CRITERIA]


def test_the_network_is_keras_s_own():
    images = load()
    network = twins.KerasNetwork(images, seed=1)
    assert all(isinstance(layer, keras.layers.Layer) for layer in network.layers)
    plain = keras.Sequential(
        [
            keras.layers.Conv2D(16, 3, strides=2, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.LeakyReLU(),
            keras.layers.Conv2D(32, 3, padding="same"),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.AveragePooling2D(3, strides=1, padding="same"),
            keras.layers.Flatten(),
            keras.layers.Dense(10),
        ]
    )
    plain.build((None, 8, 8, 1))
    plain.set_weights([weight.numpy() for layer in network.layers for weight in layer.weights])
    x = images.test.x[:20]
    expected = plain(x.permute(0, 2, 3, 1)).detach()
    torch.testing.assert_close(network(x), expected, rtol=1e-5, atol=1e-5)


def test_initial_kernels_are_glorot_s_and_the_seed_s():
    images = load()
    (kernel, *_), (again, *_), (other, *_) = (
        twins.KerasNetwork(images, seed).layers[3].get_weights() for seed in (4, 4, 5)
    )
    assert np.array_equal(kernel, again) and not np.array_equal(kernel, other)
    limit = (6 / (9 * 16 + 9 * 32)) ** 0.5
    assert 0.98 * limit < np.abs(kernel).max() <= limit


@pytest.mark.parametrize("missed", tried.OF_A_PORT)
def test_the_port_misses_what_it_says(missed):
    assert missed in TRAPS
    images = load()
    network = twins.KerasNetwork(images, seed=0)
    batch, judged = images.train.first(64), images.test.first(100)
    tried.after_a_step(network, batch, judged)  # biases and statistics that are not trivial
    faithful, missing = (twins.port(network, images, key) for key in ("", missed))
    ours = tried.after_a_step(network, batch, judged)
    near = tried.apart(ours, tried.after_a_step(faithful, batch, judged))
    assert near < 1e-6
    assert tried.apart(ours, tried.after_a_step(missing, batch, judged)) > 20 * near


def test_the_verdict_of_one_seed():
    results = measured()
    assert judged(results) == [True] * 4
    assert results[tried.OUTPUTS].median < 1e-6
    assert results[tried.named(tried.PORTED, "flatten")].median > 0.5


def test_a_normalisation_of_another_epsilon_is_found_out(monkeypatch):
    class Drifting(BatchNorm2d):
        def __init__(self, channels, eps, **rest):
            super().__init__(channels, eps + 1e-2, **rest)

    monkeypatch.setattr(twins, "BatchNorm2d", Drifting)
    found = judged(measured())
    assert not found[OUTPUTS]


def test_misses_that_miss_nothing_are_found_out(monkeypatch):
    faithful = twins.port
    monkeypatch.setattr(tried, "port", lambda network, images, missed="": faithful(network, images))
    found = judged(measured())
    assert found == [True, True, False, False]


def test_a_seed_decides(monkeypatch):
    monkeypatch.setattr(tried, "FAST", tried.Plan(images=128, epochs=1))
    assert measured((3,)) == measured((3,)) != measured((4,))


def test_a_folder_of_few_colour_images_will_do():
    outcome = tried.measure(Setting((0, 1), True, own_images()))
    assert judged(outcome.results)[OUTPUTS] and judged(outcome.results)[MISSES]
    assert all(len(one.values) == 2 for one in outcome.results.values())
    assert "slope of LeakyReLU" in figure(outcome.chart)


def test_without_keras_one_line_says_what_to_install(monkeypatch):
    monkeypatch.setattr(extras, "missing", lambda extra: ["keras"])
    with pytest.raises(MissingExtraError, match=r"two-dialects needs keras: .*lamina\[keras\]"):
        measured()


@pytest.mark.slow
def test_the_verdict():
    assert all(judged(measured(range(5))))
