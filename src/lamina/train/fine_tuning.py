"""What a run starts from: published weights, a head of its own, and a backbone that is frozen."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.interchange.files.weights import read_pt, read_safetensors
from lamina.ops.runtime.torch_private import AnyBatchNorm
from lamina.train.checkpoints import answering
from lamina.train.config import read_config

BACKBONE = "backbone"
"""Of ``--freeze``: everything but the head."""

_READERS = {".safetensors": read_safetensors, ".pt": read_pt, ".pth": read_pt}
_PREFIX = re.compile(r"^(?:module|model|network|backbone|_orig_mod)\.")
_COUNTER = "num_batches_tracked"
_NAMED = 3  # names that a message tells of each side


@dataclass(frozen=True)
class Taken:
    """What a model got of a file.

    Args:
        source: the file.
        taken: tensors of the model that got the file's.
        left: of the file's tensors those that the model has no use for.
        begun: of the model's tensors those that keep their initial values: the head, as a rule.
    """

    source: str
    taken: int
    left: tuple[str, ...]
    begun: tuple[str, ...]

    def __str__(self) -> str:
        """One line for people."""
        said = f"weights: {self.taken} tensors of {self.source}"
        if self.begun:
            said += f"; {', '.join(self.begun)} begin anew"
        if self.left:
            said += f"; left out: {_listed(self.left)}"
        return said


def head_of(model: nn.Module, classes: int) -> str:
    """The name of the layer that answers: the last one with a weight, of as many rows as classes.

    Raises:
        InputError: the last layer has another number of rows.

    Example:
        >>> head_of(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), 3)
        '2'
    """
    weighted = [
        (name, module.weight)
        for name, module in model.named_modules()
        if isinstance(getattr(module, "weight", None), Tensor) and module.weight.dim() > 1
    ]
    name, weight = weighted[-1] if weighted else ("", torch.empty(0))
    if not weighted or weight.shape[0] != classes:
        raise InputError(
            f"model: expected its last layer to have {classes} outputs, one for each class, "
            f"{name!r} has {weight.shape[0]}"
        )
    return name


def take_weights(model: nn.Module, classes: int, source: str) -> Taken:
    """Give a model the weights of a file or of a run, but for a head of another number of classes.

    Names are compared as they are, without the prefix of a wrapper. timm's of MobileNets and
    EfficientNets, and those of a ``.pt`` file that are others, are matched by the order of the
    layers: every tensor then has to have the other's shape.

    Args:
        model: gets the weights.
        classes: that it tells apart.
        source: a ``.safetensors``, ``.pt`` or ``.pth`` file, or the folder of a run.

    Raises:
        InputError: no such file, a damaged or unsafe one, or one of another model, whose names are
            told beside this one's.
    """
    path = _file_of(source)
    theirs = _READERS[path.suffix.lower()](path)
    while theirs and all(map(_PREFIX.match, theirs)):
        theirs = {_PREFIX.sub("", name, count=1): value for name, value in theirs.items()}
    counters = {name: value for name, value in theirs.items() if name.endswith(_COUNTER)}
    theirs = {name: value for name, value in theirs.items() if name not in counters}
    ours = {name: v for name, v in model.state_dict().items() if not name.endswith(_COUNTER)}
    head = head_of(model, classes)
    own_head = [name for name in ours if name.rpartition(".")[0] == head]
    body = [name for name in ours if name not in own_head]
    pairs = _by_name(body, ours, theirs) or _by_order(body, ours, theirs)
    if pairs is None:
        raise InputError(
            f"weights: {source} fits nothing here: it has {_listed(tuple(theirs))}; "
            f"the model wants {_listed(tuple(body))}"
        )
    rest = [name for name in theirs if name not in pairs.values()]
    for mine in own_head:
        if mine in rest and theirs[mine].shape == ours[mine].shape:
            pairs[mine] = mine
    shaped = {mine: theirs[name].reshape(ours[mine].shape) for mine, name in pairs.items()}
    model.load_state_dict(shaped | counters, strict=False)
    return Taken(
        source,
        len(pairs),
        tuple(name for name in rest if name not in pairs.values()),
        tuple(name for name in own_head if name not in pairs),
    )


def _file_of(source: str) -> Path:
    path = Path(source)
    if path.is_dir():
        select = read_config(path / "config.json").config.select
        return answering(path, select, _silently) / "weights.safetensors"
    if path.suffix.lower() not in _READERS:
        hint = (
            f"; lamina convert {source} model.py makes a --model and its weights of it"
            if path.suffix.lower() in (".keras", ".h5")
            else ""
        )
        raise InputError(
            f"weights: expected a run or a file that ends in {', '.join(_READERS)}, "
            f"got {source!r}{hint}"
        )
    if not path.is_file():
        raise InputError(f"weights: no file {source!r}")
    return path


def _by_name(
    body: list[str], ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> dict[str, str] | None:
    fits = all(name in theirs and theirs[name].shape == ours[name].shape for name in body)
    return {name: name for name in body} if fits else None


def _by_order(
    body: list[str], ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]
) -> dict[str, str] | None:
    try:
        order = _timms_order(theirs) if "conv_stem.weight" in theirs else list(theirs)
    except ValueError:
        return None
    first = order[: len(body)]
    fits = len(first) == len(body) and all(
        _is_alike(theirs[name], ours[mine]) for mine, name in zip(body, first, strict=True)
    )
    # The first of two dozen equal shapes would fit as well: what comes behind is the head alone.
    return dict(zip(body, first, strict=True)) if fits and len(theirs) - len(body) <= 2 else None


def _is_alike(one: Tensor, other: Tensor) -> bool:
    """Whether the shapes are one but for a kernel of one pixel, which a dense layer has none of."""
    return one.squeeze().shape == other.squeeze().shape and one.shape[0] == other.shape[0]


_PARTS = ("conv_stem", "bn1", "blocks", "conv_head", "bn2", "classifier")
_EXPANDED = (
    "conv_pw",
    "bn1",
    "conv_dw",
    "bn2",
    "se.conv_reduce",
    "se.conv_expand",
    "conv_pwl",
    "bn3",
)
_PLAIN = ("conv", "conv_dw", "bn1", "se.conv_reduce", "se.conv_expand", "conv_pw", "bn2")
_TENSORS = ("weight", "bias", "running_mean", "running_var")


def _timms_order(names: Iterable[str]) -> list[str]:
    """Names of a MobileNet or EfficientNet of timm's in the order in which their layers run.

    Raises:
        ValueError: one is called otherwise.
    """
    known = set(names)

    def place(name: str) -> tuple[int, ...]:
        path, _, tensor = name.rpartition(".")
        part, *inside = path.split(".")
        at = [_PARTS.index(part)]
        if inside:
            stage, block, *layer = inside
            is_expanded = f"blocks.{stage}.{block}.conv_pwl.weight" in known
            order = _EXPANDED if is_expanded else _PLAIN
            at += [int(stage), int(block), order.index(".".join(layer))]
        return (*at, _TENSORS.index(tensor))

    return sorted(known, key=place)


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _silently(line: str) -> None:
    """A run's older checkpoint serves as well."""


# ---- freezing -----------------------------------------------------------------------------------


def freeze(model: nn.Module, classes: int, pattern: str) -> list[str]:
    """Keep parameters from training; return their names.

    Args:
        model: whose parameters they are.
        classes: that it tells apart.
        pattern: ``"backbone"``, or names with ``*``, several with commas: ``"features.0*,stem.*"``.

    Raises:
        InputError: nothing is called so, or nothing is left to train.
    """
    head = head_of(model, classes)
    frozen = []
    for name, parameter in model.named_parameters():
        in_head = name.rpartition(".")[0] == head
        chosen = not in_head if pattern == BACKBONE else _matches(name, pattern)
        if chosen:
            parameter.requires_grad_(False)
            frozen.append(name)
    names = [name for name, _ in model.named_parameters()]
    if not frozen:
        raise InputError(
            f"freeze: expected {BACKBONE} or names of parameters such as {_listed(tuple(names))}, "
            f"got {pattern!r}, which is none"
        )
    if len(frozen) == len(names):
        raise InputError(f"freeze: {pattern!r} leaves nothing to train")
    return frozen


def _matches(name: str, pattern: str) -> bool:
    return any(
        fnmatchcase(name, one) or fnmatchcase(name, f"{one}.*") for one in pattern.split(",")
    )


def settle_norms(model: nn.Module, frozen: Iterable[str]) -> None:
    """Have norms keep the statistics that they came with while their parameters do not train.

    Args:
        model: in training mode.
        frozen: names of parameters that were frozen, of which some may train again.
    """
    names = set(frozen)
    for path, module in model.named_modules():
        own = {f"{path}.{name}".lstrip("."): p for name, p in module.named_parameters("", False)}
        if isinstance(module, AnyBatchNorm) and names & own.keys():
            module.train(any(parameter.requires_grad for parameter in own.values()))


def thaw(model: nn.Module, frozen: list[str], count: int) -> None:
    """Have the last stages of what was frozen train again.

    Args:
        model: whose parameters they are.
        frozen: names of all that were frozen, in the model's order.
        count: of stages, from the end.
    """
    order = list(stages(model, frozen).values())
    parameters = dict(model.named_parameters())
    for place, names in enumerate(order):
        for name in names:
            parameters[name].requires_grad_(place >= len(order) - count)


def stages(model: nn.Module, names: list[str]) -> dict[str, list[str]]:
    """Parameters by the part of the model that they are in, in order.

    The parts are the model's children; where one of them has more children than the model, as a
    Sequential of blocks does, those stand in its place.

    Example:
        >>> blocks = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2), nn.Linear(2, 2))
        >>> model = nn.Sequential(blocks, nn.Linear(2, 2))
        >>> list(stages(model, [name for name, _ in model.named_parameters()]))
        ['0.0', '0.1', '0.2', '1']
    """
    children = {name: len(list(child.children())) for name, child in model.named_children()}
    long = max(children, key=children.__getitem__, default="")
    found: dict[str, list[str]] = {}
    for name in names:
        first, second, *_ = name.split(".")
        is_inside = first == long and children[long] > len(children)
        found.setdefault(f"{first}.{second}" if is_inside else first, []).append(name)
    return found
