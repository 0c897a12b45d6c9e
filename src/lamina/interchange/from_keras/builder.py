"""The torch side as it grows: a graph, its modules, and what pairs with what."""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from lamina.errors import InputError
from lamina.interchange.crossing import Fate, Note, Pair, Rearrangement, WeightPair
from lamina.interchange.from_keras.constructor import Constructor, Flavour
from lamina.interchange.from_keras.value import IMAGE, Value, inverse

__all__ = ["Builder"]

Variable = Any
"""A Keras variable; Keras has no types."""

_TAKEN = frozenset(dir(fx.GraphModule)) | {"training", "graph", "code", "meta"}


class Builder:
    """Collects a graph and its modules.

    Attributes:
        flavour: whose layers the modules are.
        graph: the graph, in the order of execution.
        root: holds the modules.
        constructors: how every module was made, by its attribute's name.
        constants: the shape of every buffer that no module holds, by its name.
        pairs: places that must hold the same numbers.
        notes: what changed its form.
    """

    def __init__(self, flavour: Flavour) -> None:
        self.flavour = flavour
        self.graph = fx.Graph()
        self.root = torch.nn.Module()
        self.constructors: dict[str, Constructor] = {}
        self.constants: dict[str, tuple[int, ...]] = {}
        self.pairs: list[Pair] = []
        self.notes: dict[Note, None] = {}
        self._names: dict[tuple[str, str], str] = {}
        self._arranged: dict[tuple[fx.Node, tuple[int, ...]], fx.Node] = {}
        self._calls: dict[str, int] = {}
        self._weights: dict[str, tuple[Variable, WeightPair]] = {}
        # Where an operation was first seen; it is kept, so that its id stays its own.
        self._first: dict[int, tuple[str, object]] = {}
        self._shared: dict[str, str] = {}  # that by every path
        self._made_of: dict[str, str] = {}  # the torch module that a layer was made of, by its path
        self._pairs = True

    def input(self, name: str, shape: Sequence[int | None], axes: tuple[int, ...]) -> Value:
        """An argument of the model."""
        return Value(self.graph.placeholder(identifier(name)), tuple(shape), axes)

    def settle(self, operation: object, path: str) -> None:
        """Give an operation its attribute's name: that of the first path that it has."""
        self._shared[path] = self._first.setdefault(id(operation), (path, operation))[0]
        made_of = getattr(operation, "torch_name", "")
        if made_of and _TAKEN.isdisjoint(made_of.split(".")):
            self._made_of[path] = made_of
        self.attribute(path)

    def attribute(self, path: str, part: str = "") -> str:
        """The attribute's name of a layer, or of one of the modules that it became.

        Args:
            path: the layer's, with a slash after every model that it lies in.
            part: an end that tells its modules apart, such as ".depthwise" or "_pad".
        """
        path = self._shared.get(path, path)
        if (path, part) not in self._names:
            made_of = self._made_of.get(path)
            own = made_of or ".".join(_free(identifier(one)) for one in path.split("/"))
            wanted = own + part
            while wanted in self._names.values():
                wanted += "_"
            if not part and wanted != (made_of or path.replace("/", ".")):
                self.note(path, "changed", "name", f"its attribute is called {wanted}")
            self._names[path, part] = wanted
        return self._names[path, part]

    def module(self, target: str, made_by: Constructor) -> torch.nn.Module:
        """The module of an attribute; made, where it is the first call."""
        if target in self.constructors:
            if self.constructors[target] != made_by:
                raise InputError(
                    f"layer {target!r} cannot cross: its calls need different modules, "
                    f"{self.constructors[target]} and {made_by}"
                )
            return self.root.get_submodule(target)
        *containers, name = target.split(".")
        place = self._container(containers)
        module = made_by.module(self.flavour)
        place.add_module(name, module)
        self.constructors[target] = made_by
        return module

    def constant(self, name: str, value: torch.Tensor) -> None:
        """Numbers that are no weight, as a buffer."""
        *containers, entry = name.split(".")
        self._container(containers).register_buffer(entry, value)
        self.constants[name] = tuple(value.shape)

    def _container(self, names: Sequence[str]) -> torch.nn.Module:
        place = self.root
        for name in names:
            if not hasattr(place, name):
                place.add_module(name, torch.nn.Module())
            place = getattr(place, name)
        return place

    def arranged(self, value: Value, axes: tuple[int, ...]) -> Value:
        """The value with torch's axes as asked for; permuted where they are others."""
        if value.axes == axes:
            return value
        key = value.node, tuple(value.axes[i] for i in inverse(axes))
        if key not in self._arranged:
            self._arranged[key] = self.graph.call_method("permute", (value.node, *key[1]))
        return replace(value, node=self._arranged[key], axes=axes)

    def weight(self, variable: Variable, target: str, how: Rearrangement) -> None:
        """Copy a variable into an entry of the state_dict, and remember the two."""
        if target in self._weights:
            if self._weights[target][1].rearrangement != how:
                raise InputError(
                    f"layer {variable.path!r} cannot cross: its calls read their inputs in "
                    "different orders"
                )
            return
        value = variable.value.detach().cpu()
        array = (value.float() if value.is_floating_point() else value).numpy()
        module, _, entry = target.rpartition(".")
        tensor: torch.Tensor = getattr(self.root.get_submodule(module), entry)
        with torch.no_grad():
            tensor.copy_(torch.from_numpy(how.to_torch(array).copy()))
        trainable = bool(variable.trainable)
        if isinstance(tensor, torch.nn.Parameter):
            tensor.requires_grad_(trainable)
        pair = WeightPair(variable.path, target, how, trainable)
        self._weights[target] = variable, pair

    def weights(self, order: Sequence[Variable]) -> list[WeightPair]:
        """The weights that crossed, in the order that the Keras model has them in."""
        places = {id(variable): place for place, variable in enumerate(order)}
        crossed = sorted(self._weights.values(), key=lambda one: places[id(one[0])])
        return [pair for _, pair in crossed]

    def note(self, layer: str, fate: Fate, trap: str, what: str) -> None:
        """Tell the reader of something, once."""
        self.notes[Note(layer, fate, trap, what)] = None

    def pair(self, path: str, value: Value) -> None:
        """An operation has been called and gave this."""
        call = self._calls.get(path, 0)
        self._calls[path] = call + 1
        if self._pairs and value.order is None and value.border == (0, 0):
            axes = None if value.is_natural else value.axes
            self.pairs.append(Pair(path, call, value.node.name, axes, path))

    @contextmanager
    def unpaired(self) -> Iterator[None]:
        """Within it, calls are not paired."""
        before, self._pairs = self._pairs, False
        try:
            yield
        finally:
            self._pairs = before

    def result(self, value: Value) -> Value:
        """An output of the model: an image in torch's order of axes, else in Keras's."""
        natural = tuple(range(value.rank))
        return value if value.axes == IMAGE else self.arranged(value, natural)


def identifier(name: str) -> str:
    """A name as Python can have it.

    Example:
        >>> identifier("conv-1"), identifier("1x1"), identifier("lambda")
        ('conv_1', '_1x1', 'lambda_')
    """
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    if not name or name[0].isdigit():
        name = f"_{name}"
    return f"{name}_" if keyword.iskeyword(name) else name


def _free(name: str) -> str:
    """The name, or another where every module has an attribute that is called so."""
    return f"{name}_" if name in _TAKEN else name
