"""What a convolution sees: one filter at every place, through a window that grows with depth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lamina.inspector import inspect
from lamina.lab.protocol import Criterion, Experiment, Outcome, Setting
from lamina.lab.tools.curves import exponent, spread
from lamina.lab.tools.data import Part
from lamina.lab.tools.moves import centred, resized
from lamina.lab.tools.training import accuracy, fit
from lamina.nn import Conv2d, Flatten, GlobalMaxPool2d, Linear, ReLU, Sequential
from lamina.report.finding.chart import Bars, Chart, Gallery, Line, Panel, Picture
from lamina.report.finding.pictures import grey, signed
from lamina.report.finding.records import Measurement, Results
from lamina.theory import conv2d, dense


class Window(NamedTuple):
    """Of a square convolution, as much padded as keeps the image's size."""

    kernel_size: int = 3
    stride: int = 1
    dilation: int = 1


DEPTHS = (2, 4, 8, 16)
NETWORKS = {
    **{f"{depth} layers": (Window(),) * depth for depth in DEPTHS},
    "strides of 2": (Window(3, 2), Window(), Window(3, 2), Window()),
    "dilations of 1, 2, 4": (Window(), Window(3, 1, 2), Window(3, 1, 4)),
    "kernels of 7 and 5": (Window(7), Window(5)),
}
BY_STRIDE = {
    1: (Window(), Window(), Window(), Window()),
    2: (Window(3, 2), Window(), Window(), Window()),
    4: (Window(3, 2), Window(3, 2), Window(), Window()),
}
SHIFTS = tuple(range(1, 9))
SIDE = 48  # pixels of a patchwork; the widest window has 33
WIDTH = 16  # channels
ROUNDING = 1e-5  # relative: float32's through four layers, by any algorithm
SUM = "direct"  # the algorithm: "auto" goes by the clock, and numbers would differ by the run
LEARNT = 12  # pixels, at most, of an image that is learnt
MARGIN = 4  # pixels of ground around it, more than two layers reach

MOVED, BORDER = "moved image, error", "moved image, error at the border"
SPOILT = "columns that padding spoils"
EVEN, ODD = "stride 2, error at even shifts", "stride 2, error at odd shifts"
GROWTH = "effective width, exponent of depth"
SHARE = f"effective width, of the window of {DEPTHS[-1]} layers"
PARAMETERS = "parameters of a dense layer, to a convolution's"
KEPT, DENSE_KEPT = "convolution, kept elsewhere", "dense, kept elsewhere"


def stack(channels: int, windows: Sequence[Window]) -> torch.nn.Sequential:
    """Convolutions that keep the scale of activations and gradients, ReLU between them."""
    layers: list[torch.nn.Module] = []
    for size, stride, dilation in windows:
        padding = dilation * (size // 2)
        layer = Conv2d(channels, WIDTH, size, stride, padding, dilation, bias=False, algorithm=SUM)
        torch.nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
        layers += [layer, ReLU()]
        channels = WIDTH
    return Sequential(*layers[:-1]).requires_grad_(False)


def window_of(channels: int, windows: Sequence[Window]) -> int:
    """Side of the receptive field by the formula, in pixels."""
    account = inspect(stack(channels, windows), (1, channels, SIDE, SIDE), backward=False)
    sides = account.rows[-1].receptive_field
    assert sides is not None
    return sides[0]


def patchwork(part: Part, width: int, count: int, draw: np.random.Generator) -> Tensor:
    """Pictures (count, C, SIDE, width) laid out with drawn images: no part of them is empty."""
    _, channels, height, breadth = part.x.shape
    rows, columns = math.ceil(SIDE / height), math.ceil(width / breadth)
    tiles = part.x[torch.from_numpy(draw.integers(0, len(part), (count, rows, columns)))]
    laid = tiles.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, rows * height, -1)
    return laid[..., :SIDE, :width].contiguous(memory_format=torch.channels_last)


# ---- the image moves ----------------------------------------------------------------------------


def moved_errors(network: torch.nn.Module, x: Tensor, shift: int, stride: int) -> Tensor:
    """How far the moved image's output is from the moved output, relative, by column.

    The moved image is the left part of ``x``, so that new picture comes in. A shift between two
    output pixels is held against the nearer one.
    """
    with torch.no_grad():
        before, after = network(x[..., shift:]), network(x[..., : x.shape[-1] - shift])
    found: list[Tensor] = []
    for places in {shift // stride, -(-shift // stride)}:
        difference = after[..., places:] - before[..., : before.shape[-1] - places]
        found.append(difference.square().mean((0, 1, 2)).sqrt() / before.square().mean().sqrt())
    return min(found, key=lambda columns: float(columns.mean()))


def _moved(setting: Setting, seed: int, reach: dict[int, int]) -> dict[str, list[float]]:
    """By stride, and at the border: the error after each shift; and the columns spoilt."""
    torch.manual_seed(seed)
    draw = np.random.default_rng(seed)
    found: dict[str, list[float]] = {BORDER: [], SPOILT: []}
    for stride, windows in BY_STRIDE.items():
        network = stack(setting.images.channels, windows)
        inner = found[f"stride {stride}"] = []
        for shift in SHIFTS:
            x = patchwork(setting.images.train, SIDE + shift, 4, draw)
            columns = moved_errors(network, x, shift, stride)
            edge = -(-reach[stride] // stride)
            inner.append(columns[edge:-edge].square().mean().sqrt().item())
            if stride == 1:
                border = torch.cat([columns[:edge], columns[-edge:]])
                found[BORDER].append(border.square().mean().sqrt().item())
                found[SPOILT].append(float((columns > ROUNDING).sum()) / 2)
    return found


# ---- what one output sees -----------------------------------------------------------------------


def influence(network: torch.nn.Module, x: Tensor) -> Tensor:
    """Squared gradient (H, W) of the output in the middle, along two drawn sums of its channels."""
    x = x.clone().requires_grad_()
    found = torch.zeros(x.shape[2:], dtype=torch.double)
    for _ in range(2):
        y = network(x)
        middle = y[:, :, y.shape[2] // 2, y.shape[3] // 2]
        (gradient,) = torch.autograd.grad((middle * torch.randn(WIDTH)).sum(), x)
        found += gradient.double().square().sum((0, 1))
    return found


def seen(influences: Tensor) -> float:
    """Pixels from the first to the last column with an influence above float32's rounding."""
    columns = influences.sum(0)
    hit = (columns > 1e-10 * columns.max()).nonzero().flatten()
    return float(hit[-1] - hit[0] + 1)


def effective(influences: Tensor) -> float:
    """Four standard deviations about the middle, along a row, in pixels: 95 % of a Gaussian."""
    share = influences.sum(0) / influences.sum()
    place = torch.arange(len(share), dtype=torch.double) - len(share) // 2
    return 4 * (share * place.square()).sum().sqrt().item()


def effective_by_theory(depth: int, kernel_size: int = 3) -> float:
    """The same where weights have one law: each layer spreads the squared gradient over a box."""
    return 4 * math.sqrt(depth * (kernel_size**2 - 1) / 12)


def _influences(setting: Setting, seed: int) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    count = 4 if setting.fast else 8
    x = patchwork(setting.images.train, SIDE, count, np.random.default_rng(seed))
    return {name: influence(stack(x.shape[1], net), x) for name, net in NETWORKS.items()}


# ---- what is learnt in one place ----------------------------------------------------------------


def convolutions(channels: int, classes: int) -> torch.nn.Sequential:
    """Two convolutions, the maximum over all places, and a dense layer."""
    return Sequential(
        Conv2d(channels, WIDTH, 5, padding=2, algorithm=SUM),
        ReLU(),
        Conv2d(WIDTH, 2 * WIDTH, 3, padding=1, algorithm=SUM),
        ReLU(),
        GlobalMaxPool2d(keepdims=False),
        Linear(2 * WIDTH, classes),
    )


def denses(inputs: int, classes: int) -> torch.nn.Sequential:
    """Two dense layers."""
    return Sequential(Flatten(), Linear(inputs, 128), ReLU(), Linear(128, classes))


def placed(x: Tensor, right: bool) -> Tensor:
    """Images, shrunk where they are large, at the left or the right of an empty strip."""
    longer = max(x.shape[2:])
    x = resized(x, LEARNT) if longer > LEARNT else x
    longer = min(longer, LEARNT)
    side, off = 2 * longer + 3 * MARGIN, (longer + MARGIN + 1) // 2
    top = (side - longer) // 2 - MARGIN
    strip = centred(x, side, right=off if right else -off)[:, :, top : top + longer + 2 * MARGIN]
    return strip.contiguous(memory_format=torch.channels_last)


def _learnt(setting: Setting, seed: int) -> tuple[dict[str, float], torch.nn.Sequential]:
    """Accuracy where it was learnt, at the left, and at the right; and the convolutions."""
    images = setting.images
    train = images.train.first(600 if setting.fast else 1200)
    test = images.test.few(max(1, 500 // len(images.classes)), seed)
    left, right = (Part(placed(test.x, right), test.y) for right in (False, True))
    part = Part(placed(train.x, False), train.y)
    chance = test.y.bincount().max().item() / len(test)
    torch.manual_seed(seed)
    classes = len(images.classes)
    network = convolutions(images.channels, classes)
    found = {}
    for name, one in (("convolution", network), ("dense", denses(part.x[0].numel(), classes))):
        fit(one, part, epochs=12 if setting.fast else 20, seed=seed)
        at_left, at_right = accuracy(one, left), accuracy(one, right)
        found[f"{name}, learnt place"], found[f"{name}, new place"] = at_left, at_right
        beyond = max(at_left - chance, 1 / len(test))
        found[f"{name}, kept elsewhere"] = (at_right - chance) / beyond
    return found, network


# ---- together -----------------------------------------------------------------------------------


def measure(setting: Setting) -> Outcome:
    """Move images, take gradients, and train at one place."""
    channels = setting.images.channels
    windows = {name: window_of(channels, network) for name, network in NETWORKS.items()}
    reach = {stride: window_of(channels, network) // 2 for stride, network in BY_STRIDE.items()}
    moved = [_moved(setting, seed, reach) for seed in setting.seeds]
    influences = [_influences(setting, seed) for seed in setting.seeds]
    learnt, networks = zip(*(_learnt(setting, seed) for seed in setting.seeds), strict=True)

    deepest = f"{DEPTHS[-1]} layers"
    widths = [[effective(one[f"{depth} layers"]) for depth in DEPTHS] for one in influences]
    layer = Conv2d(channels, WIDTH, 3, padding=1)
    inputs = math.prod(setting.images.size)
    by_dense = dense.cost((1, channels * inputs), WIDTH * inputs).parameters
    by_formula = conv2d.cost((1, channels, *setting.images.size), WIDTH, 3, padding=1).parameters
    count = sum(parameter.numel() for parameter in layer.parameters())

    def over_seeds(name: str, unit: str = "%", predicted: float | None = None) -> Measurement:
        return Measurement(tuple(one[name] for one in learnt), unit, predicted)

    results = {
        MOVED: Measurement(tuple(max(one["stride 1"]) for one in moved), "", 0.0),
        BORDER: Measurement(tuple(max(one[BORDER]) for one in moved)),
        SPOILT: Measurement(tuple(max(one[SPOILT]) for one in moved), "", reach[1]),
        EVEN: Measurement(tuple(max(one["stride 2"][1::2]) for one in moved), "", 0.0),
        ODD: Measurement(tuple(max(one["stride 2"][::2]) for one in moved)),
        **{
            f"window, {name}": Measurement(tuple(seen(one[name]) for one in influences), "", size)
            for name, size in windows.items()
        },
        GROWTH: Measurement(tuple(exponent(DEPTHS, one) for one in widths), "", 0.5),
        SHARE: Measurement(
            tuple(one[-1] / windows[deepest] for one in widths),
            "%",
            effective_by_theory(DEPTHS[-1]) / windows[deepest],
        ),
        PARAMETERS: Measurement((by_dense / count,) * len(moved), "", by_dense / by_formula),
        **{name: over_seeds(name) for name in learnt[0] if name.endswith(" place")},
        KEPT: over_seeds(KEPT, predicted=1.0),
        DENSE_KEPT: over_seeds(DENSE_KEPT, predicted=0.0),
    }
    formula = [windows[f"{depth} layers"] for depth in DEPTHS]
    gradient = [[seen(one[f"{depth} layers"]) for depth in DEPTHS] for one in influences]
    panels: list[Panel | Gallery] = [
        _shift_panel(moved),
        Panel(
            "The window grows with depth, its effective part with the root (dashed: theory)",
            [
                spread("window", DEPTHS, gradient),
                Line("window", DEPTHS, formula, dashed=True),
                spread("effective width", DEPTHS, widths),
                Line("effective width", DEPTHS, [*map(effective_by_theory, DEPTHS)], dashed=True),
            ],
            x_title="layers of 3×3",
            y_title="pixels",
            x_log=True,
            y_log=True,
        ),
        _place_panel(results),
        _gallery(setting, networks[0], influences[0]),
    ]
    return Outcome(results, Chart("What a convolution sees", panels))


# ---- the figure ---------------------------------------------------------------------------------


def _shift_panel(moved: Sequence[dict[str, list[float]]]) -> Panel:
    names = {**{f"stride {stride}": f"stride {stride}" for stride in BY_STRIDE}, BORDER: "border"}
    least = 1e-8  # what is exact has no logarithm
    marks = [
        spread(name, SHIFTS, [[max(value, least) for value in one[key]] for one in moved])
        for key, name in names.items()
    ]
    return Panel(
        "The output moves with the image, but for borders and strides",
        marks,
        x_title="the image moves by (pixels)",
        y_title="relative error of the output (1e-08: none)",
        y_log=True,
        y_range=(least / 2, 5.0),
    )


def _place_panel(results: Results) -> Panel:
    labels = [name for name in results if name.endswith(" place")]
    found = [results[name] for name in labels]
    shares = [[100 * value for value in (one.median, one.low, one.high)] for one in found]
    bars = Bars("", labels, *zip(*shares, strict=True))
    title = "What a convolution learns in one place it knows in all"
    return Panel(title, [bars], x_title="accuracy (%)", x_range=(0.0, 112.0))


def _gallery(
    setting: Setting, network: torch.nn.Sequential, influences: dict[str, Tensor]
) -> Gallery:
    """Learnt filters, an image and a map in two places, and the influence in the window."""
    first = network[0]
    assert isinstance(first, Conv2d)
    weight = first.weight.detach().mean(1)
    strongest = weight.flatten(1).norm(dim=1).argsort(descending=True)[:4].tolist()
    pictures = [
        Picture(f"filter {1 + place}", signed(weight[index]))
        for place, index in enumerate(strongest)
    ]
    x = setting.images.test.x[:1]
    x = resized(x, LEARNT) if max(x.shape[2:]) > LEARNT else x
    for caption, off in (("an image", -MARGIN), ("moved", MARGIN)):
        shown = centred(x, max(x.shape[2:]) + 3 * MARGIN, off // 2, off)
        with torch.no_grad():
            y = first(shown)[0, strongest[0]].relu()
        pictures.append(Picture(caption, grey(shown[0].permute(1, 2, 0).squeeze(-1))))
        pictures.append(Picture("filter 1's map", grey(y)))
    edge = SIDE // 2 - DEPTHS[-1] - 1  # the widest window fills the picture
    for depth in DEPTHS:
        seen_by = influences[f"{depth} layers"].sqrt()[edge:-edge, edge:-edge]
        pictures.append(Picture(f"{depth} layers see", grey(seen_by)))
    return Gallery("Learnt filters; a map moves with its image; what one output sees", pictures)


# ---- the rule -----------------------------------------------------------------------------------


def _is_predicted(results: Results, *names: str) -> bool:
    return all(set(results[name].values) == {results[name].predicted} for name in names)


EXPERIMENT = Experiment(
    name="conv2d-sees",
    title="What does a convolution see?",
    claim=(
        "A convolution puts the same question to every place: its output moves with the image, "
        "what it learns in one place it knows in all, and one output sees a window that grows "
        "with depth, mostly its middle."
    ),
    source=(
        "LeCun et al., Gradient-Based Learning Applied to Document Recognition (1998), section "
        "II.A; Goodfellow, Bengio and Courville, Deep Learning (2016), section 9.2; Luo et al., "
        "Understanding the Effective Receptive Field in Deep Convolutional Neural Networks "
        "(2016), section 2"
    ),
    theory=(
        "Wherever no window reaches into the padding, the moved image has the moved output, to "
        "rounding; four layers of 3×3 spoil four columns at each border. At stride s it is so for "
        "shifts by multiples of s. L layers of 3×3 see 2L + 1 pixels; where weights have one law, "
        "the squared gradient spreads within as a sum of L uniform steps, four standard deviations "
        "being 4√(2L/3): the window grows like L, its effective part like √L. A layer has "
        "CMK² + M parameters whatever the image's size; a dense layer's grow with its square. A "
        "global maximum forgets the place, so nothing is lost at a new one; of a dense layer's "
        "weights there, none was trained."
    ),
    method=(
        f"Patchworks of the images, {SIDE} pixels wide, move by 1 to 8 pixels before drawn "
        f"networks of four 3×3 layers with {WIDTH} channels. The window is read from the gradient "
        "of the middle output, for 2 to 16 layers and for strides, dilations and large kernels. "
        "Two convolutions with a global maximum, and two dense layers, learn 1200 images (shrunk "
        f"to {LEARNT} pixels where they are larger) at the left of an empty strip in 20 epochs and "
        "are asked at its right; what is kept is accuracy beyond that of the commonest class. "
        "Fast: 600 images, 12 epochs, gradients of 4 patchworks in place of 8."
    ),
    criteria=[
        Criterion(
            f"Away from borders, at stride 1, no shift has an error above {ROUNDING:g}.",
            lambda results: results[MOVED].high <= ROUNDING,
        ),
        Criterion(
            f"At the border, too, no shift has an error above {ROUNDING:g}.",
            lambda results: results[BORDER].high <= ROUNDING,
            limit="no padding is in sight",
        ),
        Criterion(
            "Padding spoils exactly as many columns as the window reaches over the border.",
            lambda results: _is_predicted(results, SPOILT),
        ),
        Criterion(
            f"At stride 2, no shift by an even number has an error above {ROUNDING:g}.",
            lambda results: results[EVEN].high <= ROUNDING,
        ),
        Criterion(
            "At stride 2, no shift by an odd number has one, either.",
            lambda results: results[ODD].high <= ROUNDING,
            limit="the image moves by a multiple of the stride",
        ),
        Criterion(
            "In seven networks the window by gradient is the formula's, to the pixel.",
            lambda results: _is_predicted(results, *(f"window, {name}" for name in NETWORKS)),
        ),
        Criterion(
            "The effective part of the window grows like depth to the power of 0.4 to 0.6.",
            lambda results: abs(results[GROWTH].median - 0.5) <= 0.1,
        ),
        Criterion(
            "A dense layer of the same shapes has at least a hundred times the parameters.",
            lambda results: results[PARAMETERS].low >= 100,
        ),
        Criterion(
            "At the new place a convolution keeps at least 95 % of its accuracy beyond chance.",
            lambda results: results[KEPT].median >= 0.95,
        ),
        Criterion(
            "At the new place dense layers lose at least half of theirs.",
            lambda results: results[DENSE_KEPT].below(0.5),
        ),
    ],
    measure=measure,
)
