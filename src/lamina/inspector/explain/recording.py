"""One image run through a model for real: every operator that it meets, with its numbers.

The rows of the inspector say which calls are layers. A run under the same recorder then shows what
each of them computed: an operator's operands are copied before it runs, because what follows may
overwrite them in place. Only what depends on the image is kept; the rest are weights.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from lamina.inspector.count.formulas import cost_of
from lamina.inspector.count.operators import Operator, Value
from lamina.inspector.receptive.field import Fields, ReceptiveField
from lamina.inspector.receptive.rules import record as carry_fields
from lamina.inspector.trace.dialect import modules_of
from lamina.inspector.trace.recorder import Entry, Recorder, tensors_in
from lamina.ops.runtime.torch_private import (
    TorchDispatchMode,
    TorchFunctionDisabled,
    is_compiled,
    tree_map,
    uncompile,
)
from lamina.report.records import Row
from lamina.theory.cost import Cost

__all__ = ["Recording", "Step", "Visit", "record_run"]


@dataclass(eq=False)
class Step:
    """One operator that the image's numbers went through.

    Args:
        operator: its name, such as ``"aten.convolution"``; ``"identity"`` where a layer ran none.
        args: its arguments by position, tensors copied as they were.
        makers: of each tensor among the arguments, in their order, the step that made it; None of
            what does not depend on the image.
        result: a copy of its first result.
        moves: whether it computes nothing: a view, a copy, a padding, a joining.
        cost: arithmetic and traffic.
        reach: what a position of the result sees of the image.
        packet: the operator itself; None of ``"identity"``.
        kwargs: its arguments by name; no tensors.
    """

    operator: str
    args: tuple[Any, ...]
    makers: list[Step | None]
    result: Tensor
    moves: bool
    cost: Cost
    reach: ReceptiveField | None
    packet: Operator | None = None
    kwargs: dict[str, Any] = field(default_factory=dict)

    @property
    def operands(self) -> list[Tensor]:
        """The tensors among the arguments."""
        return tensors_in(self.args)


@dataclass(eq=False)
class Visit:
    """A call that is a layer, and the operators that it ran on the image's numbers.

    Args:
        row: what the inspector says of the call.
        module: the module called; None of a function.
        steps: in their order.
    """

    row: Row
    module: nn.Module | None
    steps: list[Step] = field(default_factory=list)


@dataclass
class Recording:
    """What a run did.

    Args:
        start: stands for the image; its result is the model's input.
        visits: the layers that it went through, in the order of their calls.
        output: what the model returned.
        last: the step that made it.
        leaf: the input that the output can be differentiated by.
    """

    start: Step
    visits: list[Visit]
    output: object
    last: Step | None
    leaf: Tensor


class _Watching(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes each operator under the row whose call runs it."""

    def __init__(self, recorder: Recorder, rows: dict[tuple[str, int], Row]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.recorder, self.rows = recorder, rows
        self.visits: dict[tuple[str, int], Visit] = {}
        self.makers: Any = WeakTensorKeyDictionary()
        self.copies: Any = WeakTensorKeyDictionary()
        self.fields = Fields()

    def start(self, image: Tensor) -> Step:
        """Take a tensor as the image."""
        self.fields.start(image)
        step = Step("input", (), [], self._copied(image), True, Cost(), None)
        self.makers[image] = step
        return step

    def __torch_dispatch__(
        self,
        func: Operator,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> object:
        kwargs = kwargs or {}
        with TorchFunctionDisabled():
            makers = [self.makers.get(tensor) for tensor in tensors_in(args)]
            if not any(makers):
                return func(*args, **kwargs)
            if func is torch.ops.aten.detach.default:  # also what autograd saves for itself
                return self._passed_on(args[0], func(*args))
            before = tree_map(self._copied, args)
            out = func(*args, **kwargs)
            results = tensors_in(out)
            if results and func.namespace != "prim":
                carry_fields(self.fields, func, args, kwargs, results)
                self._note(func, before, kwargs, makers, args, out, results)
            return out

    def _note(
        self,
        func: Operator,
        before: tuple[Any, ...],
        kwargs: dict[str, Any],
        makers: list[Step | None],
        args: tuple[Any, ...],
        out: object,
        results: list[Tensor],
    ) -> None:
        status, cost = cost_of(func, args, out)
        if any(results[0] is tensor for tensor in tensors_in(args)):
            self.copies.pop(results[0], None)  # written in place; its version is counted later
        step = Step(
            str(func.overloadpacket),
            before,
            makers,
            self._copied(results[0]),
            status == "free" or func is torch.ops.aten.clone.default,
            cost,
            self.fields.of(results[0]),
            func,
            kwargs,
        )
        visit = self.visit(self.recorder.current)
        if visit is not None:
            visit.steps.append(step)
        elif step.moves:  # between the layers: what was moved is still whose it was
            step = next(maker for maker in makers if maker is not None)
        for result in results:
            self.makers[result] = step

    def _passed_on(self, tensor: Tensor, result: Tensor) -> Tensor:
        """The same numbers under another name."""
        self.makers[result] = self.makers[tensor]
        field = self.fields.get(tensor)
        if field is not None:
            self.fields.set(result, field)
        return result

    def visit(self, entry: Entry | None) -> Visit | None:
        """The visit of the layer that a call is, or is inside of."""
        while entry is not None and entry.key not in self.rows:
            entry = entry.parent
        if entry is None:
            return None
        if entry.key not in self.visits:
            self.visits[entry.key] = Visit(self.rows[entry.key], entry.module)
        return self.visits[entry.key]

    def closed(self, entry: Entry, inputs: list[Tensor], outputs: list[Tensor]) -> None:
        """Note a layer that only passed its input on, as dropout does outside of training."""
        if entry.key not in self.rows or entry.key in self.visits or entry.module is None:
            return
        known = [self.makers.get(tensor) for tensor in inputs]
        passes_on = any(tensor is outputs[0] for tensor in inputs) if outputs else False
        if not passes_on or not any(known) or self.rows[entry.key].kind in _SILENT:
            return
        visit = self.visit(entry)
        assert visit is not None
        with TorchFunctionDisabled():
            copies = tuple(map(self._copied, inputs))
            reach = self.fields.of(outputs[0])
            step = Step("identity", copies, known, self._copied(outputs[0]), True, Cost(), reach)
        visit.steps.append(step)
        self.makers[outputs[0]] = step

    def _copied(self, value: Value) -> Value:
        """A copy of a tensor as it is now; one for as long as nobody writes into it."""
        if not isinstance(value, Tensor):
            return value
        if isinstance(value, nn.Parameter):
            return value.detach()
        version, copy = self.copies.get(value, (None, None))
        if version != value._version or copy is None:
            copy = value.detach().clone()
            self.copies[value] = value._version, copy
        return copy


_SILENT = ("identity", "input_layer")  # layers that are nothing to look at


def record_run(
    model: nn.Module, rows: list[Row], image: Tensor, arguments: dict[str, Any]
) -> Recording:
    """Run a model on one image and keep what every layer computed.

    To be used inside of ``untouched``. Gradients are on, so that fused kernels, which serve
    inference alone, give way to the layers that they are made of.

    Args:
        model: in evaluation mode.
        rows: of the inspector, for an input of the same shape.
        image: (1, channels, rows, columns), or with the channels last.
        arguments: of the call beside the image, by name.

    Raises:
        ForwardError: the model raises.
    """
    for module in modules_of(model):
        if is_compiled(module):
            uncompile(module)
    parents = {row.parent for row in rows}
    layers: dict[tuple[str, int], Row] = {
        (row.name, row.call): row
        for position, row in enumerate(rows)
        if row.call is not None and position not in parents
    }
    recorder = Recorder(model, closed=lambda *call: watching.closed(*call))
    watching = _Watching(recorder, layers)
    leaf = image.detach().clone().requires_grad_()
    given = leaf.clone()  # what requires a gradient itself must not be written to in place
    start = watching.start(given)
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.enable_grad())
            stack.enter_context(watching)
            stack.enter_context(recorder)
            output = model(given, **arguments)
    except Exception as error:
        raise recorder.failure(model, error) from error
    results = tensors_in(output)
    last = watching.makers.get(results[0]) if results else None
    return Recording(start, list(watching.visits.values()), output, last, leaf)
