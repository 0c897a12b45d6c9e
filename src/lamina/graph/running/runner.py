"""A compiled graph at run time: from the second call on without Python between its kernels.

Where no gradient is asked for, the same shapes bring the same kernels' calls in the same order. So
a graph that is called a second time with the shapes of an earlier call writes its calls down while
it runs, and from then on stretches of it run as one native call each; what PyTorch's ops compute
stands between the stretches.
"""

from __future__ import annotations

import operator
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.node import map_arg

from lamina.graph import report
from lamina.graph.running import contest
from lamina.graph.running.stretch import Member, Stretch, stretch_of
from lamina.ops.runtime import native
from lamina.ops.runtime.recording import Memories, Memory, Recorder
from lamina.ops.runtime.torch_private import is_static

__all__ = ["Runner"]

_SHAPES = 16  # whose calls a graph remembers; the oldest go first


class Runner:
    """Calls a graph that no gradient is asked of.

    Args:
        module: the graph, rewritten.
        record: of the report, where it is written how many of the calls are native.
    """

    def __init__(self, module: GraphModule, record: report.Graph) -> None:
        self.module = module
        self.record = record
        places = [node for node in module.graph.nodes if node.op == "placeholder"]
        self._varying = [at for at, node in enumerate(places) if not is_static(node)]
        self._known: OrderedDict[Any, Callable[..., Any] | None] = OrderedDict()

    def __call__(self, *inputs: Any) -> Any:
        """What the graph computes."""
        varying = [inputs[at] for at in self._varying]
        if not (_are_known(varying) and native.runs_directly(tuple(varying))):
            return self.module.forward(*inputs)
        with native.kernels_for_small():
            return self._call(inputs, varying)

    def _call(self, inputs: Sequence[Any], varying: Sequence[Any]) -> Any:
        key = (*contest.conditions(), *map(_description, varying))
        run = self._known.get(key)
        if run is not None:
            return run(*inputs)
        if key not in self._known:  # chooses the algorithms that are recorded next time
            self._remember(key, None)
            return self.module.forward(*inputs)
        results, run = _recorded(self.module, inputs, self.record)
        self._remember(key, run)
        return results

    def _remember(self, key: Any, run: Callable[..., Any] | None) -> None:
        self._known[key] = run
        while len(self._known) > _SHAPES:
            self._known.popitem(last=False)


def _are_known(values: Sequence[Any]) -> bool:
    """Whether `_description` says all that a graph's calls may depend on."""
    return all(isinstance(value, Tensor | int | float) for value in values)


def _description(value: Any) -> Any:
    """What a graph's calls may depend on: a tensor's sizes, a number's value."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device
    return type(value), value


# ---- recording ----------------------------------------------------------------------------------


def _recorded(
    module: GraphModule, inputs: Sequence[Any], record: report.Graph
) -> tuple[Any, Callable[..., Any]]:
    """The results, and a function of inputs like these that computes them again."""
    values: dict[Node, Any] = {}
    members: dict[Node, Member] = {}
    results = _run(module, inputs, values, members)
    run: Callable[..., Any] = module.forward
    if not _overlap(values, module):
        stretches = list(_stretches(module, values, members))
        if stretches:
            run = _with(stretches, module)
            record.native = sum(
                bool(members[node].calls) for nodes, _ in stretches for node in nodes
            )
    return results, run


def _run(
    module: GraphModule, inputs: Sequence[Any], values: dict[Node, Any], members: dict[Node, Member]
) -> Any:
    """Runs the nodes one by one, and finds out which of them kernels computed alone."""
    recorder, given = Recorder(), iter(inputs)
    for node in module.graph.nodes:
        if node.op == "placeholder":
            values[node] = next(given)
        elif node.op == "output":
            return map_arg(node.args[0], values.__getitem__)
        else:
            before = len(recorder.allocated)
            value, calls = recorder.record(partial(_result, module, node, values))
            values[node] = value
            if calls is not None and isinstance(value, Tensor) and _reads_tensors(node, values):
                allocated = tuple(recorder.allocated[before:])
                members[node] = Member(node, value, calls, allocated)
    raise AssertionError("a graph ends with its output")


def _result(module: GraphModule, node: Node, values: dict[Node, Any]) -> Any:
    args, kwargs = map_arg((node.args, node.kwargs), values.__getitem__)
    if node.op == "get_attr":
        return operator.attrgetter(str(node.target))(module)
    if node.op == "call_method":
        return getattr(args[0], str(node.target))(*args[1:], **kwargs)
    if node.op == "call_module":
        return module.get_submodule(str(node.target))(*args, **kwargs)
    return node.target(*args, **kwargs)  # type: ignore[operator]


def _reads_tensors(node: Node, values: dict[Node, Any]) -> bool:
    """Whether all that a node reads are tensors and numbers, and one is a tensor at least."""
    read = [values[n] for n in node.all_input_nodes]
    tensors = [value for value in read if isinstance(value, Tensor)]
    rest = [value for value in read if not isinstance(value, Tensor | int | float)]
    return bool(tensors) and not rest


def _overlap(values: dict[Node, Any], module: GraphModule) -> bool:
    """Whether inputs share memory: in another call the same tensors may not."""
    places = [node for node in module.graph.nodes if node.op == "placeholder"]
    tensors = [values[node] for node in places if isinstance(values[node], Tensor)]
    try:
        Memories(Memory.of(tensor, None) for tensor in tensors)
    except ValueError:
        return True
    return False


def _stretches(
    module: GraphModule, values: dict[Node, Any], members: dict[Node, Member]
) -> Iterator[tuple[list[Node], Stretch]]:
    guarded = {node for node in module.graph.nodes if node.op == "placeholder"}
    together: list[Node] = []
    for node in module.graph.nodes:
        if node in members:
            together.append(node)
            continue
        is_number = isinstance(values.get(node), int | float) and node.op != "placeholder"
        if node.op == "placeholder" or (
            is_number and not set(node.all_input_nodes) & set(together)
        ):
            continue  # wherever it stands
        if any(members[n].calls for n in together):
            stretch = stretch_of(module, [members[n] for n in together], values, guarded)
            if stretch is not None:
                yield together, stretch
        together = []


def _with(
    stretches: Sequence[tuple[list[Node], Stretch]], module: GraphModule
) -> Callable[..., Any]:
    """The graph's code with each stretch as one call."""
    graph = Graph()
    copies: dict[Node, Node] = {}
    last = {nodes[-1]: (nodes, stretch) for nodes, stretch in stretches}
    inside = {node for nodes, _ in stretches for node in nodes}
    for node in module.graph.nodes:
        if node not in inside:
            copies[node] = graph.node_copy(node, copies.__getitem__)
        elif node in last:
            _, stretch = last[node]
            inputs = tuple(copies[n] for n in stretch.inputs)
            call = graph.call_function(_named(stretch), inputs)
            for at, output in enumerate(stretch.outputs):
                copies[output] = graph.call_function(operator.getitem, (call, at))
    graph.lint()
    return GraphModule(module, graph).forward


def _named(stretch: Stretch) -> Callable[..., Any]:
    """A function, which is what a graph's code calls."""

    def native_calls(*tensors: Tensor) -> tuple[Tensor, ...]:
        return stretch(*tensors)

    return native_calls
