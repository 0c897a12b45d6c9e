"""Dropout against over-fitting: in the plane, on few images, and where it meets batch norm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import fmean
from typing import NamedTuple

import torch
from torch.nn.functional import cross_entropy

from lamina.lab.protocol import Criterion, Experiment, Outcome, Setting
from lamina.lab.tools import masks, plane
from lamina.lab.tools.curves import spread
from lamina.lab.tools.data import Images, Part
from lamina.lab.tools.moves import resized
from lamina.lab.tools.training import accuracy, fit, logits
from lamina.nn import BatchNorm1d, Dropout, Flatten, Linear, ReLU
from lamina.report.finding.chart import Chart, Line, Panel
from lamina.report.finding.records import Measurement

RATE, OF_INPUTS = 0.5, 0.2
"""The paper's rates, which the claim is tried at: of hidden units, and of an image's pixels."""
PER_CLASS, FEWEST = 20, 10
"""Images of a class that are learned from, and so few that the paper saw no gain."""
MOST_IMAGES, MOST_PIXELS = 400, 32
"""Images that are learned from at most, and pixels of their longer side."""
POINTS = 60
"""Points of the plane that are learned from."""


@dataclass(frozen=True)
class Sizes:
    """How much is tried.

    Args:
        width: units of a hidden layer.
        epochs: passes over the images; twice as many over the fewest.
        in_plane: passes over the points of the plane.
        rates: of dropout; 0 and `RATE` are among them.
    """

    width: int
    epochs: int
    in_plane: int
    rates: tuple[float, ...]


FULL = Sizes(512, 200, 1000, (0.0, 0.2, RATE, 0.8))
FAST = Sizes(256, 80, 250, (0.0, RATE))


def network(
    inputs: int,
    outputs: int,
    width: int,
    rate: float,
    seed: int,
    *,
    of_inputs: float = 0.0,
    normalised: bool = False,
) -> torch.nn.Sequential:
    """Two wide hidden layers, dropout behind each, on request batch normalisation behind that."""
    torch.manual_seed(seed)
    layers: list[torch.nn.Module] = [Flatten(), Dropout(of_inputs)]
    for features in (inputs, width):
        layers += [Linear(features, width), ReLU(), Dropout(rate)]
        layers += [BatchNorm1d(width)] if normalised else []
    return torch.nn.Sequential(*layers, Linear(width, outputs))


class Run(NamedTuple):
    """A network that has learned, and its losses on the way.

    Args:
        model: in evaluation mode.
        epochs: when losses were taken.
        training: loss on the images that it learned from, in evaluation mode.
        unseen: loss on others.
    """

    model: torch.nn.Sequential
    epochs: list[float]
    training: list[float]
    unseen: list[float]

    @property
    def end(self) -> tuple[float, float]:
        """Both losses, over the last quarter: with dropout they keep going up and down."""
        return fmean(self.training[-5:]), fmean(self.unseen[-5:])


def trained(model: torch.nn.Sequential, few: Part, unseen: Part, epochs: int, seed: int) -> Run:
    """Train by Adam without decay of weights: dropout alone stands against over-fitting."""
    run = Run(model, [], [], [])
    batches = math.ceil(len(few) / 32)
    every = batches * max(1, epochs // 20)

    def watch(step: int) -> None:
        if step % every == 0:
            model.eval()
            run.epochs.append(step / batches)
            run.training.append(loss(model, few))
            run.unseen.append(loss(model, unseen))
            model.train()

    fit(
        model,
        few,
        epochs=epochs,
        seed=seed,
        batch=32,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
        on_step=watch,
    )
    watch(epochs * batches)
    model.eval()
    return run


def loss(model: torch.nn.Module, part: Part) -> float:
    """Cross-entropy in the model's present mode."""
    return cross_entropy(logits(model, part.x), part.y).item()


def measure(setting: Setting) -> Outcome:
    """Train at every rate in the plane and on few images, and take moments over masks."""
    sizes = FAST if setting.fast else FULL
    images = _small(setting.images)
    unseen = Part(
        torch.cat([images.validation.x, images.test.x]),
        torch.cat([images.validation.y, images.test.y]),
    ).few(max(1, 1000 // len(images.classes)), 0)
    runs: dict[float, list[Run]] = {rate: [] for rate in sizes.rates}
    found: dict[str, list[float]] = {}
    theory: dict[str, list[float]] = {}

    def note(name: str, value: float, predicted: float | None = None) -> None:
        found.setdefault(name, []).append(value)
        if predicted is not None:
            theory.setdefault(name, []).append(predicted)

    pictures: list[Panel] = []
    for seed in setting.seeds:
        points, fresh = plane.arcs(POINTS, seed), plane.arcs(2000, seed, 1)
        best = (plane.best_answers(fresh.x) == fresh.y).double().mean().item()
        for title, name, rate in PLANE:
            model = network(2, 2, sizes.width, rate or 0.0, seed)
            if rate is None:
                model = torch.nn.Sequential(Linear(2, 2))
            run = trained(model, points, fresh, sizes.in_plane, seed)
            note(f"loss on fresh points, {name}", run.end[1])
            note(f"right on fresh points, {name}", accuracy(model, fresh), best)
            if seed == setting.seeds[0]:
                pictures.append(plane.regions(title, model, points))

        inputs, classes = images.train.x[0].numel(), len(images.classes)
        few, fewest = (_few(images, per_class, seed) for per_class in (PER_CLASS, FEWEST))
        for rate in sizes.rates:
            of_inputs = rate * OF_INPUTS / RATE
            model = network(inputs, classes, sizes.width, rate, seed, of_inputs=of_inputs)
            run = trained(model, few, unseen, sizes.epochs, seed)
            runs[rate].append(run)
            note(f"loss on unseen images, rate {rate:g}", run.end[1])
            note(f"gap in loss, rate {rate:g}", run.end[1] - run.end[0])
            note(f"right on unseen images, rate {rate:g}", accuracy(run.model, unseen))
            if rate in (0.0, RATE):
                model = network(inputs, classes, sizes.width, rate, seed, of_inputs=of_inputs)
                run = trained(model, fewest, unseen, 2 * sizes.epochs, seed)
                note(f"loss on unseen images, fewest, rate {rate:g}", run.end[1])

        torch.manual_seed(seed)
        model, x = runs[RATE][-1].model, few.x[:32]
        slope, variance = masks.moments(model[4], model[5], model[:4](x), RATE)
        note("mean over masks, over that in evaluation", slope, 1.0)
        note("variance over masks, over theory", variance, 1.0)
        right, told = masks.monte_carlo(model, unseen)
        note("right on unseen images, by the mean over masks", right)
        note("a wrong answer has the larger entropy", told)
        note("noise of a channel's mean, Dropout2d over Dropout", *masks.spatial_noise(x, RATE))

        model = network(inputs, classes, sizes.width, RATE, seed, normalised=True)
        run = trained(model, few, unseen, sizes.epochs, seed)
        shift = masks.variance_shift(model[5], model[:4](few.x), RATE)
        note("variance shift, batch norm behind dropout", *shift)
        note("loss on unseen images, batch norm behind dropout", run.unseen[-1])
        masks.put_right(model, few.x)
        note("the same, its statistics put right", loss(model, unseen))

    for name, (without, dropped) in PAIRS.items():
        found[name] = [b / a for a, b in zip(found[without], found[dropped], strict=True)]
    results = {
        name: Measurement(
            tuple(values),
            "%" if name.startswith(SHARES) else "",
            sum(theory[name]) / len(theory[name]) if name in theory else None,
        )
        for name, values in found.items()
    }
    label = (
        "Decision regions of a network that under-fits, over-fits and fits, and loss on training "
        "and unseen images over epochs, with and without dropout."
    )
    return Outcome(results, Chart(label, [*pictures, _curves(runs)]))


SHARES = "right", "a wrong answer"
"""How the names of results that are shares begin."""
_RATES = "rate 0", f"rate {RATE:g}"
PAIRS = {
    f"{name}, with dropout over without": tuple(f"{of}, {side}" for side in sides)
    for name, of, sides in (
        ("loss on unseen images", "loss on unseen images", _RATES),
        ("gap in loss", "gap in loss", _RATES),
        ("loss on unseen images, fewest", "loss on unseen images, fewest", _RATES),
        ("loss on fresh points", "loss on fresh points", ("without dropout", "with dropout")),
    )
}
"""Results of which each seed's ratio is taken: seeds draw easy images and hard ones."""
PLANE = (
    ("Under-fitting: a line is too little", "a line", None),
    ("Over-fitting: two wide layers follow every point", "without dropout", 0.0),
    ("Towards a good fit: the same layers with dropout", "with dropout", RATE),
)
"""The classic three pictures: title, name and rate, None for a network without hidden layers."""


def _curves(runs: dict[float, list[Run]]) -> Panel:
    marks: list[Line] = []
    for rate, name in ((0.0, "without dropout"), (RATE, "with dropout")):
        epochs = runs[rate][0].epochs
        marks.append(spread(f"unseen, {name}", epochs, [run.unseen for run in runs[rate]]))
        marks.append(spread(f"training, {name}", epochs, [run.training for run in runs[rate]]))
    return Panel(
        f"{PER_CLASS} images of a class: the gap between training and unseen ones",
        marks,
        x_title="epochs",
        y_title="loss, in evaluation mode",
        y_range=(0.0, 2.5 * max(run.end[1] for run in runs[0.0])),
    )


def _few(images: Images, per_class: int, seed: int) -> Part:
    few = images.train.few(per_class, seed).first(MOST_IMAGES)
    return few.first(len(few) - (len(few) % 32 == 1))  # one image alone has no variance


def _small(images: Images) -> Images:
    """Images of at most `MOST_PIXELS` a side."""
    if max(images.size) <= MOST_PIXELS:
        return images
    return images.mapped(lambda x, _: resized(x, MOST_PIXELS), 0)


def _smaller(name: str, statement: str, limit: str = "") -> Criterion:
    ratio = f"{name}, with dropout over without"
    return Criterion(statement, lambda results: results[ratio].below(1.0), limit)


EXPERIMENT = Experiment(
    name="dropout-overfitting",
    title="Does dropout fight over-fitting?",
    claim=(
        "A network that over-fits a few hundred images does so less with dropout: its loss on "
        "unseen images and the gap to its training loss are smaller, and more unseen images are "
        "told rightly."
    ),
    source=(
        'Srivastava et al., "Dropout" (2014), sections 1 and 7; Goodfellow, Bengio and Courville, '
        '"Deep Learning" (2016), section 7.12'
    ),
    theory=(
        "A unit behind dropout at rate p has, over the masks, the mean that evaluation gives and "
        "the variance p/(1 − p) · Σ(w·x)²: for squared error this is a penalty on large weights "
        "(Srivastava et al., section 9.1), noise against fitting each image by itself. Neighbours "
        "in a map tell the same, so that elements dropped one by one are hardly missed: Dropout2d "
        "makes the noise of a channel's mean up to √(H·W) times as large. Batch normalisation "
        "behind dropout learns a variance that evaluation does not have: the ratio is "
        "v / ((v + c²)/(1 − p) − c²), 0.41 for the ReLU of a normal variable at p = 0.5 (Li et "
        "al., 2019). In the plane the law of the points is known, and with it the best accuracy."
    ),
    method=(
        f"Dense networks with two hidden layers of {FULL.width} units and dropout behind each, "
        "for images before the first as well, at two fifths of the rate (the paper's 0.5 and 0.2), "
        "trained by Adam at 0.001 without decay of weights, batches of 32. In the plane: "
        f"{POINTS} points, {FULL.in_plane} epochs, judged on 2,000 fresh ones. Images: "
        f"{PER_CLASS} of a class and at most {MOST_IMAGES}, {FULL.epochs} epochs, rates "
        f"{', '.join(f'{rate:g}' for rate in FULL.rates)}, judged in evaluation mode on up to "
        "1,000 images of the validation and test parts, losses over the last quarter of the "
        f"epochs; {FEWEST} of a class for twice as many. Larger images are scaled down to "
        f"{MOST_PIXELS} pixels. Moments over {masks.MASKS} masks; Monte-Carlo dropout by "
        f"{masks.PASSES} passes. "
        "Batch normalisation stands right behind dropout, and its statistics are then taken anew "
        f"without dropout. Fast: {FAST.width} units, {FAST.in_plane} and {FAST.epochs} epochs, "
        f"rates {', '.join(f'{rate:g}' for rate in FAST.rates)}."
    ),
    criteria=[
        Criterion(
            "Without dropout the network over-fits: its loss on unseen images ends at more than "
            "ten times that on its training images.",
            lambda results: (
                results["gap in loss, rate 0"].median
                > 0.9 * results["loss on unseen images, rate 0"].median
            ),
        ),
        _smaller(
            "gap in loss",
            f"At rate {RATE:g} the gap between the loss on unseen and on training images is "
            "smaller, for at least four seeds of five.",
        ),
        _smaller("loss on unseen images", "So is the loss on unseen images."),
        Criterion(
            "More unseen images are told rightly, for as many seeds.",
            lambda results: results["right on unseen images, rate 0"].below(
                results[f"right on unseen images, rate {RATE:g}"]
            ),
            "the loss counts and not the share of right answers",
        ),
        _smaller(
            "loss on fresh points",
            "In the plane the loss on fresh points is smaller.",
            "an input has many dimensions, not two",
        ),
        _smaller(
            "loss on unseen images, fewest",
            f"From {FEWEST} images of a class the loss on unseen ones is smaller.",
            f"there are more than some {FEWEST} images of a class",
        ),
        Criterion(
            "Where batch normalisation follows dropout, the loss on unseen images is at most a "
            "tenth above what it is with statistics taken without dropout.",
            lambda results: (
                results["loss on unseen images, batch norm behind dropout"].median
                <= 1.1 * results["the same, its statistics put right"].median
            ),
            "no batch normalisation follows the dropout",
        ),
    ],
    measure=measure,
)
