"""One image on its way through one model, as plain data: what a page needs to show every number.

A record holds images of the feature maps as bytes, and the exact float32 numbers from which chosen
outputs can be computed again. Conventions, everywhere the same:

- Maps are (channels, rows, columns), whatever the model's own layout; the batch's single image is
  left out. A vector of features is so many channels of one row and one column.
- A layer *shows* some of its channels, those of `Maps.channels`. What is said of "the shown
  channels" is in that order, and ``s`` is a place in it, not a channel's number.
- A layer can be *opened* at some positions, those of `Opened.rows` times `Opened.columns`, and
  ``r`` and ``k`` are places in these two.
- An `Array` is raw little-endian bytes in C order, last axis fastest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass
from typing import Literal

from lamina.report.explanation.arithmetic import (
    Activation,
    Arithmetic,
    Array,
    BatchNorm,
    Convolution,
    Dense,
    Dropout,
    Histogram,
    Join,
    Opened,
    Pair,
    Pool,
    Shape,
    SqueezeExcite,
)

__all__ = [
    "Activation",
    "Answer",
    "Arithmetic",
    "Array",
    "BatchNorm",
    "ClassMap",
    "ClassScore",
    "Convolution",
    "Cost",
    "Dense",
    "Dropout",
    "Explanation",
    "Field",
    "Histogram",
    "Join",
    "Layer",
    "Maps",
    "Opened",
    "Picture",
    "Pool",
    "Shifts",
    "SqueezeExcite",
    "arrays_in",
]


@dataclass(frozen=True)
class Picture:
    """The image as the model got it.

    Args:
        pixels: uint8 (rows, columns, 1 or 3): grey, or red, green and blue.
        name: what the image is called, such as its file's name; may be empty.
        preparation: what was done to it before the first layer, in words.
    """

    pixels: Array
    name: str
    preparation: str


@dataclass(frozen=True)
class Cost:
    """What this call costs, by the conventions of ``lamina.theory.cost``.

    Args:
        parameters: trainable and frozen elements of the layer, in the row where they are used
            first.
        macs: multiply-accumulates.
        flops: two per MAC, and the rest.
        bytes_moved: compulsory traffic: every operand read once, every result written once.
    """

    parameters: int
    macs: int
    flops: int
    bytes_moved: int


@dataclass(frozen=True)
class Field:
    """The theoretical receptive field: what part of the image a position sees.

    Along one axis, position i sees the pixels from ``start + i * step`` to
    ``start + i * step + size - 1``, both included, before they are clipped to the image; a part
    outside of it is padding. At step 0 every position sees the same.

    Args:
        start: first pixel of position 0, (row, column); negative in the padding; may be a half.
        step: pixels from a position's field to the next one's, (rows, columns).
        size: pixels, (rows, columns).
    """

    start: tuple[float, float]
    step: tuple[float, float]
    size: Pair


@dataclass(frozen=True)
class Maps:
    """A layer's feature maps, most active channel first.

    A channel's activity is the mean of the absolute values at its positions. Of a layer whose
    outputs are the classes, those of the answer come first, in its order. One scale serves the
    whole layer: the byte b stands for ``low + b * (high - low) / 255``; `low` and `high` are
    the least and the largest value of the shown channels.

    Args:
        channels: numbers of the shown channels.
        activity: of each shown channel.
        total: channels that the layer has.
        rows: of a map.
        columns: of a map.
        low: value of byte 0.
        high: value of byte 255; equal to `low` where all values are.
        pixels: uint8 (shown, rows / step, columns / step), each rounded up; see `step`.
        step: only every so many rows and columns are drawn, from the first on; 1 draws all.
        all_values: float32 (total,) of a vector of features, exact; None of a map.
    """

    channels: tuple[int, ...]
    activity: tuple[float, ...]
    total: int
    rows: int
    columns: int
    low: float
    high: float
    pixels: Array
    step: int = 1
    all_values: Array | None = None


@dataclass(frozen=True)
class Layer:
    """One call of a module, or of a function in a module's forward, on the way to the class.

    Args:
        id: its place in `Explanation.layers`; 0 is the input.
        inputs: ids of the layers whose results come in; empty of the input alone.
        name: qualified name of the module or function, with ``#call`` where there are several
            calls; ``"input"`` of the input.
        type: the class, such as ``"Conv2d"``; ``"function"``; ``"input"``.
        kind: what it is, such as ``"conv2d"``, ``"depthwise_conv2d"``, ``"pointwise_conv2d"``,
            ``"max_pool2d"``, ``"global_avg_pool2d"``, ``"dense"``, ``"batch_norm2d"``,
            ``"activation"``, ``"dropout"``, ``"squeeze_excite"``, ``"add"``, ``"mul"``, ``"cat"``,
            ``"flatten"``, ``"input"``, or another name for what is shown closed.
        settings: kernel size, stride and what else distinguishes it, in words; may be empty.
        input_shapes: of the tensors that came in, as the model has them, the batch first.
        output_shape: of the tensor that went out.
        channels_last: whether the model's images are (N, rows, columns, channels).
        theory: one line of theory with this call's sizes put in; may be empty.
        role: what it does in this model, in one sentence; may be empty.
        cost: of this call; None of the input.
        maps: its feature maps; None where the output is no image and no vector.
        arithmetic: how its numbers come about; None where it is closed or only moves numbers.
        closed: why it cannot be opened; empty where it can, or where there is nothing to open.
        field: what part of the image a position sees; None where that is unknown.
    """

    id: int
    inputs: tuple[int, ...]
    name: str
    type: str
    kind: str
    settings: str
    input_shapes: tuple[Shape, ...]
    output_shape: Shape
    channels_last: bool
    theory: str
    role: str
    cost: Cost | None
    maps: Maps | None
    arithmetic: Arithmetic | None
    closed: str
    field: Field | None


@dataclass(frozen=True)
class ClassScore:
    """What the model gives to one class.

    Args:
        index: number of the class.
        name: of the class; its number where no names are known.
        score: the model's own output (the logit), as float32.
        probability: in [0, 1].
    """

    index: int
    name: str
    score: float
    probability: float


@dataclass(frozen=True)
class Answer:
    """What the model says of the image.

    Args:
        classes: the most probable ones, most probable first; at most ten.
        total: classes that the model knows.
        is_probability: whether the model's outputs are probabilities themselves; else the
            probabilities are the softmax of its outputs.
    """

    classes: tuple[ClassScore, ...]
    total: int
    is_probability: bool


@dataclass(frozen=True)
class ClassMap:
    """Where in the image a class's score comes from.

    Args:
        method: ``"class activation map"``: at each position of the last feature map the sum over
            the channels of weight times value, so that the mean over the positions plus the bias is
            the class's score before any softmax (Zhou et al. 2016). ``"gradient map"``: at each
            pixel of the input the largest absolute derivative of the score over the channels
            (Simonyan et al. 2013).
        layer: id of the layer whose positions these are; 0 of a gradient map.
        index: number of the class.
        values: float32 (rows, columns).
        bias: what is added to the mean of a class activation map to give the score; 0 else.
    """

    method: Literal["class activation map", "gradient map"]
    layer: int
    index: int
    values: Array
    bias: float = 0.0


@dataclass(frozen=True)
class Shifts:
    """What changes when the image moves by some pixels; the border that appears repeats the edge.

    Args:
        offsets: pixels by which the image is moved, down and to the right where positive; the same
            for both axes, 0 in the middle.
        classes: numbers of the classes that are followed: the first of `Answer.classes`.
        probabilities: float32 (classes, offsets down, offsets to the right).
        best: int32 (offsets down, offsets to the right): the most probable class.
        best_names: name of every class in `best`, by its number.
    """

    offsets: tuple[int, ...]
    classes: tuple[int, ...]
    probabilities: Array
    best: Array
    best_names: dict[int, str]


@dataclass(frozen=True)
class Explanation:
    """One image on its way through one model.

    Args:
        model: what the model is called.
        picture: the image.
        layers: in the order of their calls; the first is the input, ``layers[i].id == i``.
        tensors: exact inputs that `Opened.whole` names, each once, float32 (channels, rows,
            columns).
        answer: classes and probabilities; None where the output is not one vector of scores.
        class_maps: of the most probable classes; empty where the answer is None.
        shifts: None where the answer is.
        parameters: elements of all parameters.
        macs: multiply-accumulates of the whole.
        random_weights: whether the weights are known to be random: nothing was learned.
        notes: what the reader has to know, a sentence each.
        every_position: whether every opened layer can be opened at every position.
        budget: bytes that the page may have.
    """

    model: str
    picture: Picture
    layers: tuple[Layer, ...]
    tensors: tuple[Array, ...]
    answer: Answer | None
    class_maps: tuple[ClassMap, ...]
    shifts: Shifts | None
    parameters: int
    macs: int
    random_weights: bool = False
    notes: tuple[str, ...] = ()
    every_position: bool = True
    budget: int = 5_000_000


def arrays_in(value: object) -> Iterator[Array]:
    """Every array in a record, however deep.

    Example:
        >>> picture = Picture(Array(bytes(4), (2, 2, 1), "uint8"), "four.png", "")
        >>> [array.shape for array in arrays_in(picture)]
        [(2, 2, 1)]
    """
    if isinstance(value, Array):
        yield value
    elif is_dataclass(value):
        for one in fields(value):
            yield from arrays_in(getattr(value, one.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from arrays_in(item)
