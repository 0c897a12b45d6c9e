"""From a recording to the layers of a page: what belongs together, what comes from where.

A call of the inspector's books is one layer, or several where it computes several things one after
the other, as a separable convolution does. What only moves numbers between them belongs to none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from lamina.dialects import is_keras
from lamina.inspector.count.facts import times
from lamina.inspector.explain.functions import function_of
from lamina.inspector.explain.readings import (
    Convolution,
    Dense,
    Elementwise,
    Join,
    Normalisation,
    Pool,
    Reading,
    image_of,
    is_read,
    kind_of,
    read,
)
from lamina.inspector.explain.recording import Recording, Step, Visit
from lamina.report.records import Row
from lamina.theory import conv2d
from lamina.theory.cost import Cost

__all__ = ["Gates", "Part", "parts_of"]


@dataclass(frozen=True)
class Gates:
    """Squeeze and excite: x by the gates of its channels, made of their means by way of hidden."""

    x: Tensor
    y: Tensor
    means: Tensor
    hidden: Tensor
    gates: Tensor


@dataclass(eq=False)
class Part:
    """A layer of the page.

    Args:
        visit: the call that it is, or is a part of.
        steps: its operators.
        reading: what it computes; None where it only moves numbers or is not opened.
        kind: of layer.
        name: of the call, and of the part where there are several.
        settings: what distinguishes it, in words.
        cost: of its operators.
        parameters: elements that it uses first.
        closed: why it is not opened; empty where it is or there is nothing to open.
        is_whole: whether it is all of the call.
        inputs: the parts whose results come in.
        operands: of a joining, the part that each operand comes from; None of what does not depend
            on the image.
    """

    visit: Visit
    steps: list[Step]
    reading: Reading | Gates | None
    kind: str
    name: str
    settings: str
    cost: Cost
    parameters: int
    closed: str = ""
    is_whole: bool = True
    inputs: list[Part] = field(default_factory=list)
    operands: list[Part | None] = field(default_factory=list)

    @property
    def last(self) -> Step:
        """The operator that made its result."""
        return self.steps[-1]

    @property
    def y(self) -> Tensor | None:
        """Its result as (channels, rows, columns); None where it is no image and no vector."""
        if self.reading is not None:
            return self.reading.y
        return image_of(self.last.result, self.visit.row.channels_last)

    @property
    def output_shape(self) -> tuple[int, ...]:
        """Of what went out, as the model has it."""
        shapes = self.visit.row.output_shapes
        return shapes[0] if self.is_whole and shapes else tuple(self.last.result.shape)

    @property
    def input_shapes(self) -> list[tuple[int, ...]]:
        """Of what came in, as the model has it; no weights."""
        row = self.visit.row
        if self.is_whole and self.visit.module is not None:
            return row.input_shapes
        own = set(self.steps)
        return [
            tuple(tensor.shape)
            for step in self.steps
            for tensor, made in zip(step.operands, step.makers, strict=True)
            if made is not None and made not in own
        ]


def parts_of(recording: Recording, channels_last: bool) -> tuple[list[Part], Part | None]:
    """The layers on the way from the image to the output, in the order of their calls.

    Args:
        recording: the run.
        channels_last: of the model's input.

    Returns:
        The image as a part, then those that the output depends on; and the one that made the
        output, None if that does not depend on the image.
    """
    start = _image(recording.start, channels_last)
    parts = [start, *(part for visit in recording.visits for part in _split(visit))]
    owner = {step: part for part in parts for step in part.steps}

    def maker(step: Step | None) -> Part | None:
        while step is not None and step not in owner:
            step = next((made for made in step.makers if made is not None), None)
        return None if step is None else owner[step]

    for part in parts:
        found = [maker(made) for step in part.steps for made in step.makers]
        part.inputs = [one for one in dict.fromkeys(found) if one not in (None, part)]
        if isinstance(part.reading, Join):
            part.operands = [maker(made) for made in _per_operand(part.last)]
    last = maker(recording.last)
    needed: set[Part] = set()
    pending = [last] if last is not None else []
    while pending:
        part = pending.pop()
        if part not in needed:
            needed.add(part)
            pending.extend(part.inputs)
    return [part for part in parts if part in needed or part is start], last


def _image(start: Step, channels_last: bool) -> Part:
    row = Row("input", 0, "input", "input", "input", 0, None, role="the image as the model gets it")
    row.channels_last = channels_last
    return Part(Visit(row, None), [start], None, "input", "input", "", Cost(), 0)


def _per_operand(step: Step) -> list[Step | None]:
    """Of each operand of a joining, numbers among them, the step that made it."""
    values = step.args[0] if isinstance(step.args[0], list | tuple) else step.args[:2]
    makers = iter(step.makers)
    return [next(makers) if isinstance(value, Tensor) else None for value in values]


def _split(visit: Visit) -> Iterator[Part]:
    """The parts of one call."""
    row = visit.row
    by_hand = _keras_batch_norm(visit)
    if by_hand is not None:
        yield _whole(visit, visit.steps, by_hand)
        return
    read_steps = [(step, read(step, row.channels_last)) for step in visit.steps]
    computing = [(step, found) for step, found in read_steps if found or not step.moves]
    if not computing:
        yield _whole(visit, visit.steps, None)
        return
    whole = _gates(computing) if row.kind == "squeeze_excite" else _spelled_out(visit, computing)
    if whole is not None:
        yield _whole(visit, [step for step, _ in computing], whole)
        return
    strange = [step for step, found in computing if found is None]
    if strange:
        yield _whole(visit, visit.steps, None, closed=_why_closed(strange))
        return
    pieces = _with_biases([([step], found) for step, found in computing if found is not None])
    if len(pieces) == 1:
        yield _whole(visit, *pieces[0])
    else:
        yield from _several(visit, pieces)


def _why_closed(strange: Sequence[Step]) -> str:
    """The operators that nobody reads, or what they were asked to work on."""
    unknown = [step.operator for step in strange if not is_read(step)]
    if not unknown:
        return (
            f"its result is {times(strange[0].result.shape)}: neither an image nor one vector of "
            "features"
            if image_of(strange[0].result, False) is None
            else "this form of its operation is not opened"
        )
    names = dict.fromkeys(name.partition(".")[2].strip("_") for name in unknown)
    return f"its operation is not opened: {', '.join(names)}"


def _whole(
    visit: Visit, steps: Sequence[Step], reading: Reading | Gates | None, closed: str = ""
) -> Part:
    row = visit.row
    own = kind_of(steps[-1])[1] if isinstance(reading, Convolution | Pool) else ""
    return Part(
        visit,
        [*steps],
        reading,
        row.kind if reading is None or isinstance(reading, Gates) else _kind(reading),
        row.label,
        _settings(reading) or own or row.settings,
        row.forward,
        row.parameters + row.frozen,
        closed,
    )


def _several(visit: Visit, pieces: list[tuple[list[Step], Reading]]) -> Iterator[Part]:
    kinds = [_kind(reading) for _, reading in pieces]
    for place, (steps, reading) in enumerate(pieces):
        kind = kinds[place]
        number = f"#{kinds[:place].count(kind)}" if kinds.count(kind) > 1 else ""
        owns = visit.row.parameters + visit.row.frozen > 0
        yield Part(
            visit,
            steps,
            reading,
            kind,
            f"{visit.row.label}.{kind}{number}",
            _settings(reading) or kind_of(steps[0])[1],
            sum((step.cost for step in steps), Cost()),
            _weights_in(reading) if owns else 0,
            is_whole=False,
        )


def _with_biases(pieces: list[tuple[list[Step], Reading]]) -> list[tuple[list[Step], Reading]]:
    """A sum with a constant per channel, right behind a convolution or a product, is its bias."""
    joined: list[tuple[list[Step], Reading]] = []
    for steps, reading in pieces:
        before = joined[-1] if joined else None
        if (
            before is not None
            and isinstance(reading, Join)
            and reading.operation == "add"
            and isinstance(before[1], Convolution | Dense)
            and before[1].bias is None
        ):
            step = steps[0]
            constants = [t for t, m in zip(step.operands, step.makers, strict=True) if m is None]
            if len(constants) == 1 and constants[0].numel() == before[1].weight.shape[0]:
                bias = constants[0].flatten()
                joined[-1] = [*before[0], step], replace(before[1], bias=bias, y=reading.y)
                continue
        joined.append((steps, reading))
    return joined


_Computing = list[tuple[Step, Reading | None]]


def _gates(computing: _Computing) -> Gates | None:
    """Mean, two products with their activations, and a multiplication, as one."""
    pool, last = computing[0][1], computing[-1][1]
    products = [n for n, (_, one) in enumerate(computing) if isinstance(one, Convolution | Dense)]
    if not isinstance(pool, Pool) or not pool.is_global or len(products) != 2 or products[0] != 1:
        return None
    if not isinstance(last, Join) or last.operation != "multiply":
        return None
    made = (computing[place][0].result.flatten() for place in (0, products[1] - 1, -2))
    return Gates(pool.x, last.y, *made)


def _spelled_out(visit: Visit, computing: _Computing) -> Elementwise | None:
    """An activation that its layer makes of several operators."""
    row = visit.row
    if row.kind != "activation" or len(computing) == 1:
        return None
    function = function_of(f"aten.{row.settings}", (), {})
    first, last = computing[0][0], computing[-1][0]
    x, y = (image_of(t, row.channels_last) for t in (first.operands[0], last.result))
    if function is None or x is None or y is None:
        return None
    return Elementwise(x, y, function)


def _keras_batch_norm(visit: Visit) -> Normalisation | None:
    """Keras's batch normalisation, which its torch backend spells out as sums and products."""
    layer: Any = visit.module
    if layer is None or not is_keras(layer) or not hasattr(layer, "moving_variance"):
        return None
    if any(step.operator.endswith(("batch_norm", "batch_norm_inference")) for step in visit.steps):
        return None
    if any(isinstance(read(step, False), Elementwise) for step in visit.steps):
        return None
    first = next((step for step in visit.steps if not step.moves), None)
    if first is None:
        return None
    last_axis = layer.axis in (-1, first.args[0].dim() - 1)
    x, y = (image_of(t, last_axis) for t in (first.args[0], visit.steps[-1].result))
    if x is None or y is None:
        return None
    names = ("moving_mean", "moving_variance", "gamma", "beta")
    values = [getattr(layer, name, None) for name in names]
    mean, variance, weight, bias = (None if v is None else v.value.detach() for v in values)
    assert mean is not None and variance is not None
    return Normalisation(x, y, mean, variance, float(layer.epsilon), weight, bias)


def _kind(reading: Reading) -> str:
    match reading:
        case Convolution():
            return conv2d.kind(reading.weight.shape[2:], reading.groups, reading.x.shape[0])
        case Pool():
            word = "max" if reading.mode == "max" else "avg"
            adaptive = "" if reading.kernel else "adaptive_"
            return f"{'global_' if reading.is_global else adaptive}{word}_pool2d"
        case Dense():
            return "dense"
        case Normalisation():
            return "batch_norm2d" if reading.x.shape[1:] != (1, 1) else "batch_norm"
        case Elementwise():
            return "activation"
    return {"add": "add", "subtract": "sub", "multiply": "mul", "concatenate": "cat"}[
        reading.operation
    ]


def _settings(reading: Reading | Gates | None) -> str:
    match reading:
        case Elementwise():
            return reading.function.name
        case Normalisation():
            return "running statistics"
    return ""


def _weights_in(reading: Reading) -> int:
    match reading:
        case Convolution() | Dense() | Normalisation():
            held: list[Tensor | None] = [reading.weight, reading.bias]
            return sum(tensor.numel() for tensor in held if isinstance(tensor, torch.Tensor))
    return 0
