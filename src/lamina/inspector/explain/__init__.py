"""The magnifying glass: one image followed through a model, number by number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from html import escape
from pathlib import Path

from torch import nn

from lamina.dialects import is_keras
from lamina.errors import InputError, RunError
from lamina.inspector.explain.following import Followed, follow
from lamina.inspector.explain.layers import shown_layers
from lamina.inspector.explain.pictures import Size, prepared, sizes_taken
from lamina.ops.runtime.torch_private import inside
from lamina.report.explanation.page import to_page
from lamina.report.explanation.records import Explanation, arrays_in

__all__ = ["Page", "explain"]

BUDGET = 5_000_000
"""Bytes that a page has unless said otherwise."""
_TRIES = 4  # to meet the budget
_TEXT, _TEXT_OF_A_LAYER = 130_000, 3_000  # bytes of a page beside its arrays, about


@dataclass(frozen=True)
class Page:
    """A model's way with one image: a record of it, and the page that shows it.

    In a notebook it shows itself.

    Args:
        record: all numbers.
    """

    record: Explanation

    @cached_property
    def html(self) -> str:
        """The page: one file that loads nothing."""
        return to_page(self.record)

    def save(self, path: str | Path) -> Path:
        """Write the page to a file."""
        path = Path(path)
        path.write_text(self.html, encoding="utf-8")
        return path

    def _repr_html_(self) -> str:
        return (
            f'<iframe srcdoc="{escape(self.html)}" sandbox="allow-scripts" '
            'style="width: 100%; height: 45rem; border: 0"></iframe>'
        )

    def __repr__(self) -> str:
        answer = self.record.answer
        best = f": {answer.classes[0].name}, {answer.classes[0].probability:.1%}" if answer else ""
        return f"<{self.record.model}, {len(self.record.layers) - 1} layers{best}>"


def explain(
    model: nn.Module,
    image: object,
    *,
    classes: Sequence[str] | None = None,
    size: int | tuple[int, int] | Size | None = None,
    mean: Sequence[float] | None = None,
    deviation: Sequence[float] | None = None,
    name: str = "",
    title: str = "",
    random_weights: bool = False,
    budget: int = BUDGET,
) -> Page:
    """Follow one image through a model: every layer's maps, and the arithmetic of their numbers.

    The numbers are those of a run on that image in evaluation mode. The model is left as it was;
    one that is compiled or optimised is run as the layers that it is made of.

    Args:
        model: any module that takes one image: functions, shared modules, branches, in-place
            activations, Keras models on the torch backend. What cannot be opened is shown closed.
        image: the path of an image file, a Pillow image, an array or tensor of bytes; or of floats,
            (channels, rows, columns), which the model gets as it is.
        classes: their names, in the order of the outputs.
        size: of the image, in pixels: a side, (rows, columns), or (channels, rows, columns). By
            default what a Keras model declares; else 224 with three channels if the model takes it,
            or else the first of the usual sizes that it does.
        mean: of each channel, of pixels in [0, 1]; ImageNet's for three channels, else 0.
        deviation: likewise; ImageNet's for three channels, else 1.
        name: of the image; by default its file's.
        title: what the model is called; by default a Keras model's name, another's class.
        random_weights: whether nothing was learned; the page then says so.
        budget: bytes that the page may have: how many channels and positions can be opened.

    Returns:
        The page: ``.save(path)``, ``.html``, and ``.record`` with all numbers.

    Raises:
        InputError: no image, not of the model's size, or a model that is not built yet.
        RunError: too little memory, or a budget that not even the smallest page meets.
        TypeError: ``model`` is no module.

    Example:
        >>> import torch
        >>> layers = [nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3)]
        >>> page = explain(nn.Sequential(*layers), torch.zeros(1, 8, 8), classes=["a", "b", "c"])
        >>> [layer.kind for layer in page.record.layers]
        ['input', 'conv2d', 'activation', 'flatten', 'dense']
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    model = inside(model)
    given = prepared(model, image, _full_size(model, size), mean, deviation, name)
    followed = follow(model, given, tuple(classes or ()))
    record = replace(
        followed.record,
        model=title or (str(model.name) if is_keras(model) else type(model).__name__),
        random_weights=random_weights,
        budget=budget,
    )
    return _fitted(record, followed, budget)


def _full_size(model: nn.Module, size: int | tuple[int, ...] | None) -> Size | None:
    """Channels, rows and columns; the channels that a model takes at that size, if none are given.

    Raises:
        InputError: not one, two or three positive numbers.
    """
    if size is None:
        return None
    numbers = (size, size) if isinstance(size, int) else tuple(size)
    if len(numbers) not in (2, 3) or not all(isinstance(n, int) and n > 0 for n in numbers):
        raise InputError(f"size: expected one to three numbers of 1 or more, got {size!r}")
    if len(numbers) == 3:
        return numbers[0], numbers[1], numbers[2]
    tried = [(channels, numbers[0], numbers[1]) for channels in (3, 1)]
    return next(sizes_taken(model, tried), tried[0])


def _fitted(record: Explanation, followed: Followed, budget: int) -> Page:
    """The page with as much to open as its bytes allow.

    Raises:
        RunError: not even a page on which next to nothing can be opened is small enough.
    """
    room = max(0, budget - _TEXT - _TEXT_OF_A_LAYER * len(followed.parts))
    for _ in range(_TRIES):
        # Arrays are written in base64, three bytes in four characters.
        shown = shown_layers(followed.parts, room * 3 // 4, followed.scoring)
        page = Page(
            replace(
                record,
                layers=shown.layers,
                tensors=shown.tensors,
                every_position=shown.every_position,
            )
        )
        size = len(page.html.encode())
        if size <= budget:
            return page
        used = sum(-(-len(array.data) // 3) * 4 for array in arrays_in(page.record))
        room = max(0, min(room, used) - int(1.1 * (size - budget)))
    raise RunError(
        f"explain: {len(followed.parts)} layers take a page of {size:,} bytes, "
        f"the budget is {budget:,}"
    )
