"""Count a model: every operator that it runs, forward and backward, under the call that ran it.

The model runs once on fake tensors, which have shapes and lifetimes but no data, so that nothing
is computed and nothing of the model changes. Where that is impossible (control flow that depends
on the data), it runs once on real tensors and says so.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from lamina.errors import InputError
from lamina.inspector.count.facts import fact_of
from lamina.inspector.count.formulas import cost_of
from lamina.inspector.count.memory import LiveMemory, storage_key
from lamina.inspector.count.native import native_fact
from lamina.inspector.count.operators import Operator, Value
from lamina.inspector.receptive.rules import record
from lamina.inspector.trace.recorder import Entry, ForwardError, Recorder, leaves_of, tensors_in
from lamina.inspector.trace.records import Phase, Trace
from lamina.inspector.trace.untouched import untouched
from lamina.ops.runtime.torch_private import (
    FakeTensor,
    FakeTensorMode,
    TorchDispatchMode,
    silent_fakes,
    tree_map,
)
from lamina.theory.cost import Cost

__all__ = ["trace"]


class _Listening(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees every operator; on fake tensors it keeps those of the model itself out of harm's way.

    A fake tensor mode runs an operator whose operands are all real, ``counter.add_(1)``, for real.
    So each real operand is exchanged for its fake before the operator runs.
    """

    def __init__(self, fake: FakeTensorMode | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.fake = fake
        self.memory = LiveMemory()

    def __torch_dispatch__(
        self,
        func: Operator,
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Value:
        kwargs = kwargs or {}
        if self.fake is not None:
            args = tuple(map(self._faked, args))
            kwargs = {name: self._faked(value) for name, value in kwargs.items()}
        out = func(*args, **kwargs)
        if func.namespace != "prim":
            results = tensors_in(out)
            self.memory.see(results)
            self.heard(func, args, kwargs, out, results)
        return out

    def _faked(self, value: Value) -> Value:
        if isinstance(value, Tensor):
            if self.fake is None or isinstance(value, FakeTensor):
                return value
            return self.fake.from_tensor(value)
        if isinstance(value, list | tuple) and value and not isinstance(value[0], int | float):
            return type(value)(map(self._faked, value))
        return value

    def heard(
        self,
        func: Operator,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Value,
        results: list[Tensor],
    ) -> None:
        """What to do about an operator that ran, beside watching the memory."""


class _Counting(_Listening):  # type: ignore[no-untyped-call]
    """Books every operator on the call that runs it."""

    def __init__(
        self, fake: FakeTensorMode | None, result: Trace, running: Callable[[], Entry | None]
    ) -> None:
        super().__init__(fake)
        self.result = result
        self.running = running
        self.phase: Phase = "forward"

    def heard(
        self,
        func: Operator,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Value,
        results: list[Tensor],
    ) -> None:
        if self.phase == "forward":
            record(self.result.fields, func, args, kwargs, results)
        entry = self.running()
        if entry is None:
            return
        status, cost = cost_of(func, args, out)
        name = str(func.overloadpacket)
        self.result.operators[self.phase, status, name] += 1
        if status == "uncounted":
            self.result.uncounted[entry].add(name)
        if self.phase == "forward":
            self.result.ran[entry].append(name)
            ours = func.namespace == "lamina"
            fact = native_fact(func, args, out) if ours else fact_of(name, args, out)
            if fact is not None:
                self.result.facts[entry].append(fact)
        if cost != Cost():
            books = self.result.forward if self.phase == "forward" else self.result.backward
            books[entry] += cost


class _Saved:
    """Books what autograd keeps on the call that saved it first; each storage once."""

    def __init__(self, result: Trace, running: Callable[[], Entry | None]) -> None:
        self.result = result
        self.running = running
        self.state: set[int] = set()
        self._seen = LiveMemory()

    def pack(self, tensor: Tensor) -> Tensor:
        entry = self.running()
        strided = tensor.layout is torch.strided
        if entry is not None and strided and storage_key(tensor) not in self.state:
            self.result.saved[entry] += self._seen.see([tensor])
        return tensor


def _state(model: nn.Module) -> list[Tensor]:
    return [*model.parameters(), *model.buffers()]


def _run(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    fake: FakeTensorMode | None,
    gradients: bool,
) -> Trace:
    """One counted run; ``args`` are fake where ``fake`` is given."""
    training = bool(kwargs.get("training", model.training))
    result = Trace(root=None, training=training, fake=fake is not None)  # type: ignore[arg-type]
    recorder = Recorder(model, closed=result.describe)
    known = {name for name, _ in model.named_parameters()}
    state = [fake.from_tensor(tensor) if fake else tensor for tensor in _state(model)]
    saved = _Saved(result, lambda: recorder.current)
    saved.state = {storage_key(tensor) for tensor in [*state, *_state(model)]}
    counting = _Counting(fake, result, lambda: recorder.current)
    counting.memory.see(state)
    counting.memory.see(tensors_in((args, kwargs)))
    for tensor in tensors_in((args, kwargs)):
        result.fields.start(tensor)
        result.inputs.append(tuple(tensor.shape))
    try:
        with ExitStack() as stack:
            stack.enter_context(torch.set_grad_enabled(gradients))
            if gradients:
                stack.enter_context(
                    torch.autograd.graph.saved_tensors_hooks(saved.pack, lambda tensor: tensor)
                )
            if fake:
                stack.enter_context(fake)
            stack.enter_context(counting)
            stack.enter_context(recorder)
            outputs = model(*args, **kwargs)
    except Exception as error:
        raise recorder.failure(model, error) from error
    for name, _ in model.named_parameters():
        if name not in known:
            raise InputError(f"the model makes {name!r} in forward; run it once, then inspect it")
    if recorder.root is None:
        raise ForwardError(f"{type(model).__name__} did not run through its __call__")
    result.root = recorder.root
    if gradients:
        _run_backward(result, recorder, counting, outputs, fake)
        result.peak_training = counting.memory.peak
    return result


def _peak_inference(
    model: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], fake: FakeTensorMode | None
) -> int:
    """Most bytes alive when no gradient is wanted: a run of its own, as nothing is kept then."""
    watching = _Listening(fake)
    state = [fake.from_tensor(t) if fake else t for t in _state(model)]  # alive until the return
    watching.memory.see(state)
    watching.memory.see(tensors_in((args, kwargs)))
    with torch.no_grad(), fake or nullcontext(), watching:
        model(*args, **kwargs)
    return watching.memory.peak


def _run_backward(
    result: Trace,
    recorder: Recorder,
    counting: _Counting,
    outputs: object,
    fake: FakeTensorMode | None,
) -> None:
    """Differentiate the outputs with respect to every leaf, without touching any ``.grad``."""
    ends = [t for t in tensors_in(outputs) if t.requires_grad and t.grad_fn is not None]
    owner = recorder.owners()
    leaves = leaves_of(owner)
    if not ends or not leaves:
        result.notes.append("no output depends on a trainable parameter: no backward pass")
        return
    running: list[Entry | None] = [None]

    def begin(entry: Entry) -> Callable[[object], None]:
        return lambda _: running.__setitem__(0, entry)

    handles = [
        node.register_prehook(begin(entry))
        for node, entry in owner.items()
        if not hasattr(node, "variable")
    ]
    try:
        with fake or nullcontext():
            seeds = [torch.ones_like(end) for end in ends]
            counting.phase, counting.running = "backward", lambda: running[0]
            counting.memory.see(seeds)
            with counting:
                torch.autograd.grad(ends, leaves, seeds, allow_unused=True)
    finally:
        for handle in handles:
            handle.remove()


def trace(
    model: nn.Module,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    gradients: bool = True,
) -> Trace:
    """Run the model once and book all that it does.

    Args:
        model: any module; it is left as it was, bit for bit.
        args: positional inputs; real tensors.
        kwargs: inputs by name.
        gradients: count the backward pass too, and what is saved for it.

    Raises:
        ForwardError: the model raises on real tensors as well.
        InputError: its forward makes parameters that it had not.
    """
    fake = FakeTensorMode(allow_non_fake_inputs=True)

    def fakes(value: object) -> object:
        return fake.from_tensor(value) if isinstance(value, Tensor) else value

    try:
        with silent_fakes(), untouched(model, data=False):
            inputs, named = tree_map(fakes, (args, kwargs))
            result = _run(model, inputs, named, fake, gradients)
            result.peak_inference = _peak_inference(model, inputs, named, fake)
    except Exception as failure:
        if isinstance(failure, InputError) and not isinstance(failure, ForwardError):
            raise
        with untouched(model, data=True):
            result = _run(model, args, kwargs, None, gradients)
            result.peak_inference = _peak_inference(model, args, kwargs, None)
        reason = type(failure.__cause__ or failure).__name__
        result.notes.append(
            "counted for the input given, on real tensors: what runs depends on the data, or does "
            f"not run without any ({reason})"
        )
    return result
