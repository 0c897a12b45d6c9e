"""What a separable convolution saves in arithmetic, in bytes and in time, and what that costs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import median

import torch
from torch.nn import Module, Sequential
from torch.nn.functional import adaptive_avg_pool2d

from lamina.inspector import inspect
from lamina.lab.protocol import Criterion, Experiment, Outcome, Setting
from lamina.lab.tools.annealing import fit_annealed
from lamina.lab.tools.clock import seconds_of
from lamina.lab.tools.curves import spread
from lamina.lab.tools.data import Images
from lamina.lab.tools.rewriting import Rewriting, rewritten
from lamina.lab.tools.training import accuracy
from lamina.nn import (
    BatchNorm2d,
    Conv2d,
    DepthwiseConv2d,
    GlobalAvgPool2d,
    Linear,
    MaxPool2d,
    PointwiseConv2d,
    ReLU,
    SeparableConv2d,
)
from lamina.ops.tuning import machine
from lamina.report.finding.chart import Bars, Chart, Line, Mark, Panel
from lamina.report.finding.records import Measurement, Results
from lamina.theory import conv2d, separable_conv2d
from lamina.theory.complexity import evaluate
from lamina.theory.limits import time_limit

KINDS = ("depthwise", "pointwise", "separable")
KERNEL, SIDE, COMPARED = 3, 28, 64  # pixels of a kernel and of a timed image; channels of the bars

MACS, BYTES, TIME = (f"{what}, share of the standard's" for what in ("MACs", "bytes", "time"))
PARAMETERS = "parameters, share of the standard's"
STANDARD = "accuracy, standard"
SHAPES, COSTS = "accuracy lost at equal shapes", "accuracy lost at equal MACs"
ERROR = "error of a trained convolution's best separable approximation"
REWRITTEN = "accuracy, a trained standard network approximated so"

Side = tuple[str, int]  # kind and width of a network


@dataclass(frozen=True)
class Plan:
    """Sizes of a run.

    Args:
        channels: in and out, of the layers that are timed.
        seconds: to time a layer for.
        widths: channels of the standard networks.
        per_class: images of a class to learn from.
        most: images to learn from, and to judge by, at most.
        epochs: passes over them.
    """

    channels: Sequence[int]
    seconds: float
    widths: Sequence[int]
    per_class: int
    most: int
    epochs: int


FULL = Plan((8, 16, 32, 64, 128, 256), 0.2, (8, 16, 32), 60, 1000, 15)
FAST = Plan((16, 64, 256), 0.05, (8, 32), 30, 400, 12)
LARGEST = 16  # pixels; larger images are averaged down


def predicted_share(channels: int) -> float:
    """1/M + 1/K², as the quotient of the two formulas."""
    sizes = {"N": 1, "C": channels, "M": channels, "K": KERNEL, "D": 1, "stride": 1, "groups": 1}
    sizes |= {"H": SIDE, "W": SIDE}
    separable = evaluate(separable_conv2d.complexity(), **sizes)
    return separable / evaluate(conv2d.complexity(), **sizes)


def network(kind: str, width: int, images: Images) -> Sequential:
    """A standard convolution, three of a kind with a pool between, a mean, a dense layer."""

    def block(convolution: type[Module], inputs: int) -> list[Module]:
        layer = convolution(inputs, width, KERNEL, padding=1, bias=False)
        return [layer, BatchNorm2d(width), ReLU()]

    own = Conv2d if kind == "standard" else SeparableConv2d
    return Sequential(
        *block(Conv2d, images.channels),
        *block(own, width),
        MaxPool2d(2),
        *block(own, width),
        *block(own, width),
        GlobalAvgPool2d(keepdims=False),
        Linear(width, len(images.classes)),
    )


def macs_of(kind: str, width: int, images: Images) -> int:
    """Multiply-accumulates of one image, counted."""
    shape = (1, images.channels, *images.size)
    return inspect(network(kind, width, images), shape, backward=False).totals.forward.macs


def equal_width(width: int, images: Images) -> int:
    """The most channels at which a separable network needs no more MACs than a standard one."""
    allowed = macs_of("standard", width, images)
    widths = range(1, (KERNEL**2 + 1) * width)
    return bisect_right(widths, allowed, key=lambda more: macs_of("separable", more, images))


def measure(setting: Setting) -> Outcome:
    """Count and time layers, train networks, rewrite trained ones."""
    plan = FAST if setting.fast else FULL
    height, width = (min(LARGEST, side) for side in setting.images.size)
    images = setting.images.mapped(lambda x, _: adaptive_avg_pool2d(x, (height, width)), 0)
    costs = _costs(plan, setting.seeds)
    accuracies, panels = _accuracies(plan, setting.seeds, images)
    label = "What separable convolutions cost beside standard ones, and how accurate they are"
    return Outcome(
        {**costs, **accuracies},
        Chart(label, [_share_panel(plan, costs), _kinds_panel(costs), *panels]),
    )


def _costs(plan: Plan, seeds: Sequence[int]) -> Results:
    """What the layers cost, as shares of the standard one's cost."""
    results = {}
    limits = machine.measure()
    for channels in plan.channels:
        shape = (1, channels, SIDE, SIDE)
        same = (channels, channels, KERNEL)
        layers = {
            "standard": Conv2d(*same, padding=1, bias=False),
            "separable": SeparableConv2d(*same, padding=1, bias=False),
            "depthwise": DepthwiseConv2d(channels, KERNEL, padding=1, bias=False),
            "pointwise": PointwiseConv2d(channels, channels, bias=False),
        }
        totals = {kind: inspect(layer, shape).totals for kind, layer in layers.items()}
        taken = [_seconds(layers, shape, seed, plan.seconds) for seed in seeds]
        whole = totals["standard"]
        for kind in KINDS if channels == COMPARED else KINDS[-1:]:
            own, of = totals[kind], f": {kind}, {channels} channels"
            expected = predicted_share(channels) if kind == "separable" else None
            shares = {MACS: own.forward.macs / whole.forward.macs}
            if channels == COMPARED:
                shares[PARAMETERS] = own.parameters / whole.parameters
                shares[BYTES] = own.forward.bytes_moved / whole.forward.bytes_moved
            for what, share in shares.items():
                theory = None if what == BYTES else expected
                results[what + of] = Measurement((share,) * len(seeds), "%", theory)
            results[TIME + of] = Measurement(
                tuple(times[kind] / times["standard"] for times in taken),
                "%",
                time_limit(own.forward, limits) / time_limit(whole.forward, limits),
            )
    return results


def _seconds(
    layers: Mapping[str, Module], shape: tuple[int, ...], seed: int, seconds: float
) -> dict[str, float]:
    x = torch.randn(shape, generator=torch.Generator().manual_seed(seed))
    x = x.contiguous(memory_format=torch.channels_last)
    calls = {kind: partial(layer, x) for kind, layer in layers.items()}
    return seconds_of(calls, seconds=seconds)


def _accuracies(plan: Plan, seeds: Sequence[int], images: Images) -> tuple[Results, list[Panel]]:
    """How accurate networks are at equal shapes, at equal cost, and after a rewriting."""
    equal = {width: equal_width(width, images) for width in plan.widths}
    sides = [("standard", width) for width in plan.widths]
    sides += [("separable", width) for width in sorted({*equal, *equal.values()})]
    right: dict[Side, list[float]] = {side: [] for side in sides}
    ranks = range(1, min(KERNEL**2, plan.widths[-1]) + 1)
    rewritings: dict[int, list[Rewriting]] = {rank: [] for rank in ranks}
    judged = images.test.first(plan.most)
    for seed in seeds:
        learnt = images.train.few(plan.per_class, seed).first(plan.most)
        for kind, width in sides:
            torch.manual_seed(seed)
            model = network(kind, width, images)
            fit_annealed(model, learnt, epochs=plan.epochs, seed=seed)
            right[kind, width].append(accuracy(model, judged))
            if (kind, width) == ("standard", plan.widths[-1]):
                for rank in ranks:
                    rewritings[rank].append(rewritten(model, rank, judged))

    results: dict[str, Measurement] = {}
    for width in plan.widths:
        standard, of = right["standard", width], f", {width} channels"
        results[STANDARD + of] = Measurement(tuple(standard), "%")
        for what, other in ((SHAPES, width), (COSTS, equal[width])):
            pairs = zip(standard, right["separable", other], strict=True)
            results[what + of] = Measurement(tuple(a - b for a, b in pairs), "%")
    single = rewritings[1]
    results |= {
        ERROR: Measurement(
            tuple(one.error for one in single), "%", median(one.left_out for one in single)
        ),
        REWRITTEN: Measurement(tuple(one.accuracy for one in single), "%"),
    }
    macs = {side: macs_of(*side, images) for side in sides}
    return results, [_accuracy_panel(macs, right), _error_panel(rewritings)]


def _share_panel(plan: Plan, results: Results) -> Panel:
    x, marks = plan.channels, list[Mark]()
    for name, what in (("time", TIME), ("MACs", MACS)):
        ones = [results[f"{what}: separable, {channels} channels"] for channels in x]
        theory = [one.predicted for one in ones if one.predicted is not None]
        marks.append(spread(name, x, list(zip(*(one.values for one in ones), strict=True))))
        marks.append(Line(name, x, theory, dashed=True))
    title = "Time falls by less than arithmetic (dashed: theory)"
    return Panel(title, marks, "channels in and out", "separable over standard", x_log=True)


def _kinds_panel(results: Results) -> Panel:
    bars = []
    for name, what in (("time", TIME), ("MACs", MACS), ("bytes", BYTES)):
        ones = [results[f"{what}: {kind}, {COMPARED} channels"] for kind in KINDS]
        low, high = [one.low for one in ones], [one.high for one in ones]
        bars.append(Bars(name, KINDS, [one.median for one in ones], low, high))
    title = f"Next to no MACs, but all of the bytes ({COMPARED} channels)"
    return Panel(title, bars, "over the standard convolution's")


def _accuracy_panel(macs: Mapping[Side, int], right: Mapping[Side, Sequence[float]]) -> Panel:
    lines = []
    for kind in ("standard", "separable"):
        sides = [side for side in right if side[0] == kind]
        by_seed = list(zip(*(right[side] for side in sides), strict=True))
        lines.append(spread(kind, [macs[side] for side in sides], by_seed))
    title = "Accuracy for the same arithmetic"
    return Panel(title, lines, "MACs of an image", "accuracy", x_log=True)


def _error_panel(rewritings: Mapping[int, Sequence[Rewriting]]) -> Panel:
    ranks, by_rank = list(rewritings), rewritings.values()
    errors = [[one.error for one in ones] for ones in zip(*by_rank, strict=True)]
    theory = [median(one.left_out for one in ones) for ones in by_rank]
    return Panel(
        "A trained convolution is not separable: its best approximation (dashed: theory)",
        [spread("separable", ranks, errors), Line("separable", ranks, theory, dashed=True)],
        "depthwise kernels a channel",
        "relative error of the output",
    )


def _named(results: Results, what: str) -> list[Measurement]:
    return [one for name, one in results.items() if name.startswith(what)]


def _pairs(results: Results) -> list[tuple[Measurement, Measurement]]:
    """MACs and time of the separable layer, at every number of channels."""
    macs, times = (_named(results, f"{what}: separable") for what in (MACS, TIME))
    return list(zip(macs, times, strict=True))


EXPERIMENT = Experiment(
    name="separable-cost",
    title="Why are separable convolutions cheap?",
    claim="A separable convolution does 1/M + 1/K² of a standard one's multiplications; networks "
    "of it lose little accuracy at equal shapes and none at equal cost, but it saves less time "
    "than arithmetic.",
    source="Howard et al., MobileNets (2017), section 3.1 and table 4; of time: Ma et al., "
    "ShuffleNet V2 (2018), section 1",
    theory="A standard convolution of K×K taps from C to M channels does C·M·K² multiplications a "
    "pixel, a depthwise one C·K² and a pointwise one C·M: together 1/M + 1/K² of the standard "
    "one's, a ninth for 3×3 and many channels. The bytes do not shrink so: images come and go as "
    "before, and memory binds the depthwise part, so that the time's limit, the larger of "
    "operations over the peak and bytes over the bandwidth, falls by less. A separable kernel has "
    "rank 1 in every input channel; the singular values of a trained kernel's matrices (M, K²) "
    "say what the best approximation by D kernels a channel leaves out, which is its error where "
    "pixels are independent, and min(M, K²) of them leave out nothing. On ImageNet, MobileNet lost "
    "1.1 points of accuracy by its separable layers.",
    method=f"Layers of {KERNEL}×{KERNEL} on one image of {SIDE}×{SIDE} are counted as they run and "
    "timed in turns. Networks of four convolutions and a dense layer learn from few images, drawn "
    "for each seed: standard ones of several widths, separable ones of the same widths, and of "
    "those widths that need as many MACs as the standard ones; the first convolution is standard "
    "in all. The convolutions of the widest standard network are rewritten as their best separable "
    f"approximations. Images above {LARGEST} pixels are averaged down. Fast: fewer widths, "
    "channels and images.",
    criteria=(
        Criterion(
            "The counted MACs are 1/M + 1/K² of the standard layer's, at every width.",
            lambda results: all(
                one.predicted is not None and one.near(one.predicted, 1e-9)
                for one in _named(results, f"{MACS}: separable")
            ),
        ),
        Criterion(
            "At equal shapes, the widest separable network loses less than three points of "
            "accuracy.",
            lambda results: _named(results, SHAPES)[-1].below(0.03),
        ),
        Criterion(
            "So do the narrower ones.",
            lambda results: all(one.below(0.03) for one in _named(results, SHAPES)),
            limit=f"layers have {FULL.widths[-1]} channels",
        ),
        Criterion(
            "At equal MACs, no separable network loses more than a point, median over the seeds.",
            lambda results: all(one.median < 0.01 for one in _named(results, COSTS)),
        ),
        Criterion(
            "Where the limits' share is a tenth above the arithmetic's, the time's is above it.",
            lambda results: all(
                macs.below(time)
                for macs, time in _pairs(results)
                if (time.predicted or 0) > 1.1 * macs.median
            ),
        ),
        Criterion(
            "So it is with more channels.",
            lambda results: all(macs.below(time) for macs, time in _pairs(results)),
            limit="memory binds, at few channels",
        ),
    ),
    measure=measure,
)
