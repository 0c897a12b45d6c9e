"""The Keras side while it is built: layers called on symbolic tensors, their weights, their names.

Whatever is called is written down too (`Statement`), and what nobody reads in the end is left out
of the model, so that a rule may try a form and another one take it back.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np
import sympy
import torch
from torch import fx

from lamina.errors import InputError
from lamina.interchange.crossing import Fate, Note, Rearrangement, WeightPair
from lamina.interchange.from_torch.statement import Statement
from lamina.interchange.from_torch.value import Features, Shape, Size, Value, canonical, groups

__all__ = ["Builder", "Flavour", "LayerWeight", "Weight"]

Flavour = Literal["keras", "lamina"]

RESHAPES = frozenset(["flatten", "reshape", "squeeze", "unflatten", "unsqueeze", "view"])
"""Operations that Keras's Flatten and Reshape are all of."""


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer that the torch graph reads.

    Attributes:
        name: its entry of the state_dict.
        tensor: its values.
        is_parameter: else a buffer or a constant.
        shape: that the graph reads it in, such as (C, 1, 1).
    """

    name: str
    tensor: torch.Tensor
    is_parameter: bool
    shape: tuple[int, ...]

    @property
    def is_trainable(self) -> bool:
        """Whether an optimiser would change it."""
        return self.is_parameter and self.tensor.requires_grad


@dataclass(frozen=True)
class LayerWeight:
    """A weight for a Keras layer.

    Attributes:
        variable: the attribute of the layer that holds it, such as "kernel".
        weight: torch's.
        split: Keras's shape, axes split where one holds several of torch's.
        axes: torch's order of them.
    """

    variable: str
    weight: Weight
    split: tuple[int, ...]
    axes: tuple[int, ...]

    @property
    def rearrangement(self) -> Rearrangement:
        """How the elements lie on both sides."""
        return Rearrangement(self.split, self.axes, tuple(self.weight.tensor.shape))


@dataclass
class Builder:
    """Calls Keras.

    Attributes:
        flavour: whose layers.
        name: of the layer that the present torch node becomes.
        operation: what the present node does.
        place: the torch module that the present node was called in.
        where: what a reader knows the present node by.
    """

    flavour: Flavour
    name: str = ""
    operation: str = ""
    place: str = ""
    where: str = ""
    statements: list[Statement] = field(default_factory=list)
    weights: list[WeightPair] = field(default_factory=list)
    notes: list[Note] = field(default_factory=list)
    _taken: set[str] = field(default_factory=set)
    _shared: dict[Any, tuple[Any, ...]] = field(default_factory=dict)
    _reshaped: dict[int, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        from lamina import layers

        self._layers = layers  # first, as it chooses Keras's backend
        import keras

        _check_settings(keras)
        self._ops = keras.ops
        if self.flavour == "keras":
            self._layers = keras.layers

    # ---- calls ----------------------------------------------------------------------------------

    def layer(
        self,
        kind: str,
        *arguments: Any,
        on: Any,  # noqa: ANN401 - a symbolic tensor, or a list of them
        weights: Sequence[LayerWeight] = (),
        part: str = "",
        **keywords: Any,
    ) -> Any:  # noqa: ANN401
        """Call a layer.

        Args:
            kind: its class in keras.layers.
            *arguments: of its constructor.
            on: what it is called on.
            weights: its weights; a layer with the same weights is the same layer, called again.
            part: what it does where it is not all of the torch node, such as "pad".
            **keywords: of its constructor; those that Keras takes anyway are left out.

        Raises:
            ValueError: a weight that is in another layer already.
        """
        _check_numbers(arguments, keywords)
        cls = getattr(self._layers, kind)
        keywords = _without_defaults(cls, keywords)
        frozen = bool(weights) and self._are_frozen(weights)
        if frozen:
            keywords["trainable"] = False
        key = tuple(w.weight.name for w in weights)
        made = (kind, arguments, keywords)
        if key in self._shared and self._shared[key][1:] == made:
            layer = self._shared[key][0]
        else:
            layer = cls(*arguments, **keywords, name=self._unique(part))
        output = layer(on)
        if weights and not (key in self._shared and self._shared[key][0] is layer):
            self._give_weights(layer, weights, frozen)
            layer.torch_name = key[0].rpartition(".")[0]  # for the way back
            self._shared[key] = (layer, *made)
        self._note_statement(f"layers.{kind}", arguments, keywords, on, output, layer)
        return output

    def op(self, function: str, *arguments: Any, part: str = "", **keywords: Any) -> Any:  # noqa: ANN401
        """Call an operation of keras.ops; its first arguments are symbolic tensors."""
        _check_numbers(arguments, keywords)
        output = getattr(self._ops, function)(*arguments, **keywords)
        self._name_operation(output, part or function)
        read = [a for a in arguments if _is_symbolic(a)]
        self._note_statement(f"ops.{function}", arguments, keywords, read, output)
        return output

    def index(self, tensor: Any, index: tuple[slice | int, ...]) -> Any:  # noqa: ANN401
        """``tensor[index]``."""
        _check_numbers(index)
        output = tensor[index]
        self._name_operation(output, "slice")
        self._note_statement("[]", (tensor, index), {}, [tensor], output)
        return output

    def note(self, fate: Fate, trap: str, what: str) -> None:
        """Say what became of the present node, once."""
        note = Note(self.where, fate, trap, what)
        if note not in self.notes:
            self.notes.append(note)

    def _note_statement(
        self,
        function: str,
        arguments: tuple[Any, ...],
        keywords: dict[str, Any],
        inputs: Any,  # noqa: ANN401
        output: Any,  # noqa: ANN401
        layer: Any = None,  # noqa: ANN401
    ) -> None:
        self.statements.append(
            Statement(function, arguments, keywords, inputs, output, layer, self.place)
        )

    def _unique(self, part: str = "") -> str:
        if part in ("flatten", "reshape") and self.operation in RESHAPES:
            part = ""
        return self.taken("_".join(filter(None, (self.name, part))))

    def taken(self, wanted: str) -> str:
        """A name like this one that no operation has yet; it holds neither dots nor slashes."""
        wanted = re.sub(r"\W", "_", wanted)
        wanted = f"layer_{wanted}" if wanted[:1].isdigit() else wanted
        name, count = wanted, 0
        while name in self._taken:
            count += 1
            name = f"{wanted}_{count}"
        self._taken.add(name)
        return name

    def _name_operation(self, output: Any, part: str) -> None:  # noqa: ANN401
        # keras.ops names its operations by a count of the process.
        named = self.name if self.name.endswith(part) else f"{self.name}_{part}"
        before, self.name = self.name, named
        output._keras_history.operation.name = self._unique()
        self.name = before

    # ---- weights --------------------------------------------------------------------------------

    def _are_frozen(self, weights: Sequence[LayerWeight]) -> bool:
        parameters = [w.weight for w in weights if w.weight.is_parameter]
        frozen = [weight.name for weight in parameters if not weight.is_trainable]
        if frozen and len(frozen) < len(parameters):
            self.note(
                "dropped", "freezing", f"{', '.join(frozen)} was frozen alone; all of it trains now"
            )
            return False
        return bool(frozen)

    def _give_weights(self, layer: Any, weights: Sequence[LayerWeight], frozen: bool) -> None:  # noqa: ANN401
        for one in weights:
            used = [pair.keras for pair in self.weights if pair.torch == one.weight.name]
            if used:
                raise ValueError(f"its {one.weight.name} is in {used[0]} too")
            variable = getattr(layer, one.variable)
            array = one.rearrangement.to_keras(
                one.weight.tensor.detach().cpu().numpy(), tuple(variable.shape)
            )
            variable.assign(np.ascontiguousarray(array))
            trains = one.weight.is_parameter and not frozen
            self.weights.append(
                WeightPair(variable.path, one.weight.name, one.rearrangement, trains)
            )

    # ---- how a tensor lies ----------------------------------------------------------------------

    def arranged(self, value: Value, axes: Sequence[int] | None = None) -> Value:
        """The value with all of its axes, in this order; ``canonical`` without one."""
        axes = canonical(value.rank) if axes is None else tuple(axes)
        value = self.expanded(self.in_order(value))
        present = [axis for axis in axes if axis in value.axes]
        if _of_more(value.axes, value.shape) != _of_more(present, value.shape):
            value = self._permuted(value, present)
        if value.axes == axes:
            return value
        tensor = self._reshape(value.tensor, value.sizes(axes))
        return replace(value, tensor=tensor, axes=axes)

    def in_order(self, value: Value) -> Value:
        """The value with its last axis's elements in torch's order."""
        if value.features is None:
            return value
        sizes, axes = value.features.sizes, value.features.axes
        tensor = self._reshape(value.tensor, (value.shape[0], *sizes))
        tensor = self.layer("Permute", tuple(axis + 1 for axis in axes), on=tensor, part="permute")
        tensor = self._reshape(tensor, value.shape)
        return replace(value, tensor=tensor, features=None)

    def expanded(self, value: Value) -> Value:
        """The value with every axis as long as torch has it."""
        if value.expanded is None:
            return value
        sizes = value.expanded
        value = self.arranged(replace(value, expanded=None))
        times = [int(sizes[axis]) if value.shape[axis] != sizes[axis] else 1 for axis in value.axes]
        if value.rank == 4 and times[0] == times[3] == 1:
            tensor = self.layer("UpSampling2D", tuple(times[1:3]), on=value.tensor, part="expand")
        else:
            tensor = self.op("tile", value.tensor, times, part="expand")
        return replace(value, tensor=tensor, shape=sizes)

    def viewed(self, value: Value, shape: Shape) -> Value:
        """``torch.reshape``: axes are split and joined where they lie, where that can be.

        Raises:
            ValueError: the shapes hold different numbers of elements.
        """
        value = self.expanded(value)
        if value.features is not None and _keeps_axes(value.shape, shape):
            return replace(value, shape=shape, axes=_renumbered(value, shape))
        value = self.in_order(value)
        found = groups(value.shape, shape)
        order = _of_more(value.axes, value.shape)
        if features := _flattened(found, order, value, shape):
            flat = (*value.sizes(order)[:1], math.prod(features.sizes))
            tensor = self._reshape(value.tensor, flat)
            axes = tuple(news[0] for _, news in found)
            return replace(value, tensor=tensor, shape=shape, axes=axes, features=features)
        blocks = sorted(found, key=lambda group: min(order.index(axis) for axis in group[0]))
        wanted = [axis for olds, _ in blocks for axis in olds]
        tensor = value.tensor
        if wanted != order:
            tensor = self._reshape(tensor, value.sizes(order))
            tensor = self._permute(tensor, [order.index(axis) for axis in wanted])
        axes = tuple(axis for _, news in blocks for axis in news)
        if _open(value.sizes(wanted)) != _open(shape[axis] for axis in axes):
            raise ValueError("its sizes follow from the image's")
        tensor = self._reshape(tensor, tuple(shape[axis] for axis in axes))
        return replace(value, tensor=tensor, shape=shape, axes=axes)

    def _permuted(self, value: Value, axes: Sequence[int]) -> Value:
        order = [value.axes.index(axis) for axis in axes]
        return replace(value, tensor=self._permute(value.tensor, order), axes=tuple(axes))

    def _permute(self, tensor: Any, order: Sequence[int]) -> Any:  # noqa: ANN401
        if order[0] == 0:
            return self.layer("Permute", tuple(order[1:]), on=tensor, part="permute")
        return self.op("transpose", tensor, list(order), part="transpose")

    def _reshape(self, tensor: Any, sizes: Shape) -> Any:  # noqa: ANN401
        """Reshape; of a reshaped tensor, what it was before."""
        tensor = self._reshaped.get(id(tensor), tensor)
        target = [size if isinstance(size, int) else -1 for size in sizes]
        if tuple(None if size == -1 else size for size in target) == tuple(tensor.shape):
            return tensor
        if target.count(-1) > 1:
            raise ValueError("two of its sizes follow from the batch's, after a reshape")
        if -1 in target[1:] or math.prod(target[1:]) != math.prod(tensor.shape[1:]):
            # The batch takes part in it, which Keras's layers leave alone.
            output = self.op("reshape", tensor, target)
        elif len(target) == 2:
            output = self.layer("Flatten", on=tensor, part="flatten")
        else:
            output = self.layer("Reshape", tuple(target[1:]), on=tensor, part="reshape")
        self._reshaped[id(output)] = tensor
        return output


def _of_more(axes: Sequence[int], shape: Shape) -> list[int]:
    """Those of more than one element: where the others stand is no question of memory."""
    return [axis for axis in axes if shape[axis] != 1]


def _check_settings(keras: Any) -> None:  # noqa: ANN401 - the module
    """Raise where Keras's settings would have the same calls build another model."""
    layout, policy = keras.config.image_data_format(), keras.config.dtype_policy().name
    for setting, right, found in (
        ("image_data_format", "channels_last", layout),
        ("dtype_policy", "float32", policy),
    ):
        if found != right:
            raise InputError(f"keras.config.{setting}: expected {right!r}, got {found!r}")


def _keeps_axes(old: Shape, new: Shape) -> bool:
    """Whether a reshape only adds or drops axes of size 1."""
    return all(len(olds) == len(news) == 1 for olds, news in groups(old, new))


def _renumbered(value: Value, shape: Shape) -> tuple[int, ...]:
    """The axes of a value after axes of size 1 have come or gone."""
    now = {olds[0]: news[0] for olds, news in groups(value.shape, shape)}
    return tuple(now[axis] for axis in value.axes if axis in now)


def _flattened(found: Any, order: list[int], value: Value, shape: Shape) -> Features | None:  # noqa: ANN401
    """The order of a flattened axis, where images become rows of features in another order."""
    if len(found) != 2 or found[0] != ([0], [0]) or len(found[1][1]) != 1 or order[0] != 0:
        return None
    joined = found[1][0]
    if order[1:] == joined:
        return None
    sizes = tuple(int(value.shape[axis]) for axis in order[1:])
    return Features(sizes, tuple(order[1:].index(axis) for axis in joined))


def _open(sizes: Iterable[Size]) -> list[Size]:
    """Those that are not known, where there are several: of one, Keras finds the number."""
    found = [size for size in sizes if not isinstance(size, int)]
    return found if len(found) > 1 else []


def _check_numbers(*values: Any) -> None:
    """Raise where a layer would be built with a number that only a call decides.

    Raises:
        ValueError: there is one.
    """
    for value in values:
        if isinstance(value, list | tuple):
            _check_numbers(*value)
        elif isinstance(value, dict):
            _check_numbers(*value.values())
        elif isinstance(value, slice):
            _check_numbers(value.start, value.stop, value.step)
        elif isinstance(value, fx.Node | sympy.Basic | torch.SymInt | torch.SymFloat):
            raise ValueError("it needs a number that follows from the input's size")


def _is_symbolic(value: object) -> bool:
    return hasattr(value, "_keras_history")


def _without_defaults(cls: Any, keywords: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    defaults = inspect.signature(cls).parameters
    return {
        name: value
        for name, value in keywords.items()
        if name not in defaults or not _is_default(value, defaults[name].default)
    }


def _is_default(value: Any, default: Any) -> bool:  # noqa: ANN401
    """Whether they are equal, one number standing for one per axis."""
    pair = isinstance(default, tuple) and isinstance(value, int)
    return bool(default == ((value,) * len(default) if pair else value))
