"""A trained model's answer to an image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lamina.models.target import load_model
from lamina.train.checkpoints import copy_weights, model_state, newest_good
from lamina.train.choices import Choices
from lamina.train.config import RunDocument, read_config
from lamina.train.data import Facts
from lamina.train.images import read_image
from lamina.train.run import chosen_model
from lamina.train.trace import trace_layers

_BATCH = 64


@dataclass(frozen=True)
class Prediction:
    """What a model says of one image.

    Args:
        image: the file.
        label: name of the most probable class.
        probability: that the model gives to it, in [0, 1].
        probabilities: of every class, by name.
    """

    image: str
    label: str
    probability: float
    probabilities: dict[str, float]


def load_run(
    run: Path, *, model: str | None = None, warn: Callable[[str], None] = print
) -> tuple[torch.nn.Module, Facts]:
    """Build a run's model with the weights of its newest whole checkpoint, in eval mode.

    Args:
        run: the run folder.
        model: ``pkg.mod:factory`` or ``file.py:factory`` again, if the run has such a model: a run
            folder may come from somebody else, and code is run only if it is named here.
        warn: gets a line for each checkpoint that is damaged.

    Raises:
        InputError: no run folder, no whole checkpoint, or weights made for another model.
    """
    return _load(run, read_config(run / "config.json"), model, warn)


def _load(
    run: Path, document: RunDocument, model: str | None, warn: Callable[[str], None]
) -> tuple[torch.nn.Module, Facts]:
    facts = Facts.from_dict(document.data)
    target = chosen_model(run, document.config, model)
    checkpoint = newest_good(run, warn)
    network = load_model(target, num_classes=len(facts.classes), in_channels=facts.channels)
    trace_layers(network, facts.input_shape, len(facts.classes))  # gives lazy layers their size
    copy_weights(network, model_state(checkpoint), str(checkpoint))
    return network.eval(), facts


def predict(
    run: Path,
    images: Sequence[Path],
    *,
    model: str | None = None,
    warn: Callable[[str], None] = print,
) -> list[Prediction]:
    """Classify image files with a run's model.

    Args:
        run: the run folder.
        images: PNG or JPEG files; each is scaled and cropped as the training images were.
        model: see `load_run`.
        warn: see `load_run`.

    Raises:
        InputError: as `load_run`, or an image that is missing, no PNG or JPEG, or too large.
    """
    document = read_config(run / "config.json")
    # By the run's figures, or those that there are: a few images are not worth a measurement.
    choices = Choices.here(settle=False)
    if document.choices is not None and (stated := Choices.from_dict(document.choices)).made_here:
        choices = stated
    with choices.in_force(threads=False), torch.no_grad():
        return _predict(run, document, images, model, warn)


def _predict(
    run: Path,
    document: RunDocument,
    images: Sequence[Path],
    model: str | None,
    warn: Callable[[str], None],
) -> list[Prediction]:
    network, facts = _load(run, document, model, warn)
    # All are read before the first is judged: a bad one is said before any answer.
    pixels = np.stack([read_image(path, facts.size, facts.channels) for path in images])
    rows: list[list[float]] = []
    if True:
        for start in range(0, len(pixels), _BATCH):
            logits = network(facts.normalise(pixels[start : start + _BATCH]))
            rows += logits.softmax(dim=1).tolist()
    predictions = []
    for path, row in zip(images, rows, strict=True):
        best = max(range(len(row)), key=row.__getitem__)
        by_name = dict(zip(facts.classes, row, strict=True))
        predictions.append(Prediction(str(path), facts.classes[best], row[best], by_name))
    return predictions
