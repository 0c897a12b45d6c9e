"""One network in Keras's layers and in torch.nn's: the same, until a port misses a convention."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, cross_entropy

from lamina.extras import require
from lamina.interchange.traps import TRAPS
from lamina.lab.protocol import Criterion, Experiment, Outcome, Setting
from lamina.lab.tools.curves import spread
from lamina.lab.tools.data import Images, Part
from lamina.lab.tools.training import accuracy, fit, logits
from lamina.lab.tools.twins import KerasNetwork, port, torch_network
from lamina.report.finding.chart import Bars, Chart, Gallery, Panel, Picture
from lamina.report.finding.pictures import grey, signed
from lamina.report.finding.records import Measurement, Results

OF_A_PORT = (
    "flatten",
    "conv-weight",
    "leaky-slope",
    "same-stride",
    "average-border",
    "momentum",
    "epsilon",
    "biased-variance",
)
MISSED = (*OF_A_PORT, "kernel-init")
"""Rows of `TRAPS` that are tried, each alone; the last one where no weights are ported."""

OUTPUTS = "outputs apart, faithful port"
LOSSES = "losses apart in training, over the first loss"
BEFORE, ACCURACIES = "accuracy, Keras", "accuracy apart after training"
APART = "outputs apart after one more step"
PORTED, TRAINED = "accuracy lost in a port", "accuracy lost, trained so"


@dataclass(frozen=True)
class Plan:
    """Sizes of a run.

    Args:
        images: to learn from, and to judge by, at most.
        epochs: passes over them.
    """

    images: int
    epochs: int


FULL, FAST = Plan(1000, 12), Plan(320, 8)
LARGEST = 16  # pixels; larger images are averaged down


def optimizer(parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """The same one for both dialects."""
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return torch.optim.SGD(trained, lr=0.05, momentum=0.9)


def after_a_step(model: nn.Module, batch: Part, judged: Part) -> Tensor:
    """Outputs in evaluation mode after one more step of training, plain gradient descent."""
    model.train()
    loss = cross_entropy(model(batch.x), batch.y)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    with torch.no_grad():
        for parameter, gradient in zip(trained, torch.autograd.grad(loss, trained), strict=True):
            parameter.sub_(0.01 * gradient)
    return logits(model.eval(), judged.x)


def apart(ours: Tensor, theirs: Tensor) -> float:
    """The norm of the difference over the norm."""
    return float((theirs.double() - ours).norm() / ours.double().norm())


@dataclass(frozen=True)
class Repetition:
    """What one seed found; dictionaries are by what is missed, "" for nothing.

    Args:
        keras: losses of the steps of training, in Keras's layers.
        torch: the same in torch.nn's.
        right: accuracy of Keras's network; and of torch.nn's, trained from the same weights.
        outputs: how far the outputs of a faithful port are from Keras's.
        apart: how far they are after one more step.
        ported: accuracy lost in a port.
        trained: accuracy lost where a port of the initial weights is trained.
        shifted: an image, and what the first convolution makes of it with the padding missed.
    """

    keras: Sequence[float]
    torch: Sequence[float]
    right: tuple[float, float]
    outputs: float
    apart: Mapping[str, float]
    ported: Mapping[str, float]
    trained: Mapping[str, float]
    shifted: Sequence[Picture]


def repetition(plan: Plan, images: Images, seed: int) -> Repetition:
    """Train the network in both dialects, then port it with each convention missed in turn."""
    learnt, judged = images.train.first(plan.images), images.test.first(plan.images)
    network = KerasNetwork(images, seed)
    twins = {missed: port(network, images, missed) for missed in ("", *MISSED)}
    torch.manual_seed(seed)
    twins["kernel-init"] = torch_network(images)
    losses = {
        missed: fit(twin, learnt, epochs=plan.epochs, seed=seed, optimizer=optimizer).steps
        for missed, twin in twins.items()
    }
    keras = fit(network, learnt, epochs=plan.epochs, seed=seed, optimizer=optimizer).steps
    right = accuracy(network, judged)
    trained = {missed: right - accuracy(twin, judged) for missed, twin in twins.items()}
    ports = {missed: port(network, images, missed) for missed in ("", *MISSED)}
    outputs = apart(logits(network, judged.x), logits(ports[""], judged.x))
    ported = {missed: right - accuracy(model, judged) for missed, model in ports.items()}
    shifted = _shifted(network, images)
    step = learnt.first(64)
    ours = after_a_step(network, step, judged)
    theirs = {missed: after_a_step(model, step, judged) for missed, model in ports.items()}
    return Repetition(
        keras=keras,
        torch=losses[""],
        right=(right, right - trained[""]),
        outputs=outputs,
        apart={missed: apart(ours, their) for missed, their in theirs.items()},
        ported=ported,
        trained=trained,
        shifted=shifted,
    )


def _shifted(network: KerasNetwork, images: Images) -> list[Picture]:
    """The first convolution's map that differs most where only the padding is missed."""
    x = images.test.x[:1]
    with torch.no_grad():
        ours, theirs = (port(network, images, key)[0](x)[0] for key in ("", "same-stride"))
    channel = int((theirs - ours).flatten(1).norm(dim=1).argmax())
    scale = max(float(one[channel].abs().max()) for one in (ours, theirs))
    return [
        Picture("image", grey(x[0].mean(0))),
        Picture("Keras", signed(ours[channel], scale)),
        Picture("padding=1", signed(theirs[channel], scale)),
        Picture("difference", signed((theirs - ours)[channel], scale)),
    ]


def measure(setting: Setting) -> Outcome:
    """Repeat for each seed.

    Raises:
        MissingExtraError: Keras is not installed.
    """
    require("keras", "two-dialects")
    plan = FAST if setting.fast else FULL
    height, width = (max(2, min(LARGEST, side) // 2 * 2) for side in setting.images.size)
    images = setting.images.mapped(lambda x, _: adaptive_avg_pool2d(x, (height, width)), 0)
    seeds = [repetition(plan, images, seed) for seed in setting.seeds]
    results = _results(seeds)
    title = "The padding on the wrong side: the same shape, looked at a pixel off"
    panels: list[Panel | Gallery] = [
        _losses(seeds),
        _outputs(results),
        _lost(results),
        Gallery(title, seeds[0].shifted),
    ]
    label = "A network in two dialects: losses, outputs, and accuracy where a convention is missed"
    return Outcome(results, Chart(label, panels))


def named(what: str, missed: str) -> str:
    """The name of a result; a faithful port has missed nothing."""
    return f"{what}: {TRAPS[missed].topic if missed else 'nothing missed'}"


def _results(seeds: Sequence[Repetition]) -> Results:
    def over(
        values: Iterable[float], unit: str = "%", predicted: float | None = None
    ) -> Measurement:
        return Measurement(tuple(values), unit, predicted)

    def losses_apart(one: Repetition) -> float:
        pairs = zip(one.keras, one.torch, strict=False)  # a loss that is not finite ends early
        return max(abs(ours - theirs) for ours, theirs in pairs) / one.keras[0]

    results = {
        OUTPUTS: over((one.outputs for one in seeds), "", 0.0),
        LOSSES: over(map(losses_apart, seeds), "", 0.0),
        BEFORE: over(one.right[0] for one in seeds),
        ACCURACIES: over((abs(one.right[0] - one.right[1]) for one in seeds), "%", 0.0),
    }
    for missed in ("", *OF_A_PORT):
        results[named(APART, missed)] = over((one.apart[missed] for one in seeds), "")
    for missed in MISSED:
        results[named(PORTED, missed)] = over(one.ported[missed] for one in seeds)
    for missed in MISSED:
        results[named(TRAINED, missed)] = over(one.trained[missed] for one in seeds)
    return results


def _losses(seeds: Sequence[Repetition]) -> Panel:
    steps = list(range(1, 1 + min(len(one.keras) for one in seeds)))
    ours = spread("Keras", steps, [one.keras for one in seeds])
    theirs = spread("PyTorch", steps, [one.torch for one in seeds])
    return Panel(
        "The same weights learn the same: one line hides the other",
        [ours, replace(theirs, dashed=True)],
        "steps of training",
        "loss",
    )


def _bars(name: str, what: str, results: Results, keys: Sequence[str], scale: float = 1.0) -> Bars:
    ones = [results[named(what, key)] for key in keys]
    return Bars(
        name,
        [TRAPS[key].topic if key else "nothing missed" for key in keys],
        [scale * one.median for one in ones],
        [scale * one.low for one in ones],
        [scale * one.high for one in ones],
    )


def _outputs(results: Results) -> Panel:
    bars = _bars("PyTorch", APART, results, ("", *OF_A_PORT))
    return Panel("Each convention missed shows in the outputs", [bars], "distance", x_log=True)


def _lost(results: Results) -> Panel:
    bars = [
        _bars("ported", PORTED, results, MISSED, 100),
        _bars("trained so", TRAINED, results, MISSED, 100),
    ]
    title = "Some ruin a port; a network trained under them hardly minds"
    return Panel(title, bars, "points of accuracy lost")


EXPERIMENT = Experiment(
    name="two-dialects",
    title="Are Keras's and PyTorch's layers the same?",
    claim="Keras's and PyTorch's layers are the same functions under other conventions: a port "
    "that keeps them all gives the same outputs and learns the same, and one that misses a single "
    "one goes wrong without an error.",
    source="the reference pages of keras.layers and torch.nn; where they differ: "
    "lamina.interchange.traps",
    theory="With the same weights, the same order of the images and the same optimiser both "
    "networks compute the same sums; what may differ is rounding, about 1e-7 of a sum. A missed "
    "convention is no rounding: an epsilon of 1e-5 for 1e-3 scales a channel of variance 1 by "
    "0.05 %, a padding on the wrong side moves the image by a pixel, and a dense layer that reads "
    "its inputs in another order answers by chance.",
    method=f"Convolution at stride 2, batch normalisation, LeakyReLU, convolution, batch "
    "normalisation, ReLU, average pool, flatten, dense: in lamina.layers, which are Keras's, with "
    "Keras's initial weights; and in lamina.nn, Keras's conventions said in numbers. Both learn "
    "from the same images in the same order by gradient descent with momentum. Then Keras's "
    "trained network is ported again and again, one convention missed each time: its accuracy is "
    "taken, and its outputs after one more step of training, where momentum and variance show, "
    "too; and the port of the initial weights is trained under the missed convention. Distances "
    f"are norms of the difference over norms. Images above {LARGEST} pixels or of odd sides are "
    "averaged down. Fast: fewer images and epochs.",
    criteria=(
        Criterion(
            "Outputs of the faithful port are within 1e-5 of Keras's.",
            lambda results: results[OUTPUTS].below(1e-5),
        ),
        Criterion(
            "In training, the losses of every step are within a thousandth of the first loss, "
            "and the accuracies within a point at the end.",
            lambda results: results[LOSSES].below(1e-3) and results[ACCURACIES].below(0.01),
        ),
        Criterion(
            "After one more step, every missed convention has put the outputs at least ten times "
            "as far apart as the faithful port's are.",
            lambda results: all(
                results[named(APART, "")].below(results[named(APART, missed)], 0.1)
                for missed in OF_A_PORT
            ),
        ),
        Criterion(
            "One of them, at least, costs a port more than twenty points of accuracy.",
            lambda results: any(
                not results[named(PORTED, missed)].below(0.2) for missed in OF_A_PORT
            ),
            limit="accuracy may fall by less than twenty points",
        ),
    ),
    measure=measure,
)
