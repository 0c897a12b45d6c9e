"""Does pooling pay: cheaper layers behind it, a steadier output, and what accuracy does it cost?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from statistics import mean

import torch
from torch import Tensor

from lamina import nn
from lamina.inspector import inspect
from lamina.lab.protocol import Criterion, Experiment, Outcome, Setting
from lamina.lab.tools.clock import seconds_of
from lamina.lab.tools.curves import spread
from lamina.lab.tools.data import Part
from lamina.lab.tools.moves import centred, changed, resized
from lamina.lab.tools.training import accuracy, fit
from lamina.report.finding.chart import Chart, Gallery, Line, Panel, Picture, Points
from lamina.report.finding.pictures import grey
from lamina.report.finding.records import Measurement, Results
from lamina.theory import conv2d, dense, pool2d

KINDS = ("maximum", "average", "stride", "global", "none")
POOLED = KINDS[:4]  # what halves the image, twice; global takes the mean of what maxima leave
MOVES = (0, 1, 2, 3, 4)  # pixels
WINDOWS = (1, 2, 3, 4, 5, 6)  # pixels
SIDE, GROUND = 16, 24  # pixels, of the image and of the empty square that it moves in

_BEHIND = ("operations of a convolution behind one pool", "operations behind two pools")
_TIME = "time with maxima, of that without"
_STAY = "maxima of 3×3 pixels that stay exactly"
_NOISE = "correlation, {} of {}×{} pixels"
_CHANGED = "answers that change, {}"
_SAME_WIDTH = "accuracy at the same width, {}"
_SAME_COST = "accuracy at equal cost, {}"
_LOST = "accuracy lost at equal cost, {}"


@dataclass(frozen=True)
class Sizes:
    """Of a network: channels of the image, filters of the first convolution, classes."""

    channels: int
    width: int
    classes: int

    @property
    def filters(self) -> tuple[int, int, int]:
        """Of each convolution."""
        return self.width, 2 * self.width, 2 * self.width


def correlation(kind: str, window: int, move: int = 1) -> float:
    """Of a pooled pixel with itself, before and after white noise moves along one axis.

    Of the n = window² pixels of a window, m = window · (window - move) stay in it and a = n - m
    leave. Means correlate by m / n. Maxima of uniform noise do by m (n + 2) / (n (n + a + 2)),
    from Hoeffding's covariance, the integral of F(u, v) - F(u) F(v), with F(u, v) = u^n v^a for
    u < v.

    Args:
        kind: ``"maximum"`` or ``"average"``.
        window: side in pixels.
        move: pixels, at most ``window``.

    Example:
        >>> correlation("average", 2), correlation("maximum", 2)
        (0.5, 0.375)
    """
    taps = window * window
    stay = window * (window - move)
    if kind == "average":
        return stay / taps
    return stay * (taps + 2) / (taps * (2 * taps - stay + 2))


def maxima_that_stay(window: int, move: int = 1) -> float:
    """Share of maxima that stay exactly when noise, of whatever law, moves along one axis.

    The largest pixel of the two windows' union has to lie in both.

    Example:
        >>> maxima_that_stay(3)
        0.5
    """
    return (window - move) / (window + move)


def operations(kind: str, sizes: Sizes) -> list[int]:
    """MACs of the convolutions and of the dense layer of `network`, for one image."""
    shape, macs = (1, sizes.channels, GROUND, GROUND), []
    for place, filters in enumerate(sizes.filters):
        stride = 2 if kind == "stride" and place < 2 else 1
        macs.append(conv2d.cost(shape, filters, 3, stride, 1, bias=False).macs)
        shape = conv2d.output_shape(shape, filters, 3, stride, 1)
        if kind not in ("stride", "none") and place < 2:
            shape = pool2d.output_shape(shape, 2)
    flat: tuple[int, ...] = dense.flatten_output_shape(shape)
    if kind == "global":
        flat = pool2d.global_output_shape(shape, keepdims=False)
    return [*macs, dense.cost(flat, sizes.classes).macs]


def widened(kind: str, sizes: Sizes, budget: int) -> Sizes:
    """The sizes with the most filters that ``budget`` MACs allow."""
    while sum(operations(kind, wider := replace(sizes, width=sizes.width + 1))) <= budget:
        sizes = wider
    return sizes


def network(kind: str, sizes: Sizes) -> nn.Sequential:
    """Three convolutions and a dense layer; ``kind`` is what follows the first two of them."""
    pool = {"average": nn.AvgPool2d, "stride": nn.Identity, "none": nn.Identity}.get(
        kind, nn.MaxPool2d
    )
    layers: list[nn.Module] = []
    channels = sizes.channels
    for place, filters in enumerate(sizes.filters):
        stride = 2 if kind == "stride" and place < 2 else 1
        convolution = nn.Conv2d(channels, filters, 3, stride, 1, bias=False)
        layers += [convolution, nn.BatchNorm2d(filters), nn.ReLU()]
        if place < 2:
            layers.append(pool(2))
        channels = filters
    layers.append(nn.GlobalAvgPool2d(keepdims=False) if kind == "global" else nn.Flatten())
    model = nn.Sequential(*layers, nn.Linear(None, sizes.classes)).eval()
    model(torch.zeros(1, sizes.channels, GROUND, GROUND))  # tells the dense layer its size
    return model


def measure(setting: Setting) -> Outcome:
    """White noise through pools alone, then networks that differ in nothing but their pools."""
    images, seeds = setting.images, setting.seeds
    classes = len(images.classes)
    width, total, epochs, shifted = (8, 500, 6, 200) if setting.fast else (12, 1250, 10, 400)
    sizes = Sizes(images.channels, width, classes)
    budget = sum(operations("none", sizes))
    wide = {kind: widened(kind, sizes, budget) for kind in POOLED}
    shown = images.test.few(-(-400 // classes), seed=0)
    still = resized(shown.x, SIDE)
    test = Part(centred(still, GROUND), shown.y)
    values: dict[str, list[float]] = defaultdict(list)
    noise: dict[str, list[list[float]]] = defaultdict(list)
    moved: dict[str, list[list[float]]] = defaultdict(list)
    for seed in seeds:
        values[_TIME].append(_time_share(sizes, seed))
        values[_STAY].append(_through_noise(seed, noise))
        few = images.train.few(-(-total // classes), seed)
        train = Part(centred(resized(few.x, SIDE), GROUND), few.y)
        for kind in KINDS:
            model = _trained(kind, sizes, train, epochs, seed)
            moved[kind].append(changed(model, still[:shifted], GROUND, MOVES))
            values[_CHANGED.format(kind)].append(mean(moved[kind][-1][1:4]))
            values[_SAME_WIDTH.format(kind)].append(accuracy(model, test))
        without = values[_SAME_WIDTH.format("none")][-1]
        for kind in POOLED:
            right = accuracy(_trained(kind, wide[kind], train, epochs, seed), test)
            values[_SAME_COST.format(kind)].append(right)
            values[_LOST.format(kind)].append(without - right)
    results = _costs(sizes, len(seeds))
    predicted = {_TIME: sum(operations("maximum", sizes)) / budget, _STAY: maxima_that_stay(3)}
    for kind in ("maximum", "average"):
        for window in (2, 3, 4):
            kept = tuple(run[WINDOWS.index(window)] for run in noise[kind])
            results[_NOISE.format(kind, window, window)] = Measurement(
                kept, predicted=correlation(kind, window)
            )
    for name, one in values.items():
        results[name] = Measurement(tuple(one), "%", predicted.get(name))
    panels: list[Panel | Gallery] = [
        _kept(still[:1]),
        _noise_panel(noise),
        _moves_panel(moved),
        _accuracy_panel(results, wide),
    ]
    return Outcome(results, Chart(_LABEL, panels))


def _trained(kind: str, sizes: Sizes, train: Part, epochs: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    model = network(kind, sizes)
    fit(model, train, epochs=epochs, seed=seed, batch=32)
    return model


def _costs(sizes: Sizes, repeats: int) -> dict[str, Measurement]:
    """What the inspector counts in the networks, beside the formulas."""
    counted, expected = {}, {kind: operations(kind, sizes) for kind in KINDS}
    for kind in KINDS:
        shape = (1, sizes.channels, GROUND, GROUND)
        rows = inspect(network(kind, sizes), shape, backward=False).rows
        counted[kind] = [row.macs for row in rows if row.macs]
    results = {}
    for place, name in enumerate(_BEHIND, start=1):
        seen, told = (macs["maximum"][place] / macs["none"][place] for macs in (counted, expected))
        results[name] = Measurement((seen,) * repeats, predicted=told)
    for kind in KINDS:
        seen, told = float(sum(counted[kind])), float(sum(expected[kind]))
        results[f"operations, {kind}"] = Measurement((seen,) * repeats, "MAC", told)
    return results


def _time_share(sizes: Sizes, seed: int) -> float:
    """Of the network with maxima, of the one without a pool; one thread, 64 images."""
    torch.manual_seed(seed)
    pooled, whole = network("maximum", sizes), network("none", sizes)
    x = torch.randn(64, sizes.channels, GROUND, GROUND)
    x = x.contiguous(memory_format=torch.channels_last)
    times = seconds_of({"pooled": lambda: pooled(x), "whole": lambda: whole(x)})
    return times["pooled"] / times["whole"]


def _through_noise(seed: int, noise: dict[str, list[list[float]]]) -> float:
    """Add correlations to ``noise``; return the share of maxima of 3×3 pixels that stay."""
    x = torch.rand(16, 16, 60, 61, generator=torch.Generator().manual_seed(seed))
    stayed = 0.0
    for kind, pool in (("maximum", nn.MaxPool2d), ("average", nn.AvgPool2d)):
        run = []
        for window in WINDOWS:
            before, after = (pool(window)(part).double() for part in (x[..., :-1], x[..., 1:]))
            both = torch.stack([before.flatten(), after.flatten()])
            run.append(torch.corrcoef(both)[0, 1].item())
            if (kind, window) == ("maximum", 3):
                stayed = (before == after).double().mean().item()
        noise[kind].append(run)
    return stayed


_LABEL = (
    "An image before and after pooling and moving; correlation of pooled noise by window; answers "
    "that change by distance; accuracy by operations, for each kind of pooling."
)


def _kept(image: Tensor) -> Gallery:
    """What windows of four pixels keep of an image, and of the same one a pixel further right."""
    pools: Mapping[str, Callable[[Tensor], Tensor]] = {
        "image": nn.Identity(),
        "maximum": nn.MaxPool2d(4),
        "average": nn.AvgPool2d(4),
        "stride": lambda x: x[..., ::4, ::4],
        "global": nn.GlobalAvgPool2d(),
    }
    here, there = centred(image, GROUND), centred(image, GROUND, right=1)
    low, high = float(image.min()), float(image.max())

    def picture(caption: str, x: Tensor) -> Picture:
        pixels = x[0].permute(1, 2, 0) if x.shape[1] == 3 else x[0, 0]
        return Picture(caption, grey(pixels.numpy(), low, high))

    first = [picture(name, pool(here)) for name, pool in pools.items()]
    second = []
    for name, pool in pools.items():
        before, after = pool(here), pool(there)
        share = ((after - before).norm() / (before - low).norm()).item()
        caption = "a pixel further" if name == "image" else f"{share:.0%} other"
        second.append(picture(caption, after))
    return Gallery("Windows of 4 pixels: what is kept, and a pixel further", first + second, 5)


def _noise_panel(noise: Mapping[str, list[list[float]]]) -> Panel:
    marks = []
    for kind, runs in noise.items():
        marks.append(spread(kind, WINDOWS, runs))
        marks.append(Line(kind, WINDOWS, [correlation(kind, w) for w in WINDOWS], dashed=True))
    return Panel(
        "Noise moves a pixel: the larger the window, the more stays (dashed: theory)",
        marks,
        x_title="side of the window, pixels",
        y_title="correlation before and after",
        x_range=(WINDOWS[0], WINDOWS[-1]),
        y_range=(0, 1),
    )


def _moves_panel(moved: Mapping[str, list[list[float]]]) -> Panel:
    return Panel(
        "The image moves: how often a trained network changes its answer",
        [spread(kind, MOVES, runs) for kind, runs in moved.items()],
        x_title="distance from where it was trained, pixels",
        y_title="answers that change, share",
        y_range=(0, 1),
    )


def _accuracy_panel(results: Results, wide: Mapping[str, Sizes]) -> Panel:
    marks: list[Line | Points] = []
    for kind in KINDS:
        x = [results[f"operations, {kind}"].median]
        found = [results[_SAME_WIDTH.format(kind)]]
        if kind == "none":
            marks.append(Points(kind, x, [found[0].median]))
            continue
        x.append(float(sum(operations(kind, wide[kind]))))
        found.append(results[_SAME_COST.format(kind)])
        marks.append(spread(kind, x, list(zip(*(one.values for one in found), strict=True))))
    return Panel(
        "What accuracy an operation buys, at the same width and at equal cost",
        marks,
        x_title="multiply-accumulates per image",
        y_title="accuracy on test images",
        x_log=True,
    )


def _as_formula(results: Results) -> bool:
    return all(
        results[_NOISE.format(kind, window, window)].near(correlation(kind, window), 0.1)
        for kind in ("maximum", "average")
        for window in (2, 3, 4)
    )


def _steadier(than: str) -> Callable[[Results], bool]:
    other = _CHANGED.format(than)
    return lambda results: all(
        results[_CHANGED.format(kind)].below(results[other]) for kind in ("maximum", "average")
    )


EXPERIMENT = Experiment(
    name="pooling-resolution",
    title="What does pooling buy, and what does it throw away?",
    claim=(
        "Pooling by two leaves a quarter of the arithmetic to the layer behind it, makes the "
        "answer steadier when the image moves by a few pixels, and loses no accuracy at equal cost."
    ),
    source=(
        "Goodfellow, Bengio and Courville, Deep Learning (2016), section 9.3 and figure 9.8; "
        "d2l.ai, section 7.5. Against it: Springenberg et al., Striving for Simplicity (2014), "
        "on strides, and Zhang, Making Convolutional Networks Shift-Invariant Again (2019)."
    ),
    theory=(
        "A convolution's operations are linear in its pixels: 1/4 of them behind one pool of 2×2, "
        "1/16 behind two. When white noise moves by d pixels under windows of k×k, a mean "
        "correlates with itself by 1 − d/k, a maximum of uniform noise by a little less (0.375 "
        "in place of 0.5 for k = 2, d = 1), and (k − d)/(k + d) of the maxima stay exactly. What a "
        "stride keeps does not correlate at all. The mean of a "
        "whole map stays when the image moves by the map's stride, but for the border."
    ),
    method=(
        "White noise goes through each pool, before and after it moves a pixel. Then networks of "
        "three convolutions of 3×3 and a dense layer on all pixels are trained on images of 16 "
        "pixels (scaled to that) in the middle of an empty square of 24: with maxima or means of "
        "2×2 behind the first two convolutions, with a stride of 2 in them, with maxima and then "
        "the mean of the whole map (global), and with nothing. Test images are then moved by 1 to "
        "3 pixels in four directions. Equal cost: the pooled networks get as many filters as the "
        "operations of the one without a pool allow. Time is that of evaluation, on one thread. "
        "Fast: 500 images, 8 filters, 6 epochs in place of 1,250, 12 and 10."
    ),
    criteria=[
        Criterion(
            "Counted in the networks, a convolution behind one pool takes 1/4 of the operations, "
            "behind two 1/16, each within 1 %.",
            lambda results: (
                results[_BEHIND[0]].near(1 / 4, 0.01) and results[_BEHIND[1]].near(1 / 16, 0.01)
            ),
        ),
        Criterion(
            "On one thread, the network with maxima takes less than half the time of the one "
            "without a pool.",
            lambda results: results[_TIME].below(0.5),
            limit="cost is counted in operations, not in time",
        ),
        Criterion(
            "Of moved noise, maxima and means of 2×2, 3×3 and 4×4 pixels correlate as the formulas "
            "say, within a tenth.",
            _as_formula,
        ),
        Criterion(
            "Moved by 1 to 3 pixels, networks with maxima and with means change fewer answers than "
            "the one without a pool.",
            _steadier("none"),
        ),
        Criterion(
            "They change fewer answers than the one with strides, too.",
            _steadier("stride"),
            limit="it is compared with keeping every pixel, not with a stride",
        ),
        Criterion(
            "At equal cost, networks with maxima and with means are, in the median over the seeds, "
            "less than two points of accuracy behind the one without a pool.",
            lambda results: all(
                results[_LOST.format(kind)].median < 0.02 for kind in ("maximum", "average")
            ),
        ),
    ],
    measure=measure,
)
