"""What the figures of normalisation, dropout, dense layers, activations and gates write down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from types import ModuleType
from xml.etree import ElementTree

import numpy as np
import pytest
from scipy.ndimage import sobel
from scipy.special import erf, expit
from sklearn.datasets import load_digits, load_sample_image
from sklearn.linear_model import Ridge

from book.figures import (
    IMAGES,
    activation_curves,
    batch_norm2d_depth,
    batch_norm2d_image,
    dense_image,
    dense_share,
    drawings,
    dropout_mask,
    features,
    squeeze_excite_gates,
)

FIGURES = [
    activation_curves,
    batch_norm2d_depth,
    batch_norm2d_image,
    dense_image,
    dense_share,
    dropout_mask,
    squeeze_excite_gates,
]


def elements(picture: str, name: str) -> list[ElementTree.Element]:
    root = ElementTree.fromstring(picture)
    return list(root.iter(f"{{http://www.w3.org/2000/svg}}{name}"))


def texts(picture: str) -> list[str]:
    return ["".join(one.itertext()) for one in elements(picture, "text")]


class Asked(Mapping[str, str]):
    """Words that note what they were asked for."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def __getitem__(self, name: str) -> str:
        self.names.add(name)
        raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__.rpartition(".")[2])
def test_every_word_has_its_korean(figure: ModuleType):
    asked = Asked()
    figure.draw(asked)
    assert asked.names == set(figure.KOREAN)
    assert not any(re.search("[가-힣]", text) for text in texts(figure.draw({})))


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.__name__.rpartition(".")[2])
def test_file_is_what_is_drawn(figure: ModuleType):
    name = figure.__name__.rpartition(".")[2]
    for file, picture in drawings([name]):
        assert (IMAGES / file).read_text(encoding="utf-8") == picture, "run python -m book.figures"
        root = ElementTree.fromstring(picture)
        assert root.get("aria-label") and root.get("role") == "img"
        assert float(root.get("width", "inf")) <= 480
        addresses = [one.get("href", "") for one in elements(picture, "image")]
        assert all(address.startswith("data:image/png;base64,") for address in addresses)
        rest = picture.replace('xmlns="http://www.w3.org/2000/svg"', "")
        assert not re.search("https?:|@import|@font-face", rest)


def test_photograph_and_its_edges():
    whole = load_sample_image("flower.jpg")[72:372, 157:457].astype(float) / 255
    colours = features.photo(60)
    assert colours[:, 10, 20] == pytest.approx(whole[50:55, 100:105].mean((0, 1)), rel=1e-12)
    light = colours.mean(0)
    vertical, horizontal = features.edges(light)
    np.testing.assert_allclose(vertical, sobel(light, 1, mode="nearest") / 4, atol=1e-12)
    np.testing.assert_allclose(horizontal, sobel(light, 0, mode="nearest") / 4, atol=1e-12)


def test_gradients_along_depth_are_the_findings_and_activations_fit_them():
    results = json.loads(batch_norm2d_depth.FINDING.read_text())["results"]
    kept = json.loads(batch_norm2d_depth.DATA.read_text())
    for side, curves in kept.items():
        ends = [curve[-1] / curve[0] for curve in curves]
        found = results[f"signal, last block over first: {side}"]["values"]
        assert ends == pytest.approx(found, rel=1e-4), side  # the finding is float32's
    gradients = batch_norm2d_depth.gradients()
    for on, name in ((False, "without"), (True, "with")):
        for law in batch_norm2d_depth.LAWS:
            found = results[f"gradient, first block over last: {law}, {name}"]["values"]
            assert gradients[on][law][0] == sorted(found)[2]
            assert gradients[on][law][-1] == 1
    picture = batch_norm2d_depth.draw({})
    first = sorted(results["gradient, first block over last: He's law, with"]["values"])[2]
    assert f"{first:,.0f}" in texts(picture)
    lines = [one.get("d") for one in elements(picture, "path")]
    heights = [float(line.rpartition(" ")[2]) for line in lines if line.count("L") == 49]
    drawn = [
        np.median([curve[-1] for curve in kept[f"{law}, {name}"]])
        for name in ("without", "with")
        for law in batch_norm2d_depth.LAWS
    ]
    expected = [216 - 150 * (np.log10(value) + 22) / 30 for value in drawn]
    assert heights[:6] == pytest.approx(expected, abs=0.051)
    assert heights[6:] == pytest.approx([428 - 150 * 22 / 30] * 6, abs=0.051)


def test_activations_along_depth_are_measured_again():
    kept = json.loads(batch_norm2d_depth.DATA.read_text())
    for law, on, name in (("He's law", True, "with"), ("PyTorch's law", False, "without")):
        again = batch_norm2d_depth.measured(law, on, 1)
        assert again == pytest.approx(kept[f"{law}, {name}"][1], rel=1e-5)


def test_batch_norm_of_a_channel():
    crops = []
    for name, top, left in batch_norm2d_image.CROPS:
        green = load_sample_image(name)[top : top + 128, left : left + 128, 1].astype(float)
        crops.append(green.reshape(32, 4, 32, 4).mean((1, 3)))
    x = np.stack(crops)
    of = batch_norm2d_image.channel()
    np.testing.assert_allclose(of.x, x, rtol=1e-12)
    np.testing.assert_allclose(of.y, (x - x.mean()) / np.sqrt(x.var() + 1e-5), atol=1e-12)
    np.testing.assert_allclose(of.y, of.scale * x + of.shift, atol=1e-12)
    said = texts(batch_norm2d_image.draw({}))
    assert f"mean {x.mean():.1f}, deviation {x.std():.1f}" in said
    assert "mean 0.00, deviation 1.00" in said
    assert f"y = {1 / x.std():.4f} · x − {x.mean() / x.std():.2f}" in said


def test_dropout_zeroes_or_doubles_by_another_mask_each_step():
    picture = dropout_mask.draw({})
    numbers = [int(text) for text in texts(picture) if text.isdigit()]
    before, evaluation, *steps = np.array(numbers).reshape(5, 36)
    assert (before == evaluation).all()
    assert len({tuple(step > 0) for step in steps}) == 3
    for step in steps:
        assert set(step[step > 0] - 2 * before[step > 0]) == {0}
        assert f"mean {step.mean():.2f}" in texts(picture)
    assert f"mean {before.mean():.2f}" in texts(picture)
    light = load_sample_image("flower.jpg")[72:372, 157:457].astype(float)
    light = light.reshape(60, 5, 60, 5, 3).mean((1, 3, 4))
    edges = np.hypot(sobel(light, 0, mode="nearest"), sobel(light, 1, mode="nearest"))
    means = edges.reshape(6, 10, 6, 10).mean((1, 3))
    assert (before.reshape(6, 6) == np.rint(9 * means / means.max())).all()


def test_dropout_stands_still_where_motion_is_unwelcome_and_on_paper():
    style = "".join(elements(dropout_mask.draw({}), "style")[0].itertext())
    moving = style.index("@media screen and (prefers-reduced-motion: no-preference)")
    assert "animation" not in style[:moving]
    assert ".step-1, .step-2 { opacity: 0; }" in style[:moving]


# Millions of parameters and thousands of millions of MACs, as torchvision's documentation has them.
PUBLISHED = {
    "vgg16": (138.357544, 15.47),
    "resnet18": (11.689512, 1.81),
    "resnet50": (25.557032, 4.09),
    "mobilenet_v2": (3.504872, 0.30),
    "mobilenet_v3_large": (5.483032, 0.22),
    "efficientnet_b0": (5.288548, 0.39),
}
# Inputs and outputs of the dense layers, as the papers have them.
DENSE = {
    "vgg16": [(7 * 7 * 512, 4096), (4096, 4096), (4096, 1000)],
    "resnet18": [(512, 1000)],
    "resnet50": [(2048, 1000)],
    "mobilenet_v1": [(1024, 1000)],
    "mobilenet_v2": [(1280, 1000)],
    "mobilenet_v3_large": [(960, 1280), (1280, 1000)],
    "efficientnet_b0": [(1280, 1000)],
}


def test_share_of_the_dense_layers():
    assert set(DENSE) == set(dense_share.NETWORKS)
    said = texts(dense_share.draw({}))
    for name, sizes in DENSE.items():
        of = dense_share.share(name)
        assert of.macs == sum(a * b for a, b in sizes)
        assert of.parameters == sum((a + 1) * b for a, b in sizes)
        assert f"{100 * of.parameters / of.all_parameters:.1f} %" in said
        digits = 1 if of.macs / of.all_macs >= 0.001 else 2
        assert f"{100 * of.macs / of.all_macs:.{digits}f} %" in said
        if name in PUBLISHED:
            parameters, macs = PUBLISHED[name]
            assert of.all_parameters == round(1e6 * parameters)
            assert round(of.all_macs / 1e9, 2) == macs


def test_sum_of_the_dense_layer():
    digits = load_digits()
    ridge = Ridge(alpha=1.0).fit(digits.data[:1500] / 16, np.eye(10)[digits.target[:1500]])
    of = dense_image.layer()
    np.testing.assert_allclose(of.weight, ridge.coef_, atol=1e-9)
    image = digits.data[1504] / 16
    (scores,) = ridge.predict(image[None])
    np.testing.assert_allclose(of.scores, scores, atol=1e-9)
    label = int(digits.target[1504])
    assert scores.argmax() == label
    terms = ridge.coef_[label] * image
    largest = sorted(range(64), key=lambda index: -abs(terms[index]))[:5]
    said = texts(dense_image.draw({}))

    def written(value: float) -> str:
        return f"{value:.3f}".replace("-", "−")

    for index in largest:
        place = said.index(f"x[{index // 8}, {index % 8}] · w")
        product = f"{image[index]:.3f} × {written(ridge.coef_[label][index])}"
        assert said[place + 1 : place + 3] == [product, written(terms[index])]
    others = terms.sum() - terms[largest].sum()
    assert written(others) in said and written(ridge.intercept_[label]) in said
    assert said[said.index(f"score of “{label}”") + 1] == written(scores[label])


def test_activations_their_slopes_and_what_they_cut():
    x = np.linspace(-4, 4, 8001)
    gate, gaussian = expit(x), np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    normal = (1 + erf(x / np.sqrt(2))) / 2
    inside = (x > -3) & (x < 3)
    formulas = {
        "relu": (np.maximum(x, 0), (x > 0) * 1.0),
        "hardswish": (x * np.clip(x + 3, 0, 6) / 6, np.where(inside, (2 * x + 3) / 6, x > 0)),
        "silu": (x * gate, gate * (1 + x * (1 - gate))),
        "gelu": (x * normal, normal + x * gaussian),
        "sigmoid": (gate, gate * (1 - gate)),
        "tanh": (np.tanh(x), 1 - np.tanh(x) ** 2),
    }
    assert tuple(formulas) == activation_curves.NAMES
    corners = np.isin(np.round(x, 9), (-3, 0, 3))  # where a slope is a convention
    light = features.photo(60).mean(0)
    edges = sobel(light, 1, mode="nearest")
    edges = (edges - edges.mean()) / edges.std()
    np.testing.assert_allclose(activation_curves.feature_map(), edges, atol=1e-9)
    cut = dict.fromkeys(formulas, 0.0) | {
        "relu": (edges <= 0).mean(),
        "hardswish": (edges <= -3).mean(),
    }
    said = texts(activation_curves.draw({}))
    for name, (y, slope) in formulas.items():
        drawn = activation_curves.curve(name, x)
        np.testing.assert_allclose(drawn.y, y, atol=1e-12)
        np.testing.assert_allclose(drawn.slope[~corners], slope[~corners], atol=1e-12)
        place = said.index(name)
        assert said[place + 1 : place + 3] == [f"{100 * cut[name]:.1f} %", f"{slope.max():.2f}"]
    assert f"ReLU cuts {100 * cut['relu']:.1f} %: no gradient returns there." in said


def test_gates_of_squeeze_and_excite():
    colours = features.photo(60)
    light = colours.mean(0)
    maps = np.stack(
        [
            light,
            np.maximum(colours[0] - colours[1], 0),
            abs(sobel(light, 1, mode="nearest")),
            abs(sobel(light, 0, mode="nearest")),
        ]
    )
    maps /= maps.max((1, 2), keepdims=True)
    means = maps.mean((1, 2))
    hidden = np.maximum(np.array(squeeze_excite_gates.FIRST) @ means, 0)
    gates = expit(np.array(squeeze_excite_gates.SECOND) @ hidden)
    of = squeeze_excite_gates.excited()
    np.testing.assert_allclose(of.x, maps, atol=1e-12)
    np.testing.assert_allclose(of.y, maps * gates[:, None, None], atol=1e-12)
    said = texts(squeeze_excite_gates.draw({}))
    for name, values in (("mean ", means), ("gate ", gates), ("", hidden)):
        assert [text for text in said if text in {f"{name}{v:.3f}" for v in values}] == [
            f"{name}{value:.3f}" for value in values
        ]
