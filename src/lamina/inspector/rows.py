"""From a trace to rows: which call is a row, what it is, and which parameters are its own."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import get_args

from torch import nn

from lamina.dialects import is_keras
from lamina.inspector.count.complexity import complexity_of
from lamina.inspector.count.facts import adaptive
from lamina.inspector.count.formulas import Status
from lamina.inspector.roles import describe_roles
from lamina.inspector.trace.dialect import has_channels_last, state_of
from lamina.inspector.trace.recorder import Entry
from lamina.inspector.trace.records import Shapes, Trace
from lamina.report.records import Row, Totals
from lamina.theory.cost import Cost

__all__ = [
    "ACTIVATIONS",
    "LIBRARIES",
    "build_rows",
    "operators_of",
    "sealed_names",
    "snake",
    "totals_of",
]

# Their forward is one layer to the reader, however many functions it calls.
LIBRARIES = (
    "torch.nn.",
    "torch.ao.",
    "lamina.nn.",
    "lamina.layers.",
    "keras.",
    "torchvision.ops.",
)


def _calls_modules(entry: Entry) -> bool:
    return any(below.module is not None for below in entry.walk() if below is not entry)


def _is_layer(entry: Entry, trace: Trace) -> bool:
    """Whether a module's call is one row with all that its forward did."""
    if entry.module is None or _calls_modules(entry):
        return False
    if type(entry.module).__module__.startswith(LIBRARIES):
        return True
    return sum(bool(trace.forward.get(child)) for child in entry.children) == 1


def sealed_names(trace: Trace) -> list[str]:
    """Names of the modules whose calls are one row each."""
    return [e.name for e in trace.root.walk() if e.module is not None and _is_layer(e, trace)]


def _groups(trace: Trace) -> Iterator[tuple[Entry, int, list[Entry]]]:
    """Every call that is a row, how deep it is, and the calls whose books it takes over."""

    def visit(entry: Entry, depth: int) -> Iterator[tuple[Entry, int, list[Entry]]]:
        if entry.module is None and not trace.ran.get(entry) and not entry.children:
            return  # a question such as x.dim()
        if _is_layer(entry, trace):
            yield entry, depth, list(entry.walk())
            return
        yield entry, depth, [entry]
        for child in entry.children:
            yield from visit(child, depth + 1)

    yield from visit(trace.root, 0)


def snake(name: str) -> str:
    """A class's name in lower case, words apart.

    >>> snake("BatchNorm2d"), snake("LSTMCell")
    ('batch_norm2d', 'lstm_cell')
    """
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


_KINDS = {
    "linear": "dense",
    "batch_normalization": "batch_norm2d",
    "multihead_attention": "attention",
}
_ACTIVATIONS_TEXT = """
activation elu gelu hardsigmoid hardsilu hardswish hardtanh leakyrelu logsoftmax mish prelu relu
relu6 sigmoid silu softmax softplus swish tanh
"""
ACTIVATIONS = frozenset(_ACTIVATIONS_TEXT.split())


def _kind(entry: Entry, taken: list[Entry], trace: Trace, has_rows_below: bool) -> tuple[str, str]:
    """Kind and settings of a row."""
    facts = [fact for member in taken for fact in trace.facts.get(member, [])]
    name = snake(type(entry.module).__name__) if entry.module else entry.name.rpartition(".")[2]
    if has_rows_below:
        return "container", ""
    if name.replace("_", "") in ACTIVATIONS:
        return "activation", name.replace("_", "")
    if len(facts) == 1 and name.startswith("adaptive_"):  # an operator may slide what it works out
        return adaptive(name.removeprefix("adaptive_"), facts[0].output_shape[-2:])
    if len(facts) == 1:  # several are a layer of its own kind, such as a recurrence
        return facts[0].kind, facts[0].settings
    if entry.module and not type(entry.module).__module__.startswith(LIBRARIES):
        name = next((e.name.rpartition(".")[2] for e in taken[1:] if trace.forward.get(e)), name)
    return _KINDS.get(name, name), ""


def build_rows(model: nn.Module, trace: Trace) -> list[Row]:
    """The rows of a traced model, in the order of their calls; modules never called come last."""
    groups = list(_groups(trace))
    calls = Counter(entry.name for entry, _, _ in groups)
    index = {entry: position for position, (entry, _, _) in enumerate(groups)}
    belongs = {member: position for position, (_, _, taken) in enumerate(groups)
               for member in taken}  # fmt: skip
    parents = {entry.parent for entry, _, _ in groups}
    rows = []
    for position, (entry, depth, taken) in enumerate(groups):
        shapes = trace.shapes.get(entry, Shapes([], [], None, []))
        kind, settings = _kind(entry, taken, trace, entry in parents)
        own = entry.name or type(model).__name__
        first = shapes.outputs[0] if shapes.outputs else None
        field = shapes.receptive_field
        module = type(entry.module) if entry.module is not None else None
        rows.append(
            Row(
                name=entry.name,
                call=entry.call,
                label=f"{own}#{entry.call}" if calls[entry.name] > 1 else own,
                kind=kind,
                type=f"{module.__module__}.{module.__qualname__}" if module else "function",
                depth=depth,
                parent=index.get(entry.parent) if entry.parent else None,
                sources=_sources(position, taken, trace, belongs),
                settings=settings,
                input_shapes=[info.shape for info in shapes.inputs],
                output_shapes=[info.shape for info in shapes.outputs],
                dtype=first.dtype if first else "",
                layout=first.layout if first else "",
                channels_last=_has_channels_last(entry),
                receptive_field=field.size if field else None,
                stride=field.stride if field else None,
                offset=field.offset if field else None,
                forward=sum((trace.forward[e] for e in taken if e in trace.forward), Cost()),
                backward=sum((trace.backward[e] for e in taken if e in trace.backward), Cost()),
                saved_bytes=sum(trace.saved.get(e, 0) for e in taken),
                uncounted=sorted({op for e in taken for op in trace.uncounted.get(e, ())}),
            )
        )
    _give_parameters(model, trace, groups, rows)
    facts = [[f for e in taken for f in trace.facts.get(e, [])] for _, _, taken in groups]
    describe_roles(rows, facts, trace.training)
    for row in rows:
        row.complexity = complexity_of(row.kind, trace.training)
    return rows


def _has_channels_last(entry: Entry) -> bool:
    """Of a call's images: the Keras model says so that the call is inside of, or is."""
    layer, outermost = entry.module, None
    above: Entry | None = entry
    while above is not None:
        if above.module is not None and is_keras(above.module):
            outermost = above.module
        above = above.parent
    if outermost is None:
        return False
    says = layer is not None and getattr(layer, "data_format", None) is not None
    return has_channels_last(layer if says and layer is not None else outermost)


def _sources(
    position: int, taken: list[Entry], trace: Trace, belongs: dict[Entry, int]
) -> list[int]:
    """The rows whose results come into any of the calls that make up a row."""
    makers = {belongs.get(maker) for entry in taken for maker in trace.sources.get(entry, [])}
    return sorted(maker for maker in makers if maker is not None and maker != position)


def _give_parameters(
    model: nn.Module, trace: Trace, groups: list[tuple[Entry, int, list[Entry]]], rows: list[Row]
) -> None:
    """Put every parameter and buffer into exactly one row: where it was used first."""
    called: dict[str, int] = {}
    users: dict[int, int] = {}
    layers: set[str] = set()
    for position, (entry, _, taken) in enumerate(groups):
        if entry.module is not None:
            called.setdefault(entry.name, position)
            if len(taken) > 1:
                layers.add(entry.name)
        elif entry in trace.shapes:
            for identity in trace.shapes[entry].parameters:
                users.setdefault(identity, position)

    def place(owner: str, module: nn.Module, identity: int) -> int:
        if owner in layers:
            return called[owner]
        if identity in users:
            return users[identity]
        if owner in called:
            return called[owner]
        above = owner
        while above:
            above = above.rpartition(".")[0]
            if above in layers:  # a part of a layer, such as attention's output projection
                return called[above]
        kind = type(module)
        rows.append(
            Row(owner, None, owner, snake(kind.__name__),
                f"{kind.__module__}.{kind.__qualname__}", owner.count(".") + 1, None,
                role="never called for this input")
        )  # fmt: skip
        called[owner] = len(rows) - 1
        return called[owner]

    for owner, module, tensor, part in state_of(model):
        row = rows[place(owner, module, id(tensor))]
        if part == "buffer":
            row.buffers += tensor.numel()
        elif tensor.requires_grad:
            row.parameters += tensor.numel()
        else:
            row.frozen += tensor.numel()


def totals_of(rows: list[Row], trace: Trace) -> Totals:
    """The sums over the rows."""
    uncounted: Counter[str] = Counter()
    for (_, status, operator), count in trace.operators.items():
        if status == "uncounted":
            uncounted[operator] += count
    return Totals(
        parameters=sum(row.parameters for row in rows),
        frozen=sum(row.frozen for row in rows),
        buffers=sum(row.buffers for row in rows),
        forward=sum((row.forward for row in rows), Cost()),
        backward=sum((row.backward for row in rows), Cost()),
        saved_bytes=sum(row.saved_bytes for row in rows),
        peak_inference=trace.peak_inference,
        peak_training=trace.peak_training,
        uncounted=dict(uncounted),
    )


def operators_of(trace: Trace) -> dict[str, dict[str, int]]:
    """Every operator seen, under what was done with it: costed, free or uncounted."""
    books: dict[str, Counter[str]] = {s: Counter() for s in get_args(Status)}
    for (_, status, operator), count in trace.operators.items():
        books[status][operator] += count
    return {status: dict(sorted(counts.items())) for status, counts in books.items()}
