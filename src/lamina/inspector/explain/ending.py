"""What the model says in the end: classes, where their scores come from, what a shift changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.inspector.explain.dropped import is_dropout
from lamina.inspector.explain.maps import floats, integers
from lamina.inspector.explain.parts import Part
from lamina.inspector.explain.readings import Dense, Elementwise, Pool
from lamina.report.explanation.records import Answer, ClassMap, ClassScore, Shifts

__all__ = [
    "activation_maps",
    "answer_of",
    "before_softmax",
    "gradient_maps",
    "probabilities",
    "shifts_of",
]

_MOST = 10  # classes that are listed
_MAPPED = 3  # classes that have a map
_OFFSETS = (-2, -1, 0, 1, 2)
_AT_ONCE = 5  # shifted images in one run


def is_distribution(scores: Tensor) -> bool:
    """Whether scores are probabilities already: none below 0, and 1 together."""
    sums_to_one = bool((scores.double().sum(-1) - 1).abs().max() < 1e-4)
    return scores.shape[-1] > 1 and sums_to_one and bool((scores >= 0).all())


def probabilities(scores: Tensor, *, done: bool) -> Tensor:
    """Softmax of (N, classes) unless that was done."""
    return scores if done else scores.softmax(-1)


def answer_of(scores: Tensor, classes: Sequence[str]) -> Answer:
    """The most probable classes of (classes,) scores."""
    done = is_distribution(scores)
    shares = probabilities(scores, done=done)
    order = shares.argsort(descending=True, stable=True)[:_MOST].tolist()
    listed = tuple(
        ClassScore(place, _name(place, classes), float(scores[place]), float(shares[place]))
        for place in order
    )
    return Answer(listed, scores.numel(), done)


def _name(index: int, classes: Sequence[str]) -> str:
    return classes[index] if index < len(classes) else str(index)


def activation_maps(
    last: Part | None, ids: dict[Part, int], answer: Answer
) -> tuple[ClassMap, ...]:
    """Class activation maps, where global average pooling and a dense layer end the network."""
    part = before_softmax(last)
    if part is None or not isinstance(part.reading, Dense):
        return ()
    dense = part.reading
    before = _through(_only(part), lambda p: False)
    if before is None or not isinstance(before.reading, Pool):
        return ()
    pool = before.reading
    if not pool.is_global or pool.mode != "average" or dense.x.numel() != pool.x.shape[0]:
        return ()
    features = _only(before)
    made = []
    for score in answer.classes[:_MAPPED]:
        weight = dense.weight[score.index].detach().double()
        values = torch.einsum("c,chw->hw", weight, pool.x.double())
        bias = 0.0 if dense.bias is None else float(dense.bias[score.index])
        place = 0 if features is None else ids.get(features, 0)
        made.append(ClassMap("class activation map", place, score.index, floats(values), bias))
    return tuple(made)


def before_softmax(last: Part | None) -> Part | None:
    """The layer that made the scores: the last one but for a softmax and what moves numbers."""
    return _through(
        last, lambda p: isinstance(p.reading, Elementwise) and not p.reading.function.by_value
    )


def _only(part: Part) -> Part | None:
    return part.inputs[0] if len(part.inputs) == 1 else None


def _through(part: Part | None, more: Callable[[Part], bool]) -> Part | None:
    """Back to the first part that does more than move numbers, past those that need not count."""
    while part is not None:
        moves = part.reading is None and not part.closed
        if not (moves or is_dropout(part.kind) or more(part)):
            return part
        part = _only(part)
    return None


def gradient_maps(
    scores: Tensor, leaf: Tensor, answer: Answer, channels_last: bool
) -> tuple[ClassMap, ...]:
    """The absolute derivative of a class's score by each pixel, the largest of its channels."""
    made = []
    for score in answer.classes[:_MAPPED]:
        (slope,) = torch.autograd.grad(scores[score.index], leaf, retain_graph=True)
        values = slope[0].abs().amax(-1 if channels_last else 0)
        made.append(ClassMap("gradient map", 0, score.index, floats(values)))
    return tuple(made)


def shifts_of(
    run: Callable[[Tensor], Tensor],
    image: Tensor,
    answer: Answer,
    classes: Sequence[str],
    channels_last: bool,
) -> Shifts:
    """The probabilities when the image moves.

    Args:
        run: from a batch of images to (N, classes) scores.
        image: a batch of one.
        answer: of the image as it is.
        classes: their names.
        channels_last: of the image.
    """
    planar = image.permute(0, 3, 1, 2) if channels_last else image
    _, _, rows, columns = planar.shape
    reach = max(_OFFSETS)
    padded = F.pad(planar, (reach,) * 4, mode="replicate")
    moved = [
        padded[:, :, reach - down : reach - down + rows, reach - right : reach - right + columns]
        for down in _OFFSETS
        for right in _OFFSETS
    ]
    images = torch.cat(moved)
    if channels_last:
        images = images.permute(0, 2, 3, 1)
    scores = torch.cat([run(part) for part in torch.split(images.contiguous(), _AT_ONCE)])
    shares = probabilities(scores, done=answer.is_probability)
    followed = [score.index for score in answer.classes]
    side = len(_OFFSETS)
    best = shares.argmax(1)
    return Shifts(
        offsets=_OFFSETS,
        classes=tuple(followed),
        probabilities=floats(shares[:, followed].T.reshape(len(followed), side, side)),
        best=integers(best.reshape(side, side)),
        best_names={index: _name(index, classes) for index in sorted(set(best.tolist()))},
    )
