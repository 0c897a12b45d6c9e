"""Which algorithm a convolution is asked for: passed on, kept with the layer, checked at once."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import torch

from lamina import layers, ops


@pytest.mark.parametrize("algorithm", ["direct", "im2col", "winograd", "fft", "onednn"])
def test_every_algorithm_gives_the_convolution(algorithm, tmp_path):
    x = torch.randn(2, 9, 8, 3)
    layer = layers.Conv2D(4, 3, padding="same", algorithm=algorithm)
    y = layer(x)
    plain = layers.Conv2D(4, 3, padding="same")
    plain.build(x.shape)
    plain.set_weights(layer.get_weights())
    torch.testing.assert_close(y, plain(x), rtol=1e-4, atol=1e-5)
    config = layer.get_config()
    assert config["algorithm"] == algorithm
    assert layers.Conv2D.from_config(config).algorithm == algorithm
    model = keras.Sequential([keras.Input(x.shape[1:]), layer])
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.layers[0].algorithm == algorithm
    np.testing.assert_array_equal(again(x).detach(), model(x).detach())


def test_auto_is_no_part_of_the_configuration():
    assert "algorithm" not in layers.Conv2D(4, 3).get_config()
    assert layers.PointwiseConv2D(4, algorithm="direct").get_config()["algorithm"] == "direct"


def test_the_algorithm_reaches_the_op(monkeypatch):
    asked, convolve = [], ops.conv2d

    def watched(*args, algorithm, **options):
        asked.append(algorithm)
        return convolve(*args, **options)

    monkeypatch.setattr(ops, "conv2d", watched)
    for layer in (layers.Conv2D(2, 3), layers.Conv2D(2, 3, algorithm="im2col")):
        layer(torch.randn(1, 6, 6, 2))
    assert {"auto", "im2col"} == set(asked)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"algorithm": "strassen"}, "algorithm must be one of 'auto', 'direct'"),
        ({"algorithm": "winograd", "strides": 3}, 'for "winograd" stride must be'),
    ],
)
def test_an_algorithm_that_does_not_serve_is_refused_at_once(arguments, message):
    with pytest.raises(ValueError, match=message):
        layers.Conv2D(4, 3, **arguments)
