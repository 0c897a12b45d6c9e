"""Pages that follow test images through a run's model, for the run folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from lamina.inspector.explain import BUDGET, Page, explain
from lamina.train.data import Facts, ImageData
from lamina.train.evaluation import Evaluation
from lamina.train.images import Pixels, read_image

_PAGES = 3
_SMALL = 1_000_000
"""Bytes of a page in a run folder, of which there are several; one of digits has a fifth of it."""


def explain_file(network: torch.nn.Module, facts: Facts, image: Path, *, title: str) -> Page:
    """Follow an image file through a run's model, prepared as the training images were.

    Args:
        network: the run's model.
        facts: of its data.
        image: the file.
        title: what the model is called.

    Raises:
        InputError: the file is no readable image.
    """
    pixels = read_image(image, facts.size, facts.channels, facts.bits)
    return _explained(network, facts, pixels, image.name, title, BUDGET)


def explain_tests(
    network: torch.nn.Module, data: ImageData, test: Evaluation, title: str
) -> dict[str, Page]:
    """Follow three test images through a model: answered best, midway and worst.

    Args:
        network: the run's model.
        data: the run's images.
        test: its answers on the test images.
        title: what the model is called.

    Returns:
        The pages by file name.

    Raises:
        InputError: the model cannot be followed.
        RunError: too little memory, or too many layers for a small page.
    """
    pages: dict[str, Page] = {}
    for place in _chosen(test):
        index = int(test.indices[place])
        actual = data.facts.classes[int(test.labels[place])]
        name = f"test image {index}, a {actual}"
        page = _explained(network, data.facts, data.images[index], name, title, _SMALL)
        pages[f"explain-{len(pages) + 1}.html"] = page
    return pages


def _chosen(test: Evaluation) -> Sequence[int]:
    """Places of the test images that were answered best, midway and worst, as many as there are."""
    right = test.probabilities[np.arange(len(test.labels)), test.labels]
    order = right.argsort(kind="stable")[::-1]
    places = (0, len(order) // 2, len(order) - 1)
    return [int(order[place]) for place in dict.fromkeys(places)][:_PAGES]


def _explained(
    network: torch.nn.Module, facts: Facts, pixels: Pixels, name: str, title: str, budget: int
) -> Page:
    device = next(network.parameters()).device
    try:
        network.cpu()
        return explain(
            network,
            facts.normalise(pixels[None].copy())[0],
            classes=facts.classes,
            mean=facts.mean,
            deviation=facts.deviation,
            name=name,
            title=title,
            budget=budget,
        )
    finally:
        network.to(device)
