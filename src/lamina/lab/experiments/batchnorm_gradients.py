"""Batch normalisation and gradients: their size along depth, and the learning rates that train."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import torch

from lamina.lab.protocol import Criterion, Experiment, Outcome, Setting
from lamina.lab.tools.curves import spread
from lamina.lab.tools.data import Images, Part
from lamina.lab.tools.moves import resized
from lamina.lab.tools.plain_networks import GROWTH, LAWS, WIDTH, expected, flow, network
from lamina.lab.tools.training import accuracy, fit, logits
from lamina.report.finding.chart import Chart, Line, Panel
from lamina.report.finding.records import Measurement, Results

BATCH = 32
"""Images of a step, but where batches are the matter."""
MOST_PIXELS = 12
"""Of the longer side of an image."""
MOST = 10.0
"""Growth through all blocks that counts as none."""
TRAINS = 0.5
"""Loss over that of guessing, ln(classes), below which a network is said to train."""
TRIED = "PyTorch's law", "He's law"
"""The laws that networks are trained under."""
SHALLOW, BATCHES = 5, (4, 32)
"""Blocks of the networks that tell sizes of batches apart, and these sizes."""

Side = tuple[str, bool]
"""An initial law, and whether there is batch normalisation."""
SIDES: tuple[Side, ...] = tuple((law, on) for on in (False, True) for law in LAWS)


@dataclass(frozen=True)
class Sizes:
    """How much is tried.

    Args:
        deepest: blocks that gradients are followed through.
        wide: channels of these blocks; theory speaks of wide ones.
        trained: blocks of the networks that are trained at every rate.
        rates: learning rates, rising.
        steps: of a training, of 32 images each.
        epochs: of the shallow networks, over 512 images.
    """

    deepest: int
    wide: int
    trained: int
    rates: tuple[float, ...]
    steps: int
    epochs: int


FULL = Sizes(50, 64, 20, (0.01, 0.03, 0.1, 0.3, 1.0), steps=160, epochs=4)
FAST = Sizes(30, 32, 10, (0.03, 0.1, 0.3), steps=80, epochs=2)


def final_loss(model: torch.nn.Module, part: Part, rate: float, sizes: Sizes, seed: int) -> float:
    """Mean loss of the last five steps of a training; infinite where it broke off."""
    history = fit(
        model,
        part,
        epochs=max(1, round(sizes.steps * BATCH / len(part))),
        seed=seed,
        batch=BATCH,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=rate, momentum=0.9),
    )
    loss = fmean(history.steps[-5:])
    return loss if math.isfinite(loss) else math.inf


def highest(losses: Sequence[float], rates: Sequence[float]) -> float:
    """The highest rate whose loss, over that of guessing, says that it trains; 0 if none does."""
    return max((rate for rate, loss in zip(rates, losses, strict=True) if loss < TRAINS), default=0)


def in_both_modes(images: Images, batch: int, sizes: Sizes, seed: int) -> tuple[float, float]:
    """Accuracy by running statistics and by the batch's own, after training in such batches."""
    model = network(images, SHALLOW, "PyTorch's law", True, seed)
    fit(
        model,
        images.train.first(512),
        epochs=sizes.epochs,
        seed=seed,
        batch=batch,
        # A mean over fewer images is noisier, and there are more steps.
        optimizer=lambda parameters: torch.optim.SGD(
            parameters, lr=0.1 * batch / BATCH, momentum=0.9
        ),
    )
    test = images.test.few(max(1, 512 // len(images.classes)), seed)
    running = accuracy(model, test)
    own = (logits(model.train(), test.x, batch).argmax(1) == test.y).double().mean().item()
    return running, own


def measure(setting: Setting) -> Outcome:
    """Follow gradients through the deepest networks, and train at every rate."""
    sizes = FAST if setting.fast else FULL
    images, seeds = _small(setting.images), setting.seeds
    guessing = math.log(len(images.classes))
    some, part = images.train.first(BATCH), images.train.first(sizes.steps * BATCH)

    def loss(depth: int, side: Side, rate: float, seed: int) -> float:
        return final_loss(network(images, depth, *side, seed), part, rate, sizes, seed) / guessing

    flows = {
        side: [
            flow(network(images, sizes.deepest, *side, seed, sizes.wide), some) for seed in seeds
        ]
        for side in SIDES
    }
    losses = {
        side: [[loss(sizes.trained, side, rate, seed) for rate in sizes.rates] for seed in seeds]
        for side in SIDES
        if side[0] in TRIED
    }
    steps = sizes.deepest - 1
    results: dict[str, Measurement] = {}
    for side in SIDES:
        theory = expected(*side, images.size, steps)
        results[_gradient(side)] = Measurement(
            tuple(gradient[0] / gradient[-1] for _, gradient in flows[side]), predicted=theory
        )
        results[f"signal, last block over first: {_of(side)}"] = Measurement(
            tuple(signal[-1] / signal[0] for signal, _ in flows[side]),
            predicted=1.0 if side[1] else theory,
        )
    for side, runs in losses.items():
        results[_rate(side)] = Measurement(tuple(highest(run, sizes.rates) for run in runs))
    ratios = results[_gradient(("He's law", True))].values
    results["growth of gradients per block, with"] = Measurement(
        tuple(ratio ** (1 / steps) for ratio in ratios), predicted=GROWTH
    )
    if not setting.fast:
        ends = tuple(loss(sizes.deepest, ("PyTorch's law", True), 0.03, seed) for seed in seeds)
        results[f"loss over guessing's, {sizes.deepest} blocks, with"] = Measurement(ends)
    for batch in BATCHES:
        pairs = [in_both_modes(images, batch, sizes, seed) for seed in seeds]
        results[_batch(batch)] = Measurement(tuple(running for running, _ in pairs), "%")
        results[f"{_batch(batch)}, by the batch's own statistics"] = Measurement(
            tuple(own for _, own in pairs), "%"
        )
    gradients = {
        side: [[value / gradient[-1] for value in gradient] for _, gradient in flows[side]]
        for side in SIDES
    }
    panels = [*_gradient_panels(gradients, images.size), *_rate_panels(losses, sizes)]
    label = (
        "Gradients along depth and loss by learning rate, without and with batch normalisation, "
        "under three initial laws."
    )
    return Outcome(results, Chart(label, panels))


def _gradient_panels(
    gradients: dict[Side, list[list[float]]], size: tuple[int, int]
) -> list[Panel]:
    values = [value for runs in gradients.values() for run in runs for value in run]
    y_range = min(v for v in values if v > 0) / 3, 3 * max(v for v in values if v < math.inf)
    depth = len(gradients[SIDES[0]][0])
    blocks = list(range(1, depth + 1))
    titles = {
        False: "Without batch norm, the initial law decides over gradients",
        True: "With it, they grow slowly, whatever the law",
    }
    panels = []
    for on, title in titles.items():
        marks = [spread(law, blocks, gradients[law, on]) for law in LAWS]
        for law in ["He's law"] if on else LAWS:
            y = [expected(law, on, size, depth - block) for block in blocks]
            marks.append(Line("theory", blocks, y, dashed=True))
        panels.append(
            Panel(
                title,
                marks,
                x_title="block, from the input",
                y_title="gradient over the last block's",
                y_log=True,
                y_range=y_range,
            )
        )
    return panels


def _rate_panels(losses: dict[Side, list[list[float]]], sizes: Sizes) -> list[Panel]:
    titles = {
        False: f"Without it: at which rates do {sizes.trained} blocks train?",
        True: f"With it: at which rates do {sizes.trained} blocks train?",
    }
    top = 1.5  # what broke off runs along it
    return [
        Panel(
            title,
            [
                spread(law, sizes.rates, [[min(x, top) for x in run] for run in losses[law, on]])
                for law in TRIED
            ],
            x_title="learning rate",
            y_title="loss after training; guessing is 1",
            x_log=True,
            y_range=(0.0, top),
        )
        for on, title in titles.items()
    ]


def _small(images: Images) -> Images:
    """Images of at most `MOST_PIXELS` a side: depth is the matter here, and takes its time."""
    if max(images.size) <= MOST_PIXELS:
        return images
    return images.mapped(lambda x, _: resized(x, MOST_PIXELS), 0)


def _of(side: Side) -> str:
    return f"{side[0]}, {'with' if side[1] else 'without'}"


def _gradient(side: Side) -> str:
    return f"gradient, first block over last: {_of(side)}"


def _rate(side: Side) -> str:
    return f"highest rate that trains: {_of(side)}"


def _batch(batch: int) -> str:
    return f"accuracy, batches of {batch}"


def _is_provoked(results: Results) -> bool:
    vanishing = results[_gradient(("PyTorch's law", False))]
    exploding = results[_gradient(("twice He's", False))]
    return vanishing.below(0.01) and min(exploding.values) > 100


def _normalised(results: Results) -> list[float]:
    return [results[_gradient((law, True))].median for law in LAWS]


EXPERIMENT = Experiment(
    name="batchnorm-gradients",
    title="Why does batch normalisation help deep networks?",
    claim=(
        "Batch normalisation keeps gradients from vanishing and from exploding, whatever the "
        "scale of the initial weights, so that deep networks train, and at higher learning rates."
    ),
    source=(
        'Ioffe and Szegedy, "Batch Normalization" (2015), sections 1 and 3.3; d2l.ai, section 8.5'
    ),
    theory=(
        "Without it a block multiplies gradients by √(n · Var(w) / 2), n the inputs of a unit (He "
        "et al., 2015): by 0.41 under PyTorch's own initial law, 1 under He's, 1.41 under twice "
        "He's, less what zero padding loses. With it the scale of the weights cancels, and a wide "
        f"network multiplies by √(π / (π − 1)) = {GROWTH:.3f} (Yang et al., 2019): gradients still "
        f"grow, tenfold through {math.log(MOST) / math.log(GROWTH):.0f} blocks."
    ),
    method=(
        "Plain networks of 3×3 convolutions and ReLU, without and with batch normalisation "
        "between them; the weights are drawn once per seed and scaled to each law. Gradients of "
        f"the loss with respect to the output of each of {FULL.deepest} blocks of {FULL.wide} "
        f"channels, {BATCH} images, training mode. Networks of {FULL.trained} blocks of {WIDTH} "
        f"channels are trained by SGD with momentum 0.9 for {FULL.steps} steps of {BATCH} images "
        f"at {len(FULL.rates)} learning rates; one trains where the loss ends below half of that "
        f"of guessing, ln(classes). Networks of {SHALLOW} blocks are trained for {FULL.epochs} "
        "epochs of 512 images in batches of 4 and 32, and judged by running statistics and by the "
        f"batch's own. Images are scaled down to {MOST_PIXELS} pixels. Fast: {FAST.deepest} "
        f"blocks of {FAST.wide} channels, {FAST.trained} blocks trained for {FAST.steps} steps at "
        f"{len(FAST.rates)} rates, {FAST.epochs} epochs."
    ),
    criteria=[
        Criterion(
            "Without it gradients, from the last block to the first, fall to less than a hundredth "
            "under PyTorch's law and grow more than a hundredfold under twice He's.",
            _is_provoked,
        ),
        Criterion(
            "With it the first block's gradient over the last's differs between the three laws by "
            "less than a factor of 2.",
            lambda results: max(_normalised(results)) < 2 * min(_normalised(results)),
        ),
        Criterion(
            f"With it this ratio is between 1/{MOST:g} and {MOST:g}, in the deepest network too.",
            lambda results: all(1 / MOST <= ratio <= MOST for ratio in _normalised(results)),
            "a plain network has at most a dozen blocks (beyond, gradients still explode)",
        ),
        Criterion(
            "Under PyTorch's law the network trains at no rate without it, and at some with it.",
            lambda results: (
                results[_rate(("PyTorch's law", False))].median == 0
                and min(results[_rate(("PyTorch's law", True))].values) > 0
            ),
        ),
        Criterion(
            "Under He's law the highest rate that trains is at least three times as high with it.",
            lambda results: results[_rate(("He's law", False))].below(
                results[_rate(("He's law", True))], 1 / 3
            ),
        ),
        Criterion(
            "With it a network trained in batches of 4 is right on at most 5 points fewer images "
            "than one trained in batches of 32.",
            lambda results: results[_batch(4)].median >= results[_batch(32)].median - 0.05,
            "a batch has more than a few images",
        ),
    ],
    measure=measure,
)
