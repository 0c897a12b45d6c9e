"""What a training run is asked for: validated where it is made, written to ``config.json``."""

import json
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args

from lamina.errors import InputError, closest
from lamina.train.files import MAX_TEXT_BYTES, read_limited

OnBadImage = Literal["error", "skip"]
Device = Literal["auto", "cpu", "cuda"]


@dataclass(frozen=True)
class TrainConfig:
    """A training run: data, model, and how the one learns the other.

    Args:
        data: ``"digits"`` or a folder with one sub-folder of PNG or JPEG images per class.
        model: a name of `lamina.models`, ``pkg.mod:factory`` or ``file.py:factory``.
        epochs: passes over the training images, at least 1.
        batch_size: images per step, at least 1.
        lr: highest learning rate of the one-cycle schedule, above 0.
        weight_decay: AdamW's decoupled weight decay, at least 0.
        label_smoothing: share of the target spread over all classes, in [0, 1).
        seed: of initial weights, order, augmentation and dropout, in [0, 2**32).
        image_size: side in pixels that a folder's images are brought to, at least 1; None
            takes the median of their shorter sides, at most 224.
        augment: shift, turn and zoom the training images a little, anew in every epoch.
        workers: processes that prepare batches, at least 0; the result does not depend on it.
        on_bad_image: refuse a folder with an unreadable image, or leave such images out.
        device: ``"cpu"``, ``"cuda"``, or ``"auto"``: a CUDA device where there is one.

    Raises:
        InputError: a value is outside of its range or of the wrong type.

    Example:
        >>> TrainConfig(epochs=0)
        Traceback (most recent call last):
        lamina.errors.InputError: epochs: expected an integer of at least 1, got 0
    """

    data: str = "digits"
    model: str = "digits_cnn"
    epochs: int = 30
    batch_size: int = 64
    lr: float = 5e-3
    weight_decay: float = 1e-2
    label_smoothing: float = 0.1
    seed: int = 0
    image_size: int | None = None
    augment: bool = True
    workers: int = 0
    on_bad_image: OnBadImage = "error"
    device: Device = "auto"

    def __post_init__(self) -> None:
        for name in ("data", "model"):
            if not isinstance(getattr(self, name), str) or not getattr(self, name):
                raise InputError(f"{name}: expected a name, got {getattr(self, name)!r}")
        _integer("epochs", self.epochs, low=1)
        _integer("batch_size", self.batch_size, low=1)
        _integer("seed", self.seed, low=0, high=2**32 - 1)
        _integer("workers", self.workers, low=0)
        if self.image_size is not None:
            _integer("image_size", self.image_size, low=1)
        _number("lr", self.lr, "above 0", lambda lr: lr > 0)
        _number("weight_decay", self.weight_decay, "of at least 0", lambda decay: decay >= 0)
        _number("label_smoothing", self.label_smoothing, "in [0, 1)", lambda s: 0 <= s < 1)
        if not isinstance(self.augment, bool):
            raise InputError(f"augment: expected true or false, got {self.augment!r}")
        _choice("on_bad_image", self.on_bad_image, get_args(OnBadImage))
        _choice("device", self.device, get_args(Device))


@dataclass(frozen=True)
class RunDocument:
    """What a run's ``config.json`` says.

    Args:
        config: every setting.
        data: see `lamina.train.data.Facts`.
        choices: see `lamina.train.choices.Choices`; None in a run of an older lamina.
    """

    config: TrainConfig
    data: dict[str, Any]
    choices: dict[str, Any] | None = None

    def text(self, version: str) -> str:
        """Return the file's text, which `read_config` reads."""
        return json.dumps({"lamina": version, **asdict(self)}, indent=2) + "\n"


def read_config(path: Path) -> RunDocument:
    """Read a run's ``config.json``.

    Raises:
        InputError: the file is missing, no JSON, or says what no configuration says.
    """
    try:
        text = read_limited(path, MAX_TEXT_BYTES)
    except OSError as error:
        raise InputError(f"{path.parent}: no run folder, {path.name} cannot be read") from error
    try:
        content = json.loads(text)
        config, facts, choices = content["config"], content["data"], content.get("choices")
        unknown = config.keys() - {field.name for field in fields(TrainConfig)}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not the configuration of a run") from error
    if unknown:
        raise InputError(f"{path}: unknown setting {min(unknown)!r}")
    return RunDocument(TrainConfig(**config), facts, choices)


def _integer(name: str, value: object, low: int, high: int | None = None) -> None:
    right = isinstance(value, int) and not isinstance(value, bool)
    if not right or value < low or (high is not None and value > high):  # type: ignore[operator]
        limits = f"of at least {low}" if high is None else f"from {low} to {high}"
        raise InputError(f"{name}: expected an integer {limits}, got {value!r}")


def _number(name: str, value: object, allowed: str, inside: Callable[[float], bool]) -> None:
    right = isinstance(value, int | float) and not isinstance(value, bool)
    if not right or not math.isfinite(value) or not inside(value):  # type: ignore[arg-type]
        raise InputError(f"{name}: expected a finite number {allowed}, got {value!r}")


def _choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        expected = " or ".join(allowed)
        raise InputError(
            f"{name}: expected {expected}, got {value!r}{closest(str(value), [*allowed])}"
        )
