"""Which module's output goes to which module: the model's forward, traced by torch.fx.

A copy is traced that shares the parameters alone, in training and in evaluation and for each value
of its optional switches, so that the model keeps nothing of it and no branch is missed. A part that
cannot be traced counts as a layer for the parts around it, whose graphs then show what it is given
and what becomes of its output; its own children are traced one by one.
"""

from __future__ import annotations

import copy
import inspect
import itertools
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch.fx import Graph, Node, Tracer

from lamina.optimiser.exchange import EXCHANGES

_MOST_TRACES = 16

_CONTAINERS = (torch.nn.Sequential, torch.nn.ModuleList, torch.nn.ModuleDict)

_WRAPPERS = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
"""They run the module inside as a whole."""

_UNKNOWN = object()
"""The value of an argument that the tracer stands in for."""


@dataclass
class Calls:
    """Every call of a module in the traced graphs, by the module's name.

    Args:
        graphs: for each module, its calls in each graph that calls it.
        failures: modules whose forward could not be traced, and why.
        exposed: layers that a forward which was not traced may call too: its own, those of a
            Sequential of its own, which it may run one by one, and those inside another layer.
    """

    graphs: dict[str, list[list[Node]]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    exposed: set[str] = field(default_factory=set)

    def times(self, name: str) -> int:
        """The most calls of a module in one pass; parts traced apart may run in one pass."""
        most: dict[str, int] = {}
        for nodes in self.graphs.get(name, []):
            part = nodes[0].meta["part"]
            most[part] = max(most.get(part, 0), len(nodes))
        return sum(most.values())


def calls_of(model: torch.nn.Module) -> Calls:
    """Trace ``model``, or the largest parts of it that can be traced."""
    calls = Calls()
    try:
        twin = copy.deepcopy(model, {id(parameter): parameter for parameter in model.parameters()})
    except Exception as error:
        calls.failures[""] = f"the model cannot be copied: {_brief(error)}"
        return calls
    with torch.random.fork_rng(devices=[]):
        _Tracing(twin, calls).record(twin)
    return calls


def sole_user(node: Node) -> Node | None:
    """The one node that takes ``node``'s output, as its first and only argument; else None."""
    if len(node.users) != 1:
        return None
    (user,) = node.users
    return user if user.args[:1] == (node,) and len(user.all_input_nodes) == 1 else None


def called_module(node: Node) -> str | None:
    """The name of the module that ``node`` calls; None for a function or a method."""
    name: str | None = node.meta.get("module")
    return name


def input_of(node: Node) -> str | None:
    """The name of the module whose output ``node`` takes first; None for anything else."""
    source = node.args[0] if node.args else None
    return called_module(source) if isinstance(source, Node) else None


class _Tracing:
    """The graphs of one model's parts, each traced once."""

    def __init__(self, model: torch.nn.Module, calls: Calls) -> None:
        self.calls = calls
        self.names = {id(module): name for name, module in model.named_modules()}
        self.graphs: dict[int, list[Graph] | None] = {}
        for module in filter(_is_layer, model.modules()):
            inside = {self.names[id(inner)] for inner in module.modules()}
            calls.exposed |= inside - {self.names[id(module)]}

    def record(self, part: torch.nn.Module) -> None:
        """Note every call in ``part``, or in what it is made of where it cannot be traced."""
        for graph in self.trace(part) or ():
            here: dict[str, list[Node]] = {}
            for node in graph.nodes:
                if node.op == "call_module":
                    name = self.names[id(part.get_submodule(str(node.target)))]
                    node.meta.update(module=name, part=self.names[id(part)])
                    here.setdefault(name, []).append(node)
            for name, nodes in here.items():
                self.calls.graphs.setdefault(name, []).append(nodes)

    def trace(self, part: torch.nn.Module) -> list[Graph] | None:
        """The graphs of ``part``; None where there are none, its children being recorded then."""
        if id(part) not in self.graphs:
            self.graphs[id(part)] = None  # opaque until it is traced
            if not isinstance(part, (torch.nn.ModuleList, torch.nn.ModuleDict, *_WRAPPERS)):
                self.graphs[id(part)] = self._attempt(part)
            if isinstance(part, _WRAPPERS):
                self.record(part.module)
            elif self.graphs[id(part)] is None:
                self._take_apart(part)
        return self.graphs[id(part)]

    def _attempt(self, part: torch.nn.Module) -> list[Graph] | None:
        try:
            return list(self._variants(part))
        except Exception:  # of a part of it, perhaps, which then becomes opaque
            for child in part.children():
                if not _is_layer(child):
                    self.trace(child)
        try:
            return list(self._variants(part))
        except Exception as error:
            self.calls.failures[self.names[id(part)]] = _brief(error)
            return None

    def _take_apart(self, part: torch.nn.Module) -> None:
        for child in part.children():
            self.calls.exposed.add(self.names[id(child)])
            if isinstance(child, torch.nn.Sequential):
                self.calls.exposed |= {self.names[id(layer)] for layer in child}
            if next(child.children(), None) is not None:
                self.record(child)

    def _variants(self, part: torch.nn.Module) -> Iterator[Graph]:
        opaque = {key for key, graphs in self.graphs.items() if graphs is None} - {id(part)}
        choices = [
            [(name, value) for value in values]
            for name, parameter in inspect.signature(part.forward).parameters.items()
            if (values := _switch_values(parameter.default))
        ]
        settings = list(itertools.islice(itertools.product(*choices), _MOST_TRACES + 1))
        if len(settings) > _MOST_TRACES:
            raise ValueError(f"its forward has more than {_MOST_TRACES} combinations of switches")
        for training, setting in itertools.product((True, False), settings):
            part.train(training)
            concrete = {name: value for name, value in setting if value is not _UNKNOWN}
            yield _LayerTracer(opaque).trace(part, concrete_args=concrete or None)


class _LayerTracer(Tracer):
    """Looks into the user's modules and not into layers, nor into what cannot be traced."""

    def __init__(self, opaque: set[int]) -> None:
        super().__init__()
        self.opaque = opaque

    def is_leaf_module(self, m: torch.nn.Module, module_qualified_name: str) -> bool:
        return _is_layer(m) or id(m) in self.opaque


def _is_layer(module: torch.nn.Module) -> bool:
    if isinstance(module, (*_CONTAINERS, *_WRAPPERS)):
        return False
    place = type(module).__module__
    return place.startswith(("torch.", "lamina.nn.", "lamina.optimiser.")) or isinstance(
        module, tuple(EXCHANGES)
    )


def _switch_values(default: object) -> tuple[object, ...]:
    """The values of an optional argument that a forward may ask about; () to stand in for it."""
    if isinstance(default, bool):
        return True, False
    return (None, _UNKNOWN) if default is None else ()


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines() or [""]
    return f"{type(error).__name__}: {lines[0]}"
