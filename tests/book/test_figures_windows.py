"""What the figures of convolutions and pools write down, computed again by NumPy and SciPy."""

from __future__ import annotations

import re
from types import ModuleType

import numpy as np
import pytest
from scipy.ndimage import correlate
from sklearn.datasets import load_sample_image

from book.figures import (
    IMAGES,
    conv2d_sees,
    conv2d_slides,
    depthwise_image,
    full_or_separable,
    pointwise_image,
    pool2d_windows,
    separable_image,
)
from tests.book.test_figures_norms import Asked, elements, texts

FIGURES = [
    conv2d_sees,
    conv2d_slides,
    depthwise_image,
    full_or_separable,
    pointwise_image,
    pool2d_windows,
    separable_image,
]
name_of = pytest.mark.parametrize(
    "figure", FIGURES, ids=lambda figure: figure.__name__.rpartition(".")[2]
)


def photo():
    """The flower as the figures cut and shrink it, by strides and means of NumPy's own."""
    whole = load_sample_image("flower.jpg")[72:372, 157:457].astype(np.float64) / 255
    return np.stack(
        [
            whole[..., colour].reshape(60, 5, 60, 5).swapaxes(1, 2).reshape(60, 60, 25).mean(-1)
            for colour in range(3)
        ]
    )


def numbers(text):
    return [float(one.replace("−", "-")) for one in re.findall(r"−?\d+(?:\.\d+)?", text)]


@name_of
def test_every_word_has_its_korean(figure: ModuleType):
    asked = Asked()
    figure.draw(asked)
    assert asked.names == set(figure.KOREAN)


@name_of
def test_files_are_what_is_drawn_and_load_nothing(figure: ModuleType):
    name = figure.__name__.rpartition(".")[2]
    for end, words in (("", {}), ("-ko", figure.KOREAN)):
        text = (IMAGES / f"{name}{end}.svg").read_text()
        assert text == figure.draw(words)
        assert not re.search(r'(?:href|src)="(?!data:image/png;base64,)', text)
        (sheet,) = elements(text, "svg")
        assert float(sheet.get("width")) <= 480 and sheet.get("aria-label")
    sizes = re.findall(r"font-size: ?(\d+)px", text)
    assert min(map(int, sizes)) >= 11


def test_a_slide_has_nine_places_and_each_its_sum():
    picture = conv2d_slides.draw({})
    assert "prefers-reduced-motion: no-preference" in picture
    sums = [text for text in texts(picture) if "=" in text]
    assert len(sums) == 27
    made = []
    for slide in conv2d_slides.SLIDES:
        image = np.pad(conv2d_slides.image(slide.side), slide.padding)
        kernel = np.zeros((2 * slide.dilation + 1,) * 2)
        kernel[:: slide.dilation, :: slide.dilation] = conv2d_slides.KERNEL
        reach = slide.dilation
        whole = correlate(image, kernel, mode="constant")[reach:-reach, reach:-reach]
        made += list(whole[:: slide.stride, :: slide.stride].ravel())
    assert [numbers(text)[-1] for text in sums] == made
    for text, value in zip(sums, made, strict=True):
        left = text.partition(" = ")[0].replace("−", "-").replace("·", "*").replace(" ", "")
        assert eval(left) == value, text
    still = re.findall(r'class="place still"', picture)
    assert len(still) == 3
    style = "".join(elements(picture, "style")[0].itertext())
    assert "animation" not in style[: style.index("@media screen and (prefers-reduced-motion")]
    outputs = [t for t in elements(picture, "text") if "made-" in t.get("class", "")]
    assert [numbers("".join(t.itertext()))[0] for t in outputs] == made


def test_groups_have_a_kernel_for_each_line():
    said = [text for text in texts(conv2d_slides.draw({})) if "kernels of" in text]
    assert [numbers(text)[0] for text in said] == [16, 8]


def test_the_chosen_pixel_is_the_sum_that_is_written():
    image = np.rint(photo().mean(0) * 99)
    made = correlate(image, conv2d_sees.KERNEL, mode="constant")
    said = next(text for text in texts(conv2d_sees.draw({})) if "·" in text)
    assert numbers(said)[-1] == made[conv2d_sees.PLACE]
    left = said.partition(" = ")[0].replace("−", "-").replace("·", "*").replace(" ", "")
    assert eval(left) == made[conv2d_sees.PLACE]
    assert conv2d_sees.seen().map == pytest.approx(made, abs=1e-12)


def test_each_colour_has_its_own_kernel():
    x, y = depthwise_image.maps()
    assert x == pytest.approx(photo(), abs=1e-12)
    for at, scale in enumerate((1, 1, 9)):
        kernel = depthwise_image.KERNELS[at] / scale
        assert y[at] == pytest.approx(correlate(x[at], kernel, mode="constant"), abs=1e-12)


def test_a_pixel_s_colours_are_mixed():
    x = np.rint(photo() * 100) / 100
    for line, weights in zip(pointwise_image.sums(), pointwise_image.WEIGHTS, strict=True):
        value = float(weights @ x[:, *pointwise_image.PLACE])
        assert numbers(line)[-1] == pytest.approx(value, abs=5e-4)
        left = line.partition(" = ")[0].replace("−", "-").replace("·", "*").replace(" ", "")
        assert eval(left) == pytest.approx(value, abs=1e-9)


def test_separable_is_depthwise_then_a_mixture():
    of = separable_image.separated()
    x = np.rint(photo() * 99)
    maps = np.stack([correlate(one, separable_image.KERNEL, mode="constant") for one in x])
    mixed = np.tensordot(separable_image.MIX, maps, 1)
    assert (of.maps == maps).all()
    assert of.mixed == pytest.approx(mixed, abs=1e-12)
    row, column = separable_image.PLACE
    *terms, last = numbers(separable_image.total())
    assert terms[::2] == list(separable_image.MIX)
    assert terms[1::2] == list(maps[:, row, column])
    assert last == pytest.approx(mixed[row, column], abs=1e-9)
    drawn = texts(separable_image.draw({}))
    results = [at for at, text in enumerate(drawn) if text.startswith("= ")]
    windows = x[:, row - 1 : row + 2, column - 1 : column + 2]
    for at, window, made in zip(results, windows, maps, strict=True):
        pixels, kernel = drawn[at - 18 : at - 9], drawn[at - 9 : at]
        assert numbers(" ".join(pixels)) == list(window.ravel())
        assert numbers(" ".join(kernel)) == list(separable_image.KERNEL.ravel())
        assert (window * separable_image.KERNEL).sum() == made[row, column]
        assert numbers(drawn[at]) == [made[row, column]]


def test_counts_are_those_of_the_formula():
    c, k, pixels = full_or_separable.CHANNELS, full_or_separable.KERNEL, full_or_separable.SIDE**2
    weights = (c * c * k * k, c * k * k, c * c)
    shown = [numbers(t.replace(",", "")) for t in texts(full_or_separable.draw({})) if "MACs" in t]
    # A separator stands between the counts as well as within them.
    assert [one[0] for one in shown] == list(weights)
    costs = full_or_separable.costs()
    assert [cost.macs for cost in costs] == [w * pixels for w in weights]
    *_, share, formula = texts(full_or_separable.draw({}))
    assert numbers(share)[0] == pytest.approx(100 * (1 / c + 1 / k**2), abs=0.05)
    assert formula == f"1/M + 1/K² = 1/{c} + 1/{k**2}"


def test_pools_keep_the_largest_and_the_mean():
    of = pool2d_windows.pooled()
    image = np.rint(photo().mean(0) * 99)
    row, column = pool2d_windows.PLACE
    assert (of.patch == image[row : row + 4, column : column + 4]).all()
    for size, made in ((2, of.halves), (4, of.quarters)):
        windows = image.reshape(60 // size, size, 60 // size, size)
        assert (made["max"] == windows.max((1, 3))).all()
        assert made["mean"] == pytest.approx(windows.mean((1, 3)), abs=1e-12)
    windows = of.patch.reshape(2, 2, 2, 2)
    assert (of.largest == windows.max((1, 3))).all()
    assert of.means == pytest.approx(windows.mean((1, 3)), abs=1e-12)
    drawn = texts(pool2d_windows.draw({}))
    for name, kept in (("the largest", windows.max((1, 3))), ("the mean", windows.mean((1, 3)))):
        after = drawn[drawn.index(name) + 1 :][:4]
        assert [numbers(text) for text in after] == [[value] for value in kept.ravel()]
    said = next(text for text in texts(pool2d_windows.draw({})) if text.startswith("red "))
    assert numbers(said) == pytest.approx(photo().mean((1, 2)), abs=5e-4)
