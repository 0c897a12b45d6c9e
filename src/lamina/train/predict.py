"""A trained model's answer to an image."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from lamina.errors import InputError
from lamina.graph import without_a_clock
from lamina.optimiser import optimize
from lamina.train.checkpoints import answering, copy_weights, model_state
from lamina.train.choices import Choices
from lamina.train.config import RunDocument, read_config
from lamina.train.data import Facts
from lamina.train.folder import named
from lamina.train.images import files_under, is_image, read_image
from lamina.train.model import build_model, chosen_model, is_worth_compiling

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
    """Build a run's model with the weights that it ended with, in eval mode.

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
    checkpoint = answering(run, document.config.select, warn)
    network = build_model(target, facts)
    copy_weights(network, model_state(checkpoint), str(checkpoint))
    return network.eval(), facts


def predict(
    run: Path,
    images: Sequence[Path],
    *,
    model: str | None = None,
    skip_bad: bool = False,
    warn: Callable[[str], None] = print,
) -> list[Prediction]:
    """Classify image files with a run's model; of their pixels a batch at a time is in memory.

    Args:
        run: the run folder.
        images: image files, and folders, of which every image file is taken; each image is scaled
            and cropped as the training images were.
        model: see `load_run`.
        skip_bad: go on past files that cannot be read.
        warn: see `load_run`; also gets a line for each file that was passed over.

    Raises:
        InputError: as `load_run`, a folder without images, or files that cannot be read: all of
            them are named.
    """
    document = read_config(run / "config.json")
    # By the run's figures, or those that there are: a few images are not worth a measurement.
    choices = Choices.here(settle=False)
    if document.choices is not None and (stated := Choices.from_dict(document.choices)).made_here:
        choices = stated
    with choices.in_force(threads=False), torch.no_grad():
        network, facts = _load(run, document, model, warn)
        files = _files(images)
        if is_worth_compiling(network, facts.input_shape, len(files)):
            optimize(network)
        with without_a_clock():  # the same answers in every process
            return _classified(network, facts, files, skip_bad, warn)


def _files(images: Sequence[Path]) -> list[Path]:
    files: list[Path] = []
    for path in images:
        if not path.is_dir():
            files.append(path)
            continue
        found = [file for file in files_under(path, path) if is_image(file)]
        if not found:
            raise InputError(f"{path}: expected image files in the folder, found none")
        files += found
    return files


def _classified(
    network: torch.nn.Module,
    facts: Facts,
    files: Sequence[Path],
    skip_bad: bool,
    warn: Callable[[str], None],
) -> list[Prediction]:
    answers: list[Prediction] = []
    bad: dict[Path, str] = {}
    for start in range(0, len(files), _BATCH):
        pixels, read = [], []
        for path in files[start : start + _BATCH]:
            try:
                pixels.append(read_image(path, facts.size, facts.channels, facts.bits))
                read.append(path)
            except InputError as error:
                bad[path] = str(error)
        # After a bad file that may not be passed over the others are read, so as to name all.
        if not pixels or (bad and not skip_bad):
            continue
        logits = network(facts.normalise(np.stack(pixels)))
        for path, row in zip(read, logits.softmax(dim=1).tolist(), strict=True):
            best = max(range(len(row)), key=row.__getitem__)
            by_name = dict(zip(facts.classes, row, strict=True))
            answers.append(Prediction(str(path), facts.classes[best], row[best], by_name))
    if bad and (not skip_bad or not answers):
        hint = "" if skip_bad else "; --skip-bad goes on past such files"
        raise InputError(f"{named(bad)}{hint}")
    for reason in bad.values():
        warn(f"passed over: {reason}")
    return answers
