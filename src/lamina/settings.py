"""The settings of a training run: one list, which options and documents are made of.

Every field of `TrainConfig` says what it means and checks what it is given; the command line makes
its options of them, ``docs/reference/cli.md`` its table (``python -m lamina.settings`` prints it),
and a run folder keeps their values.
"""

import math
from collections.abc import Callable
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, TypeVar, get_args

from lamina.errors import InputError, closest

OnBadImage = Literal["error", "skip"]
Device = Literal["auto", "cpu", "cuda"]
Optimize = Literal["auto", "on", "off"]
Optimizer = Literal["adamw", "sgd", "rmsprop"]
Schedule = Literal["one-cycle", "cosine", "step", "constant"]
Select = Literal["last", "best"]
Augment = Literal["none", "light", "standard", "strong"]
Statistics = Literal["measured", "imagenet"]

Check = Callable[[str, Any], None]
_Config = TypeVar("_Config")


def _setting(
    default: object, check: Check, meaning: str, *, unset: str = "", anew: bool = False
) -> Any:  # noqa: ANN401 - as dataclasses.field
    """Return a field.

    Args:
        default: its value where none is given.
        check: raises InputError for a value that is not allowed.
        meaning: a phrase for people, with unit and range.
        unset: what None stands for.
        anew: a resumed run may be given another one, since its result does not depend on it.
    """
    said = {"check": check, "meaning": meaning, "unset": unset, "anew": anew}
    return field(default=default, metadata=said)


def _text(name: str, value: object) -> None:
    if not isinstance(value, str) or not value:
        raise InputError(f"{name}: expected a name, got {value!r}")


def _integer(low: int, high: int | None = None, *, optional: bool = False) -> Check:
    limits = f"of at least {low}" if high is None else f"from {low} to {high}"

    def check(name: str, value: object) -> None:
        if value is None and optional:
            return
        right = isinstance(value, int) and not isinstance(value, bool)
        if not right or value < low or (high is not None and value > high):  # type: ignore[operator]
            raise InputError(f"{name}: expected an integer {limits}, got {value!r}")

    return check


def _number(allowed: str, inside: Callable[[float], bool]) -> Check:
    def check(name: str, value: object) -> None:
        right = isinstance(value, int | float) and not isinstance(value, bool)
        if not right or not math.isfinite(value) or not inside(value):  # type: ignore[arg-type]
            raise InputError(f"{name}: expected a finite number {allowed}, got {value!r}")

    return check


def _optional(check: Check) -> Check:
    def checked(name: str, value: object) -> None:
        if value is not None:
            check(name, value)

    return checked


def _boolean(name: str, value: object) -> None:
    if not isinstance(value, bool):
        raise InputError(f"{name}: expected true or false, got {value!r}")


def _choice(kind: Any) -> Check:  # noqa: ANN401 - a Literal
    allowed = get_args(kind)

    def check(name: str, value: object) -> None:
        if value not in allowed:
            hint = closest(str(value), [*allowed])
            raise InputError(f"{name}: expected {' or '.join(allowed)}, got {value!r}{hint}")

    return check


def described(one: Field[Any]) -> str:
    """Return a field's meaning with its default."""
    return f"{one.metadata['meaning']} (default: {default_of(one)})"


def default_of(one: Field[Any]) -> str:
    """Return a field's default in words."""
    if one.default is None:
        return str(one.metadata["unset"])
    return (
        {True: "on", False: "off"}[one.default]
        if isinstance(one.default, bool)
        else str(one.default)
    )


def _documented(cls: type[_Config]) -> type[_Config]:
    """Put the fields' meanings into the docstring, behind its first paragraph."""
    summary, rest = (cls.__doc__ or "").split("\n\n", 1)
    args = "\n".join(f"        {one.name}: {described(one)}." for one in fields(cls))  # type: ignore[arg-type]
    cls.__doc__ = f"{summary}\n\n    Args:\n{args}\n\n{rest}"
    return cls


@_documented
@dataclass(frozen=True)
class TrainConfig:
    """A training run: data, model, and how the one learns the other.

    Raises:
        InputError: a value is outside of its range or of the wrong type.

    Example:
        >>> TrainConfig(epochs=0)
        Traceback (most recent call last):
        lamina.errors.InputError: epochs: expected an integer of at least 1, got 0
    """

    data: str = _setting(
        "digits",
        _text,
        "`digits`, a folder with one sub-folder of images per class, one of `train`, `val` and "
        "`test` with such sub-folders, or a `.csv` file of `path`, `class` and `split`",
        anew=True,
    )
    model: str = _setting(
        "digits_cnn",
        _text,
        "a name of `lamina.models`, `pkg.mod:factory` or `file.py:factory`",
        anew=True,
    )
    weights: str | None = _setting(
        None,
        _optional(_text),
        "start from a `.safetensors`, `.pt` or `.pth` file or from a run; a head of another number "
        "of classes is left out",
        unset="weights drawn from the seed",
    )
    freeze: str | None = _setting(
        None,
        _optional(_text),
        "keep `backbone` (all but the head), or parameters by name with `*`, from training, their "
        "norms in evaluation",
        unset="nothing",
    )
    unfreeze_every: int | None = _setting(
        None,
        _integer(1, optional=True),
        "epochs after which one more stage of what is frozen trains too, from the end",
        unset="never",
    )
    epochs: int = _setting(
        30,
        _integer(1),
        "passes over the training images; more of them extend a run that is resumed",
        anew=True,
    )
    select: Select = _setting(  # noqa: RUF009 - it is dataclasses.field
        "last",
        _choice(Select),
        "the epoch whose weights the run ends with: the `last`, or the `best` on the images of "
        "validation",
    )
    patience: int | None = _setting(
        None,
        _integer(1, optional=True),
        "epochs without a better validation after which training stops",
        unset="never",
    )
    batch_size: int = _setting(64, _integer(1), "images per step, of each process")
    optimizer: Optimizer = _setting(  # noqa: RUF009
        "adamw", _choice(Optimizer), "`adamw`, `sgd` with Nesterov's momentum, or `rmsprop`"
    )
    schedule: Schedule = _setting(  # noqa: RUF009
        "one-cycle",
        _choice(Schedule),
        "of the learning rate: `one-cycle`, `cosine`, `step` (to a tenth after each third), or "
        "`constant`",
    )
    warmup: float = _setting(
        0.0,
        _number("of at least 0", lambda epochs: epochs >= 0),
        "epochs in which the learning rate rises to its highest; one-cycle has its own",
    )
    clip: float | None = _setting(
        None,
        _optional(_number("above 0", lambda norm: norm > 0)),
        "largest norm of all gradients together",
        unset="none",
    )
    accumulate: int = _setting(1, _integer(1), "batches whose gradients make one step")
    lr: float = _setting(
        5e-3,
        _number("above 0", lambda lr: lr > 0),
        "highest learning rate of the schedule",
    )
    head_lr: float | None = _setting(
        None,
        _optional(_number("above 0", lambda lr: lr > 0)),
        "highest learning rate of the head, the layer that answers",
        unset="`lr`",
    )
    weight_decay: float = _setting(
        1e-2,
        _number("of at least 0", lambda decay: decay >= 0),
        "the optimiser's weight decay, AdamW's a decoupled one; none on biases and norms",
    )
    label_smoothing: float = _setting(
        0.1,
        _number("in [0, 1)", lambda share: 0 <= share < 1),
        "share of the target spread over all classes, in [0, 1)",
    )
    seed: int = _setting(
        0,
        _integer(0, 2**32 - 1),
        "of initial weights, order, augmentation and dropout, below 2**32",
    )
    image_size: int | None = _setting(
        None,
        _integer(1, optional=True),
        "side in pixels that a folder's images are brought to",
        unset="median of their shorter sides, at most 224",
    )
    statistics: Statistics = _setting(  # noqa: RUF009 - it is dataclasses.field
        "measured",
        _choice(Statistics),
        "mean and deviation that channels are brought from: `measured` over the training images, "
        "or `imagenet`'s, which published weights were trained with",
    )
    augment: Augment = _setting(  # noqa: RUF009
        "light",
        _choice(Augment),
        "how training images are made anew in every epoch: `none`, `light` (shifted, turned and "
        "zoomed a little), `standard` (flips, crops, colours), `strong` (RandAugment, erasing, "
        "mixup and cutmix)",
    )
    workers: int = _setting(
        0,
        _integer(0),
        "processes that prepare batches; the result does not depend on it",
        anew=True,
    )
    on_bad_image: OnBadImage = _setting(  # noqa: RUF009 - it is dataclasses.field
        "error",
        _choice(OnBadImage),
        "`error` refuses a folder with unreadable images, `skip` leaves them out",
    )
    sync_norm: bool = _setting(
        False,
        _boolean,
        "batch norms take the statistics of all processes, as one with the whole batch would",
    )
    device: Device = _setting(  # noqa: RUF009
        "auto",
        _choice(Device),
        "`cpu`, `cuda`, or `auto`: a CUDA device where there is one",
    )
    optimize: Optimize = _setting(  # noqa: RUF009
        "auto",
        _choice(Optimize),
        "`on` runs the model by `lamina.optimize`, `auto` where training takes minutes",
    )

    def __post_init__(self) -> None:
        for one in fields(self):
            one.metadata["check"](one.name, getattr(self, one.name))
        if self.unfreeze_every is not None and self.freeze is None:
            raise InputError("unfreeze_every: expected something to --freeze as well, got nothing")
        if self.warmup and self.schedule == "one-cycle":
            raise InputError("warmup: expected 0 with one-cycle, which rises by itself")
        if self.sync_norm and self.optimize == "on":
            raise InputError(
                "sync_norm: expected --optimize off or auto, whose ops know one process"
            )


def option_of(one: Field[Any]) -> str:
    """Return a field's option of the command line, as typed.

    Example:
        >>> [option_of(one) for one in fields(TrainConfig) if one.name in ("lr", "head_lr")]
        ['--lr', '--head-lr']
    """
    name = one.name.replace("_", "-")
    return f"--{name}/--no-{name}" if isinstance(one.default, bool) else f"--{name}"


def may_be_anew() -> list[str]:
    """Return the settings of which a resumed run may be given another value."""
    return [one.name for one in fields(TrainConfig) if one.metadata["anew"]]


def as_markdown() -> str:
    """Return the list as a Markdown table of options."""
    rows = [
        f"| `{option_of(one).replace('/', '`, `')}` | {one.metadata['meaning']} | "
        f"{default_of(one)} |"
        for one in fields(TrainConfig)
    ]
    return "\n".join(["| option | meaning | default |", "|---|---|---|", *rows])


if __name__ == "__main__":
    print(as_markdown())
