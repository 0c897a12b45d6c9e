"""What a convolution's time grows with: the formula's powers, memory's share, other algorithms."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

import torch

from lamina.lab.protocol import Criterion, Experiment, Outcome, Setting
from lamina.lab.tools.clock import Call, seconds_of
from lamina.lab.tools.curves import exponent, spread
from lamina.nn import Conv2d
from lamina.ops.tuning import machine
from lamina.ops.tuning.timing import Case, problem_of
from lamina.report.finding.chart import Bars, Chart, Line, Panel
from lamina.report.finding.records import Measurement, Results
from lamina.theory import conv2d
from lamina.theory.complexity import exponents
from lamina.theory.conv2d_algorithms import complexity, cost
from lamina.theory.limits import time_limit

Side = tuple[str, Case]
"""An algorithm and what it convolves."""

Times = Mapping[tuple[str, Side], float]
"""Of sides, by the sweep that they are in."""

GROWING: dict[str, Callable[[Case], float]] = {
    "N": lambda case: case.batch,
    "H·W": lambda case: case.pixels**2,
    "C": lambda case: case.inputs,
    "M": lambda case: case.outputs,
    "K": lambda case: case.kernel_size,
}
"""Sizes by their symbols."""

KERNELS = {
    "direct": (3, 5, 7, 9, 11),
    "im2col": (3, 7, 11),
    "winograd": (3, 5),
    "fft": (3, 7, 11),
}
CHANNELS = (8, 16, 32, 64, 128, 256)
WITHIN = 0.25  # of an exponent
FASTER = 0.8  # of the direct sum's time
FEW, MANY = 4, 128  # channels
COMPARED = ("winograd", "fft")
"""Algorithms with fewer operations than the direct sum, for some kernels."""

EXPONENTS = [f"exponent of {symbol}" for symbol in GROWING]
MEMORY = f"time of a multiplication, {FEW} channels to {MANY}"
OTHER = "least time, of the direct sum's"


def sweeps(fast: bool) -> dict[str, list[Side]]:
    """What is timed in turns, by what grows."""
    images, width, side = 4 if fast else 8, 64, 28
    batches = (4, 8, 16, 32) if fast else (4, 8, 16, 32, 64)
    pixels = (28, 40, 56, 80) if fast else (28, 40, 56, 80, 112)
    channels = (64, 128, 256) if fast else (64, 128, 256, 512)
    direct = {
        "N": [Case(batch, width, width, side) for batch in batches],
        "H·W": [Case(images, width, width, p) for p in pixels],
        "C": [Case(2 * images, c, width, side) for c in channels],
        "M": [Case(2 * images, width, m, side) for m in channels],
    }
    widths = [Case(images, c, c, side) for c in CHANNELS[: -1 if fast else None]]
    return {
        **{name: [("direct", case) for case in cases] for name, cases in direct.items()},
        "K": [
            (algorithm, Case(images, width, width, side, kernel_size))
            for algorithm, sizes in KERNELS.items()
            for kernel_size in sizes
        ],
        "channels": [(name, case) for name in ("direct", "winograd") for case in widths],
        "memory": [("direct", case) for case in _of_equal_bytes(fast)],
    }


def _of_equal_bytes(fast: bool) -> Iterator[Case]:
    """1×1 convolutions of images that take as many bytes whatever their channels."""
    elements = (2 if fast else 8) << 20
    for channels in (FEW, 8, 16, 32, 64, MANY, 2 * MANY):
        yield Case(elements // (channels * 32 * 32), channels, channels, 32, 1)


def call(side: Side) -> Call:
    """The layer on drawn images, channels-last."""
    algorithm, case = side
    size = case.kernel_size
    layer = Conv2d(
        case.inputs, case.outputs, size, padding=size // 2, bias=False, algorithm=algorithm
    )
    x = torch.randn(case.batch, case.inputs, case.pixels, case.pixels)
    return partial(layer, x.contiguous(memory_format=torch.channels_last))


def times(setting: Setting, seed: int) -> Times:
    """Seconds by sweep and side."""
    torch.manual_seed(seed)
    found = {}
    for name, sides in sweeps(setting.fast).items():
        calls = {repr(side): call(side) for side in sides}
        turns = 5 if setting.fast else 15
        taken = seconds_of(calls, fewest=turns, most=turns)
        found.update({(name, side): taken[repr(side)] for side in sides})
    return found


# ---- what theory says ---------------------------------------------------------------------------


def power(symbol: str) -> int:
    """By which the direct sum grows with a size."""
    return exponents(complexity("direct"))["H" if symbol == "H·W" else symbol]


def fewer(algorithm: str, case: Case) -> float:
    """Operations of an algorithm over those of the direct sum; Winograd's with its larger tile."""
    names = ("winograd_4x4", "winograd_2x2") if algorithm == "winograd" else (algorithm,)
    problem = problem_of(case, "forward")
    serving = names[:1] if case.kernel_size == 3 else names[-1:]
    return min(cost(name, problem).flops for name in serving) / cost("direct", problem).flops


def limit(case: Case) -> float:
    """Seconds below which this machine cannot do the direct sum."""
    images = (case.batch, case.inputs, case.pixels, case.pixels)
    window = (case.outputs, case.kernel_size, case.stride, case.kernel_size // 2)
    return time_limit(conv2d.cost(images, *window, bias=False), machine.measure())


# ---- together -----------------------------------------------------------------------------------


def measure(setting: Setting) -> Outcome:
    """Time the sweeps once per seed, on one thread, whose processor time is taken."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return _measure(setting)
    finally:
        torch.set_num_threads(threads)


def _measure(setting: Setting) -> Outcome:
    taken = [times(setting, seed) for seed in setting.seeds]
    groups = sweeps(setting.fast)

    def growth(symbol: str) -> Measurement:
        cases = [case for algorithm, case in groups[symbol] if algorithm == "direct"]
        sizes = [GROWING[symbol](case) for case in cases]
        fitted = (exponent(sizes, [one[symbol, ("direct", c)] for c in cases]) for one in taken)
        return Measurement(tuple(fitted), "", float(power(symbol)))

    cases = [case for _, case in groups["memory"]]
    few, many = cases[0], next(case for case in cases if case.inputs == MANY)

    products = problem_of(many, "forward").macs / problem_of(few, "forward").macs
    by_memory = Measurement(
        tuple(
            products * one["memory", ("direct", few)] / one["memory", ("direct", many)]
            for one in taken
        ),
        "",
        products * limit(few) / limit(many),
    )
    rivals = [(g, side) for g in ("K", "channels") for side in groups[g] if side[0] in COMPARED]
    others = [
        {(g, side): one[g, side] / one[g, ("direct", side[1])] for g, side in rivals}
        for one in taken
    ]
    results = {
        **dict(zip(EXPONENTS, map(growth, GROWING), strict=True)),
        MEMORY: by_memory,
        OTHER: Measurement(
            tuple(min(one.values()) for one in others),
            "%",
            min(fewer(*side) for _, side in rivals),
        ),
        **{
            f"{name}, {size}×{size}: time of the direct sum's": Measurement(
                tuple(one["K", (name, case)] for one in others), "%", fewer(name, case)
            )
            for sweep, (name, case) in rivals
            if sweep == "K" and (size := case.kernel_size) in (3, 11)
        },
    }
    panels = [
        _exponent_panel(results),
        _memory_panel(cases, taken),
        _kernel_panel(groups["K"], taken),
        _channel_panel([side for g, side in rivals if g == "channels"], others),
    ]
    return Outcome(results, Chart("How the time of a convolution grows", panels))


# ---- the figure ---------------------------------------------------------------------------------


def _exponent_panel(results: Results) -> Panel:
    found = [results[name] for name in EXPONENTS]
    labels = [f"time against {symbol}" for symbol in GROWING]
    marks = [
        Bars(
            "direct",
            labels,
            [one.median for one in found],
            [one.low for one in found],
            [one.high for one in found],
        ),
        Bars("theory", labels, [one.predicted or 0.0 for one in found]),
    ]
    return Panel("Time grows by the formula's powers", marks, x_title="fitted exponent")


def _memory_panel(cases: Sequence[Case], taken: Sequence[Times]) -> Panel:
    channels = [case.inputs for case in cases]
    seeds = [[1e3 * one["memory", ("direct", case)] for case in cases] for one in taken]
    return Panel(
        "1×1, equal bytes: few channels wait for memory; dashed: limit",
        [
            spread("direct", channels, seeds),
            Line("theory", channels, [1e3 * limit(case) for case in cases], dashed=True),
        ],
        x_title="channels (and multiplications per value)",
        y_title="ms",
        x_log=True,
        y_log=True,
    )


def _kernel_panel(sides: Sequence[Side], taken: Sequence[Times]) -> Panel:
    marks = []
    for name in dict.fromkeys(name for name, _ in sides):
        cases = [case for algorithm, case in sides if algorithm == name]
        seeds = [[1e3 * one["K", (name, case)] for case in cases] for one in taken]
        marks.append(spread(name, [case.kernel_size for case in cases], seeds))
    first = marks[0].y[0]
    sizes = KERNELS["direct"]
    squares = [first * (size / sizes[0]) ** power("K") for size in sizes]
    marks.append(Line("theory", sizes, squares, dashed=True))
    return Panel(
        "The kernel's side decides which algorithm wins; dashed: K²",
        marks,
        x_title="kernel's side K (pixels)",
        y_title="ms",
        x_log=True,
        y_log=True,
    )


def _channel_panel(sides: Sequence[Side], others: Sequence[Times]) -> Panel:
    channels = [case.inputs for _, case in sides]
    seeds = [[one["channels", side] for side in sides] for one in others]
    return Panel(
        "Winograd's algorithm wins from some channels on (3×3)",
        [
            spread("winograd", channels, seeds),
            Line("direct", channels, [1.0] * len(channels)),
            Line("theory", channels, [fewer(*side) for side in sides], dashed=True),
        ],
        x_title="channels, in and out",
        y_title="time, of the direct sum's; dashed: operations",
        x_log=True,
    )


# ---- the rule -----------------------------------------------------------------------------------


EXPERIMENT = Experiment(
    name="conv2d-complexity",
    title="What does a convolution's time depend on?",
    claim=(
        "The time of a convolution grows as its multiplications are counted: in proportion to "
        "images, pixels, input and output channels, and with the square of the kernel's side."
    ),
    source=(
        "He and Sun, Convolutional Neural Networks at Constrained Time Cost (2015), equation 1; "
        "the limits: Williams, Waterman and Patterson, Roofline (2009), section 3; Lavin and Gray, "
        "Fast Algorithms for Convolutional Neural Networks (2016), section 4"
    ),
    theory=(
        "N·H·W·C·M·K² multiplications: exponents 1, 1, 1, 1 and 2. A time is no less than "
        "arithmetic at the machine's peak, nor than its bytes at the bandwidth: a 1×1 convolution "
        "of C channels uses a value C times, so that with few channels memory decides; nor do few "
        "fill a register. Winograd's algorithm takes a quarter of the products of a 3×3 kernel, "
        "Fourier's as many for any kernel; their transforms grow with the channels, the products "
        "with their square."
    ),
    method=(
        "Layers of 64 channels on 28×28 pixels, 3×3, channels-last, without gradients. One size "
        "grows, the others stay; the power is the slope of log time against log size. The sides of "
        "a sweep take 15 turns on one thread; a time is the median of the processor's, which "
        "other programs disturb little. 1×1 convolutions of 4 to 256 channels have images of equal "
        "bytes. By every algorithm: kernels of 3 to 11 pixels, and 8 to 256 channels. Images are "
        "drawn: a time does not depend on what they show. Fast: half or a quarter of the images, "
        "shorter sweeps, 5 turns."
    ),
    criteria=[
        Criterion(
            "Each exponent of the direct sum is within a quarter of the formula's.",
            lambda results: all(
                results[name].near(results[name].predicted or 0.0, WITHIN) for name in EXPONENTS
            ),
        ),
        Criterion(
            f"With {FEW} channels of 1×1 a multiplication takes at most twice as long as with "
            f"{MANY}.",
            lambda results: results[MEMORY].median <= 2,
            limit="channels are many enough to fill registers and to use a value often",
        ),
        Criterion(
            f"No other algorithm takes less than {FASTER:.0%} of the direct sum's time.",
            lambda results: results[OTHER].median >= FASTER,
            limit="the sum is taken term by term",
        ),
    ],
    measure=measure,
)
