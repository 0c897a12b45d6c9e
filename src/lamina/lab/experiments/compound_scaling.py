"""A small network made larger by its depth, its width, its images' size, or by all three."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from statistics import median

import torch
from torch.nn import Module, Sequential

from lamina.inspector import inspect
from lamina.lab.protocol import Criterion, Experiment, Outcome, Setting
from lamina.lab.tools.annealing import fit_annealed
from lamina.lab.tools.clock import seconds_of
from lamina.lab.tools.data import Images, Part
from lamina.lab.tools.moves import resized
from lamina.lab.tools.training import accuracy
from lamina.nn import BatchNorm2d, Conv2d, GlobalAvgPool2d, Linear, SeparableBlock, SiLU
from lamina.report.finding.chart import Bars, Chart, Line, Mark, Panel, Points
from lamina.report.finding.records import Measurement, Results

STRATEGIES = ("depth", "width", "resolution", "compound")
ALPHA, GAMMA = 1.2, 1.15  # of depth and resolution; the width takes what the cost leaves, about 1.1
LAW = "d·w²·r²"
BASE = "base"
MACS, TIME = f"MACs over the base's and over {LAW}", "time over the base's"
JUDGED = 1000  # images at most
WIDTH, LARGEST_SIDE = 8, 8  # channels of the base's first stage; pixels of its images


@dataclass(frozen=True)
class Scale:
    """A network's three sizes.

    Args:
        blocks: of both stages together.
        width: channels of the first stage; the second has twice as many.
        side: longer edge of the images in pixels.
    """

    blocks: int
    width: int
    side: int

    def over(self, base: Scale) -> float:
        """What the law says that this costs over what the base costs: d·w²·r²."""
        depth, width = self.blocks / base.blocks, self.width / base.width
        return depth * width**2 * (self.side / base.side) ** 2


@dataclass(frozen=True)
class Plan:
    """Sizes of a run.

    Args:
        powers: the networks cost 2 to each of these over the base.
        per_class: images of a class to learn from.
        most: images to learn from at most.
        epochs: passes over them.
    """

    powers: Sequence[int]
    per_class: int
    most: int
    epochs: int


FULL, FAST = Plan((1, 2, 3), 100, 1000, 8), Plan((2,), 100, 1000, 5)


def network(scale: Scale, channels: int, classes: int) -> Sequential:
    """A convolution, two stages of inverted residuals, a mean and a dense layer."""

    def block(inputs: int, outputs: int, stride: int) -> Module:
        shortcut = stride == 1 and inputs == outputs
        return SeparableBlock(inputs, outputs, 3, stride, 1, 3, "silu", None, shortcut)

    first, second = scale.width, 2 * scale.width
    later = scale.blocks // 2
    return Sequential(
        Conv2d(channels, first, 3, padding=1, bias=False),
        BatchNorm2d(first),
        SiLU(),
        *(block(first, first, 1) for _ in range(scale.blocks - later)),
        block(first, second, 2),
        *(block(second, second, 1) for _ in range(later - 1)),
        GlobalAvgPool2d(keepdims=False),
        Linear(second, classes),
    )


def macs_of(scale: Scale, images: Images) -> int:
    """Multiply-accumulates of one image, counted."""
    model = network(scale, images.channels, len(images.classes))
    x = resized(images.test.x[:1], scale.side)
    return inspect(model, input_data=x, backward=False).totals.forward.macs


def scaled(strategy: str, power: int, base: Scale, images: Images) -> Scale:
    """The network nearest to 2 to a power of the base's MACs that is grown in one way.

    Args:
        strategy: one of `STRATEGIES`; the compound one grows depth and resolution by the paper's
            constants, and the width by what the cost leaves.
        power: at least 1.
        base: to grow from.
        images: to count with.
    """
    wanted = 2**power * macs_of(base, images)
    scale, field = base, _FIELDS[strategy]
    if strategy == "compound":
        blocks, side = round(ALPHA**power * base.blocks), round(GAMMA**power * base.side)
        scale = replace(base, blocks=blocks, side=side)
    cost = macs_of(scale, images)
    while cost < wanted:
        smaller, before = scale, cost
        scale = replace(scale, **{field: getattr(scale, field) + 1})
        cost = macs_of(scale, images)
        if cost - wanted > wanted - before:
            return smaller
    return scale


_FIELDS = {"depth": "blocks", "width": "width", "resolution": "side", "compound": "width"}


def measure(setting: Setting) -> Outcome:
    """Scale a small network in four ways, train and time all."""
    plan, images = FAST if setting.fast else FULL, setting.images
    base = Scale(2, WIDTH, min(LARGEST_SIDE, max(2, round(max(images.size) / 2**0.5))))
    scales = {BASE: base} | {
        _key(strategy, power): scaled(strategy, power, base, images)
        for strategy in STRATEGIES
        for power in plan.powers
    }
    macs = {key: macs_of(scale, images) for key, scale in scales.items()}
    right: dict[str, list[float]] = {key: [] for key in scales}
    times = []
    for seed in setting.seeds:
        learnt = images.train.few(plan.per_class, seed).first(plan.most)
        models = {}
        for key, scale in scales.items():
            torch.manual_seed(seed)
            models[key] = network(scale, images.channels, len(images.classes))
            fit_annealed(models[key], _at(learnt, scale), epochs=plan.epochs, seed=seed)
            right[key].append(accuracy(models[key], _at(images.test.first(JUDGED), scale)))
        times.append(_seconds(models, scales, images))
    results = {f"accuracy, {BASE}": Measurement(tuple(right[BASE]), "%")}
    for key in list(scales)[1:]:
        law = scales[key].over(base)
        cost = (macs[key] / macs[BASE] / law,) * len(times)
        results[f"accuracy, {key}"] = Measurement(tuple(right[key]), "%")
        results[f"{MACS}, {key}"] = Measurement(cost, predicted=1.0)
        results[f"{TIME}, {key}"] = Measurement(
            tuple(one[key] / one[BASE] for one in times), predicted=law
        )
    label = "A small network scaled by depth, width, resolution or all three: accuracy and cost"
    laws = {key: scale.over(base) for key, scale in scales.items()}
    counted = {key: number / macs[BASE] for key, number in macs.items()}
    taken = {key: median(one[key] / one[BASE] for one in times) for key in scales}
    panels = [
        _accuracy_panel(plan, macs, right),
        _spread_panel(plan, right),
        _law_panel(f"MACs grow as {LAW}, nearly", "MACs over the base's", plan, laws, counted),
        _law_panel("Time has a law of its own", "time over the base's", plan, laws, taken),
    ]
    return Outcome(results, Chart(label, panels))


def _key(strategy: str, power: int) -> str:
    return f"{strategy} {2**power}×"


def _at(part: Part, scale: Scale) -> Part:
    return Part(resized(part.x, scale.side), part.y)


def _seconds(
    models: Mapping[str, Module], scales: Mapping[str, Scale], images: Images
) -> dict[str, float]:
    """Of an inference on 256 images."""
    inputs = {key: resized(images.train.first(256).x, scale.side) for key, scale in scales.items()}
    return seconds_of(
        {key: partial(model, inputs[key]) for key, model in models.items()}, seconds=0.05, most=20
    )


def _accuracy_panel(
    plan: Plan, macs: Mapping[str, int], right: Mapping[str, Sequence[float]]
) -> Panel:
    lines = []
    for strategy in STRATEGIES:
        keys = [BASE, *(_key(strategy, power) for power in plan.powers)]
        found = [median(right[key]) for key in keys]
        lines.append(Line(strategy, [macs[key] for key in keys], found))
    title = "What the same arithmetic buys"
    return Panel(title, lines, "MACs of an image", "accuracy", x_log=True)


def _spread_panel(plan: Plan, right: Mapping[str, Sequence[float]]) -> Panel:
    ways = {BASE: BASE} | {name: _key(name, plan.powers[-1]) for name in STRATEGIES}
    wrong = [[100 * (1 - one) for one in right[key]] for key in ways.values()]
    bars = Bars("", list(ways), list(map(median, wrong)), [*map(min, wrong)], [*map(max, wrong)])
    title = f"Wrong answers at {2 ** plan.powers[-1]} times the cost: the seeds' spread"
    return Panel(title, [bars], "% of the images")


def _law_panel(
    title: str, y_title: str, plan: Plan, laws: Mapping[str, float], found: Mapping[str, float]
) -> Panel:
    marks: list[Mark] = []
    for strategy in STRATEGIES:
        keys = [_key(strategy, power) for power in plan.powers]
        marks.append(Points(strategy, [laws[key] for key in keys], [found[key] for key in keys]))
    ends = [1.0, max(laws.values())]
    marks.append(Line(LAW, ends, ends, dashed=True))
    return Panel(title, marks, LAW, y_title, x_log=True, y_log=True)


def _at_most(results: Results, strategy: str) -> Measurement:
    """Accuracy at the largest cost."""
    name = f"accuracy, {strategy} "
    return [one for key, one in results.items() if key.startswith(name)][-1]


def _beaten(results: Results) -> int:
    """How many of the single ways the compound one is more accurate than, at the largest cost."""
    compound = _at_most(results, "compound")
    return sum(_at_most(results, strategy).below(compound) for strategy in STRATEGIES[:3])


EXPERIMENT = Experiment(
    name="compound-scaling",
    title="Deeper, wider, or larger images?",
    claim="The MACs of a convolutional network grow as d·w²·r², and for the same cost scaling "
    "depth, width and resolution together makes it more accurate than scaling one of them.",
    source="Tan and Le, EfficientNet (2019), sections 3.2 and 3.3 and table 7",
    theory="A layer's MACs are pixels times channels in times channels out: a network with d times "
    "the layers, w times the channels and images r times as high and wide costs d·w²·r² as much. "
    "Depthwise layers and the first one grow as w alone, so that a wide network costs a little "
    "less. Of accuracy theory says nothing; the paper's reason is that larger images need more "
    "layers to be seen whole and more channels to be told apart. Its constants, found on ImageNet, "
    f"are {ALPHA} for depth, 1.1 for width and {GAMMA} for resolution at each doubling of the "
    "cost; there the compound network had 81.1 % where single ways had 78.9 to 79.1 %.",
    method="A base of two inverted residuals of 8 and 16 channels sees images shrunk to 0.7 of "
    f"their size, at most {LARGEST_SIDE} pixels. It is grown until its counted MACs are nearest to "
    "2, 4 and 8 times the base's: by more blocks, by more channels, by larger images, or by all "
    "with the paper's constants, the width taking what rounding leaves. All learn from the same "
    "images, drawn for each seed, for as many epochs; times are of an inference, in turns. Fast: 4 "
    "times alone, and fewer epochs.",
    criteria=(
        Criterion(
            "Counted MACs are within a quarter of d·w²·r², in every network.",
            lambda results: all(
                one.near(1.0, 0.25) for name, one in results.items() if name.startswith(MACS)
            ),
        ),
        Criterion(
            "At the largest cost the compound network is more accurate than at least two of the "
            "three that grow one way.",
            lambda results: _beaten(results) >= 2,
        ),
        Criterion(
            "It is more accurate than all three.",
            lambda results: _beaten(results) == 3,
            limit="the best single way is not known beforehand",
        ),
    ),
    measure=measure,
)
