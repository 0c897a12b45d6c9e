"""One image followed through one model: the run, its layers, and what the model says in the end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from lamina.dialects import is_keras
from lamina.errors import InputError, RunError
from lamina.inspector.count.facts import times
from lamina.inspector.explain.ending import (
    activation_maps,
    answer_of,
    before_softmax,
    gradient_maps,
    shifts_of,
)
from lamina.inspector.explain.parts import Part, parts_of
from lamina.inspector.explain.pictures import Given, sizes_taken
from lamina.inspector.explain.recording import Recording, record_run
from lamina.inspector.rows import build_rows, totals_of
from lamina.inspector.trace.dialect import built_only, has_channels_last
from lamina.inspector.trace.inputs import materialised
from lamina.inspector.trace.recorder import ForwardError, tensors_in
from lamina.inspector.trace.run import trace
from lamina.inspector.trace.untouched import untouched
from lamina.report.explanation.records import Answer, ClassMap, Explanation, Shifts
from lamina.report.records import Totals
from lamina.report.units import binary_bytes

__all__ = ["Followed", "follow"]


@dataclass(frozen=True)
class Followed:
    """What a run was.

    Args:
        parts: its layers with all their numbers, the image first.
        scoring: those whose outputs are the classes, with the classes of the answer.
        record: a record that lacks the layers.
    """

    parts: list[Part]
    scoring: dict[Part, list[int]]
    record: Explanation


def follow(model: nn.Module, given: Given, classes: tuple[str, ...]) -> Followed:
    """Run a model on an image, everything watched; it is left as it was.

    Args:
        model: the module.
        given: the image, ready for it.
        classes: names of its outputs.

    Raises:
        InputError: the model does not take the image, or what it gives does not depend on it.
        RunError: too little memory.
    """
    image, last = given.tensor, has_channels_last(model)
    named = {"training": False} if is_keras(model) else {}  # Keras asks its call, not the flag
    with untouched(model, data=False), built_only(model):
        model.eval()
        try:
            subject = materialised(model, (image,), named)
            traced = trace(subject, (image,), named, gradients=False)
        except ForwardError as error:
            raise _not_taken(model, image, last, error) from error
        rows = build_rows(subject, traced)
    totals = totals_of(rows, traced)
    _check_memory(totals)
    with untouched(subject, data=True):
        subject.eval()
        recording = record_run(subject, rows, image, named)
        parts, end = parts_of(recording, last)
        if end is None:
            raise InputError("model: its output does not depend on the image")
        answer, maps, shifts, notes = _ending(subject, recording, parts, end, classes, named, last)
    record = Explanation(
        model=type(model).__name__,
        picture=given.picture,
        layers=(),
        tensors=(),
        answer=answer,
        class_maps=maps,
        shifts=shifts,
        parameters=totals.parameters + totals.frozen,
        macs=totals.macs,
        notes=(*traced.notes, *notes),
    )
    scoring = {}
    if answer is not None:
        listed = [score.index for score in answer.classes]
        ends = (end, before_softmax(end))
        scoring = {one: listed for one in ends if one and _outputs(one) == answer.total}
    return Followed(parts, scoring, record)


def _outputs(part: Part) -> int:
    return 0 if part.y is None else part.y.numel()


def _not_taken(
    model: nn.Module, image: Tensor, channels_last: bool, error: ForwardError
) -> InputError:
    """The model's own words, and the sizes that it takes."""
    order = (3, 1, 2) if channels_last else (1, 2, 3)
    got = times([image.shape[axis] for axis in order])
    taken = next(sizes_taken(model), None)
    hint = "; it takes none of the usual sizes" if taken is None else f"; it takes {times(taken)}"
    return InputError(f"size: the model does not take an image of {got}: {error}{hint}")


def _check_memory(totals: Totals) -> None:
    """Raise where copies of the weights and of every layer's numbers would not fit.

    Every result is written once and kept once, beside a copy that is read; the weights are kept to
    be put back.
    """
    weights = 4 * (totals.parameters + totals.frozen + totals.buffers)
    needed = weights + 3 * totals.forward.bytes_written
    free = _available()
    if free is not None and needed > free:
        raise RunError(
            f"explain: keeping what every layer computes needs {binary_bytes(needed)} of memory, "
            f"{binary_bytes(free)} are free"
        )


def _available() -> int | None:
    """Bytes that the system can give without swapping; None where it does not say."""
    try:
        lines = Path("/proc/meminfo").read_text().splitlines()
    except OSError:
        return None
    found = (line.split()[1] for line in lines if line.startswith("MemAvailable"))
    return next((int(kib) * 1024 for kib in found), None)


_Ending = tuple[Answer | None, tuple[ClassMap, ...], Shifts | None, list[str]]


def _ending(
    model: nn.Module,
    recording: Recording,
    parts: list[Part],
    end: Part,
    classes: tuple[str, ...],
    named: dict[str, Any],
    channels_last: bool,
) -> _Ending:
    """Classes, where their scores come from, and what a shift does to them."""
    results = tensors_in(recording.output)
    scores = results[0]
    if scores.dim() == 4 and scores.shape[2:] == (1, 1):
        scores = scores.flatten(1)
    if scores.dim() != 2 or scores.shape[0] != 1:
        return (
            None,
            (),
            None,
            [f"the output is {times(scores.shape)}, not one score for each class"],
        )
    if classes and len(classes) != scores.shape[1]:
        raise InputError(
            f"classes: expected {scores.shape[1]} names, one an output, got {len(classes)}"
        )
    notes = ["the first of several outputs is taken for the scores"] * (len(results) > 1)
    values = scores[0]
    if not bool(values.isfinite().all()):
        return None, (), None, [*notes, "the scores are not all finite numbers"]
    answer = answer_of(values.detach(), classes)
    maps = activation_maps(end, {part: place for place, part in enumerate(parts)}, answer)
    if not maps:
        try:
            maps = gradient_maps(values, recording.leaf, answer, channels_last)
        except RuntimeError:
            notes.append("the scores cannot be differentiated by the image: there is no map")

    def run(images: Tensor) -> Tensor:
        with torch.no_grad():
            given = tensors_in(model(images, **named))[0].flatten(1)
        if len(given) == len(images):
            return given
        return torch.cat([run(image) for image in torch.split(images, 1)])  # it takes one at a time

    shifts = shifts_of(run, recording.leaf.detach(), answer, classes, channels_last)
    return answer, maps, shifts, notes
