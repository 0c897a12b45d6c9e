"""The dense layer at the end: on every pixel of the last map, or on the mean of each channel?"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from statistics import mean

import numpy as np
import torch
from torch import Tensor

from lamina import nn
from lamina.inspector import inspect
from lamina.lab.protocol import Criterion, Experiment, Outcome, Setting
from lamina.lab.tools.annealing import fit_annealed
from lamina.lab.tools.curves import spread
from lamina.lab.tools.data import Part, on_ground
from lamina.lab.tools.moves import centred, changed, resized
from lamina.lab.tools.training import accuracy, logits
from lamina.report.finding.chart import Chart, Gallery, Panel, Picture
from lamina.report.finding.pictures import grey, signed
from lamina.report.finding.records import Measurement, Results
from lamina.theory import dense, pool2d

HEADS = ("flatten", "global mean")
PLACES = ("drawn places", "centred")
MOVES = (0, 1, 2, 3, 4, 5, 6)  # pixels
SIDE, GROUND = 12, 24  # pixels, of the image and of the empty square that it stands in
FEW = 10  # images per class, where over-fitting is judged and its results are named
PAIRS = 200  # squares with two images

_BATCH = 32
_SCALE = 4  # pixels of the square per pixel of the last map, as the two pools make it
_COUNTED = "head's"
_MACS = "head's operations, {}"
_PARAMETERS = "head's parameters, {}"
_FEWER = "head's operations, flatten over global mean"
_GAP = "gap, {}, {}"
_RIGHT = "test accuracy, {}, {}"
_CHANGED = "answers that change, {}"
_STEP = f"answers that change at {_SCALE} pixels, {{}}"
_SIDES = "classes on their side, {}"
_REST = "largest error of a map's sum"


def head_cost(head: str, features: Sequence[int], classes: int) -> tuple[int, int]:
    """MACs and parameters of the dense layer behind the last map, for one image.

    Args:
        head: one of `HEADS`.
        features: (1, C, H, W) of the last map.
        classes: outputs.

    Example:
        >>> head_cost("flatten", (1, 512, 7, 7), 1000), head_cost("global mean", (1, 512, 7, 7), 10)
        ((25088000, 25089000), (5120, 5130))
    """
    flat: tuple[int, ...] = dense.flatten_output_shape(features)
    if head == "global mean":
        flat = pool2d.global_output_shape(features, keepdims=False)
    cost = dense.cost(flat, classes)
    return cost.macs, cost.parameters


class Network(nn.Module):
    """Four convolutions, whose last map has a pixel for each ``_SCALE`` of the square, and a head.

    Args:
        head: one of `HEADS`.
        channels: of the image.
        width: filters of the first convolution.
        classes: outputs.

    Shape:
        (N, channels, GROUND, GROUND) to (N, classes).
    """

    def __init__(self, head: str, channels: int, width: int, classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for place, filters in enumerate((width, 2 * width, 4 * width, 4 * width)):
            convolution = nn.Conv2d(before, filters, 3, padding=1, bias=False)
            layers += [convolution, nn.BatchNorm2d(filters), nn.ReLU()]
            if place < 2:
                layers.append(nn.MaxPool2d(2))
            before = filters
        self.body = nn.Sequential(*layers)
        average = head == "global mean"
        self.flat = nn.GlobalAvgPool2d(keepdims=False) if average else nn.Flatten()
        self.dense = nn.Linear(None, classes)
        self.eval()
        self(torch.zeros(1, channels, GROUND, GROUND))  # tells the dense layer its size

    def forward(self, x: Tensor) -> Tensor:
        """The classes' outputs."""
        found: Tensor = self.dense(self.flat(self.body(x)))
        return found


def evidence(model: Network, x: Tensor) -> Tensor:
    """What each pixel of the last map adds to each class: a class activation map, over H·W.

    Args:
        model: in evaluation mode.
        x: (N, C, GROUND, GROUND).

    Returns:
        (N, classes, H, W); its sum over the pixels, and the bias, is the model's output.
    """
    features = logits(model.body, x)
    count, channels, height, width = features.shape
    weight = model.dense.weight.detach()
    classes, inputs = weight.shape
    if inputs == channels:  # one weight for all pixels of a channel, whose mean it takes
        weight = weight.repeat_interleave(height * width, 1) / (height * width)
    weight = weight.reshape(classes, channels, height * width)
    maps = torch.einsum("kcp,ncp->nkp", weight, features.flatten(2))
    return maps.reshape(count, classes, height, width)


def measure(setting: Setting) -> Outcome:
    """Train both heads on few and more images, move the images, and ask the maps for places."""
    images, classes = setting.images, len(setting.images.classes)
    counts: tuple[int, ...] = (5, 10, 20, 40, 80)
    width, steps, tests = 12, 250, 400
    if setting.fast:
        counts, width, steps, tests = (10, 40), 8, 100, 250
    shown = images.test.few(-(-tests // classes), seed=0)
    shown = Part(resized(shown.x, SIDE), shown.y)
    pairs, owners = _paired(shown)
    values: dict[str, list[float]] = defaultdict(list)
    curves: dict[str, list[list[float]]] = defaultdict(list)
    galleries = []
    for seed, place, head in product(setting.seeds, PLACES, HEADS):
        test = _placed(shown, place, 0)
        gaps, rights = [], []
        for count in counts:
            few = images.train.few(count, seed)
            train = _placed(Part(resized(few.x, SIDE), few.y), place, seed)
            torch.manual_seed(seed)
            model = Network(head, images.channels, width, classes)
            epochs = -(-steps // -(-len(train) // _BATCH))
            fit_annealed(model, train, epochs=epochs, seed=seed, batch=_BATCH, rate=0.01)
            rights.append(accuracy(model, test))
            gaps.append(accuracy(model, train) - rights[-1])
        values[_GAP.format(place, head)].append(gaps[counts.index(FEW)])
        values[_RIGHT.format(place, head)].append(rights[counts.index(FEW)])
        curves[f"gap, {place}, {head}"].append(gaps)
        curves[f"right, {place}, {head}"].append(rights)
        # The model is now that of the most images.
        if place == "centred":
            shares = changed(model, shown.x, GROUND, MOVES)
            curves[f"moved, {head}"].append(shares)
            values[_CHANGED.format(head)].append(mean(shares[1:5]))
            values[_STEP.format(head)].append(shares[MOVES.index(_SCALE)])
        else:
            maps = evidence(model, pairs)
            values[_SIDES.format(head)].append(_on_their_side(maps, owners))
            values[f"{_REST}, {head}"].append(_error(model, pairs, maps))
            galleries.append(_gallery(head, pairs, owners, maps, images.classes))
    predicted = {_STEP.format("global mean"): 0.0, **{f"{_REST}, {head}": 0.0 for head in HEADS}}
    results = _costs(images.channels, width, classes, len(setting.seeds))
    for name, one in values.items():
        unit = "" if name.startswith(_REST) else "%"
        results[name] = Measurement(tuple(one), unit, predicted.get(name))
    maps_of_mean = galleries[HEADS.index("global mean")]  # of the first seed
    return Outcome(results, Chart(_LABEL, [*_panels(counts, curves), maps_of_mean]))


def _placed(part: Part, place: str, seed: int) -> Part:
    if place == "centred":
        return Part(centred(part.x, GROUND), part.y)
    return Part(on_ground(part.x, np.random.default_rng(seed), GROUND), part.y)


def _paired(part: Part) -> tuple[Tensor, Tensor]:
    """Squares with an image in each half, and the (left, right) classes, which differ."""
    draw = np.random.default_rng(0)
    labels = part.y.numpy()
    left = draw.integers(0, len(part), PAIRS)
    right = np.array([draw.choice(np.flatnonzero(labels != labels[i])) for i in left])
    half = GROUND // 2
    height, width = part.x.shape[2:]
    squares = torch.full((PAIRS, part.x.shape[1], GROUND, GROUND), float(part.x.min()))
    for side, chosen in enumerate((left, right)):
        tops = draw.integers(0, GROUND - height + 1, PAIRS)
        lefts = side * half + draw.integers(0, half - width + 1, PAIRS)
        for square, index, y, x in zip(squares, chosen, tops, lefts, strict=True):
            square[:, y : y + height, x : x + width] = part.x[index]
    owners = torch.stack([part.y[torch.from_numpy(one)] for one in (left, right)], 1)
    return squares.contiguous(memory_format=torch.channels_last), owners


def _on_their_side(maps: Tensor, owners: Tensor) -> float:
    """Share of the images in `_paired` squares whose class has more evidence in their half."""
    halves = torch.stack([half.sum((2, 3)) for half in maps.chunk(2, 3)], 2)  # (N, classes, 2)
    of_both = halves.take_along_dim(owners[..., None], 1)  # (N, 2 owners, 2 halves)
    return of_both.argmax(2).eq(torch.arange(2)).double().mean().item()


def _error(model: Network, x: Tensor, maps: Tensor) -> float:
    """Of the maps' sums and the bias against the model's outputs, of the largest output."""
    expected = logits(model, x)
    rest = maps.sum((2, 3)) + model.get_parameter("dense.bias") - expected
    return (rest.abs().max() / expected.abs().max()).item()


def _costs(channels: int, width: int, classes: int, repeats: int) -> dict[str, Measurement]:
    """What the inspector counts in the heads, beside the formulas."""
    results = {}
    shape = (1, channels, GROUND, GROUND)
    side = GROUND // _SCALE
    counted = {}
    for head in HEADS:
        rows = inspect(Network(head, channels, width, classes), shape, backward=False).rows
        row = next(row for row in rows if row.name == "dense")
        macs, parameters = head_cost(head, (1, 4 * width, side, side), classes)
        results[_MACS.format(head)] = Measurement((float(row.macs),) * repeats, "MAC", macs)
        seen = (float(row.parameters),) * repeats
        results[_PARAMETERS.format(head)] = Measurement(seen, predicted=parameters)
        counted[head] = row.macs
    ratio = counted["flatten"] / counted["global mean"]
    results[_FEWER] = Measurement((ratio,) * repeats, predicted=float(side * side))
    return results


_LABEL = (
    "Gap between training and test accuracy, and test accuracy, by images per class for both heads "
    "and two ways of placing; answers that change by distance; class activation maps of squares "
    "with two images."
)


def _panels(
    counts: Sequence[int], curves: Mapping[str, Sequence[Sequence[float]]]
) -> Iterator[Panel]:
    said = {"gap": "accuracy, training less test", "right": "accuracy on test images"}
    titles = {
        "gap": "What is learnt by heart: the gap",
        "right": "What is learnt: the accuracy on new images",
    }
    for what, title in titles.items():
        marks = [
            spread(_name(place, head), counts, curves[f"{what}, {place}, {head}"])
            for place, head in product(PLACES, HEADS)
        ]
        yield Panel(
            title, marks, "training images per class, at most", said[what], True, y_range=(0, 1)
        )
    marks = [spread(_name("centred", head), MOVES, curves[f"moved, {head}"]) for head in HEADS]
    yield Panel(
        f"The image moves: a mean recovers after {_SCALE} pixels, the stride of its map",
        marks,
        "distance from where it was trained, pixels",
        "answers that change, share",
        y_range=(0, 1),
    )


def _name(place: str, head: str) -> str:
    return f"{head}, {place}"


def _gallery(
    head: str, pairs: Tensor, owners: Tensor, maps: Tensor, classes: Sequence[str]
) -> Gallery:
    """The first squares, each with the maps of its two classes on one scale."""
    pictures = []
    for square, labels, of_all in zip(pairs[:2], owners[:2].tolist(), maps[:2], strict=True):
        pixels = square.permute(1, 2, 0) if len(square) == 3 else square[0]
        pictures.append(Picture("two images", grey(pixels.numpy())))
        scale = float(of_all[labels].abs().max())
        for label in labels:
            caption = f"evidence for {classes[label]}"
            pictures.append(Picture(caption, signed(of_all[label].numpy(), scale)))
    return Gallery(f"Where the {head}'s network sees a class (red for, blue against)", pictures, 3)


def _smaller_gap(results: Results, place: str) -> bool:
    flatten, average = (results[_GAP.format(place, head)] for head in HEADS)
    return average.below(flatten)


EXPERIMENT = Experiment(
    name="dense-head",
    title="What is the dense layer at the end for: flatten, or take the mean first?",
    claim=(
        "A dense layer on the mean of each channel, in the place of one on all pixels, needs H·W "
        "times fewer weights, over-fits less, is steadier when the image moves, and its weights "
        "tell where in the image a class was seen."
    ),
    source=(
        "Lin, Chen and Yan, Network In Network (2013), section 3.2; Zhou et al., Learning Deep "
        "Features for Discriminative Localization (2016), section 2, for the maps."
    ),
    theory=(
        "Behind a last map of C×H×W a dense layer of M classes has C·H·W·M weights, one "
        "multiply-accumulate each; behind its mean C·M. The convolutions before shift with the "
        f"image, so a mean over their whole map does not change when the image moves by {_SCALE} "
        "pixels, the stride of the map here, but for the border; each weight of a flattened map "
        "meets another pixel. A mean and a weighted sum can change places: the output is the mean "
        "of the class activation map, the weighted sum of the channels at each pixel."
    ),
    method=(
        "Networks of four convolutions, equal but for the head, are trained for equally many "
        "steps, at a learning rate that falls from 0.01 to 0, on 5 to 80 images per class "
        "(scaled to 12 pixels) in an empty square of 24: in its middle, or each at a drawn "
        "place. Then test images are moved from the middle by 1 to 4 pixels in four "
        "directions. In squares with an image in each half, of different classes, the map of "
        "each class is summed over both halves: chance finds 50 % on their side. "
        "Fast: 8 filters in place of 12, 100 steps in place of 250, 10 and 40 images per class."
    ),
    criteria=[
        Criterion(
            f"Counted, both heads have the operations and parameters of the formula: "
            f"{(GROUND // _SCALE) ** 2} times fewer operations, within 1 %.",
            lambda results: all(
                one.near(one.predicted or 0.0, 0.01)
                for name, one in results.items()
                if name.startswith(_COUNTED)
            ),
        ),
        Criterion(
            f"With {FEW} images per class at drawn places, the mean's gap between training and "
            "test accuracy is smaller than the flattened head's.",
            lambda results: _smaller_gap(results, "drawn places"),
        ),
        Criterion(
            "There, the mean's accuracy on test images is higher: it does not fit too little.",
            lambda results: results[_RIGHT.format("drawn places", "flatten")].below(
                results[_RIGHT.format("drawn places", "global mean")]
            ),
        ),
        Criterion(
            f"With {FEW} images per class in the middle of the square, too, the mean's gap is "
            "smaller.",
            lambda results: _smaller_gap(results, "centred"),
            limit="objects do not always stand in the same place",
        ),
        Criterion(
            "Moved by 1 to 4 pixels, the network with the mean changes fewer answers.",
            lambda results: results[_CHANGED.format("global mean")].below(
                results[_CHANGED.format("flatten")]
            ),
        ),
        Criterion(
            "The mean's maps put at least three of four images on their side of the square.",
            lambda results: results[_SIDES.format("global mean")].median >= 0.75,
            limit="its map is not taken for the place of a class",
        ),
    ],
    measure=measure,
)
