"""Who is running: the calls of modules and of functions, as a tree.

A module's call is seen by global forward hooks, a function's call (``F.conv2d``, ``x + y``) by a
``TorchFunctionMode``; both are public, and neither changes what the model computes. The same
recorder serves the count (on fake tensors) and the clock (on real ones), so that a measured
time finds its row by name.

Backward work is attributed through autograd's graph: a node that a call's outputs reach, and that
no earlier call's outputs reached, belongs to that call.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules import module as global_hooks
from torch.overrides import TorchFunctionMode

from lamina.errors import InputError
from lamina.inspector.count.operators import Value
from lamina.inspector.trace.dialect import modules_of
from lamina.ops.runtime.torch_private import TorchFunctionDisabled

__all__ = ["Entry", "ForwardError", "Recorder", "leaves_of", "tensors_in"]

_Node = Any  # torch.autograd.graph.Node; its stub is not exported


@dataclass(eq=False)
class Entry:
    """One call of a module, or of a function inside a module's forward.

    Args:
        name: qualified name of the module; of a function, its module's name and its own.
        call: how many calls of that name came before this one.
        module: the module called; ``None`` for a function.
        parent: the call that made this one; ``None`` for the root.
        children: the calls that this one made, in order.
        start: when it began, in nanoseconds of a clock without an origin.
        stop: when it ended.
    """

    name: str
    call: int
    module: nn.Module | None
    parent: Entry | None
    children: list[Entry] = field(default_factory=list)
    start: int = 0
    stop: int = 0

    @property
    def key(self) -> tuple[str, int]:
        """Name and call index: what identifies a row across runs."""
        return self.name, self.call

    def walk(self) -> Iterator[Entry]:
        """This call and all it made, in order."""
        yield self
        for child in self.children:
            yield from child.walk()


def tensors_in(value: object) -> list[Tensor]:
    """Every tensor in nested tuples, lists, dicts and dataclass-like outputs, in order."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for item in value.values() for tensor in tensors_in(item)]
    if isinstance(value, list | tuple | set):
        return [tensor for item in value for tensor in tensors_in(item)]
    if hasattr(value, "__dataclass_fields__"):
        return tensors_in(vars(value))
    return []


class ForwardError(InputError):
    """The model raised while it was run: which module, and what it said."""


class Recorder(TorchFunctionMode):
    """Records the tree of calls while it is entered.

    Args:
        model: names come from its ``named_modules``.
        closed: called with each entry as it ends, and with what came in and went out.
        sealed: names of modules inside which no function is recorded, nor costs anything.
    """

    def __init__(
        self,
        model: nn.Module,
        *,
        closed: Callable[[Entry, list[Tensor], list[Tensor]], None] | None = None,
        sealed: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self._names = modules_of(model)
        self._closed = closed
        self._sealed = frozenset(sealed)
        self._calls: Counter[str] = Counter()
        self._stack: list[Entry] = []
        self._reached: list[tuple[Entry, list[_Node]]] = []
        self._handles: list[torch.utils.hooks.RemovableHandle] = []
        self._busy = False
        self._seal: Any = None
        self.root: Entry | None = None
        self.raised_in: Entry | None = None

    @property
    def current(self) -> Entry | None:
        """The innermost call that is running."""
        return self._stack[-1] if self._stack else None

    def __enter__(self) -> Recorder:
        self._handles = [
            global_hooks.register_module_forward_pre_hook(self._enter_module),
            global_hooks.register_module_forward_hook(
                self._leave_module, with_kwargs=True, always_call=True
            ),
        ]
        try:
            super().__enter__()  # type: ignore[no-untyped-call]
        except BaseException:
            self._remove_hooks()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._remove_hooks()
        self._unseal()
        super().__exit__(*exception)  # type: ignore[no-untyped-call]

    def _remove_hooks(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _unseal(self) -> None:
        if self._seal is not None:
            self._seal.__exit__(None, None, None)
            self._seal = None

    def _open(self, name: str, module: nn.Module | None) -> Entry:
        parent = self.current
        entry = Entry(name, self._calls[name], module, parent)
        self._calls[name] += 1
        if parent is None:
            self.root = self.root or entry
        else:
            parent.children.append(entry)
        self._stack.append(entry)
        entry.start = perf_counter_ns()
        return entry

    def _close(self, inputs: object, outputs: object) -> None:
        entry = self._stack.pop()
        entry.stop = perf_counter_ns()
        results = tensors_in(outputs)
        if self._closed:
            self._busy = True  # what the listener asks of tensors is no call of the model's
            try:
                self._closed(entry, tensors_in(inputs), results)
            finally:
                self._busy = False
        nodes = [tensor.grad_fn for tensor in results if tensor.grad_fn is not None]
        if nodes:
            self._reached.append((entry, nodes))

    def _enter_module(self, module: nn.Module, args: object) -> None:
        name = self._names.get(module)
        if name is None:  # a module made during the forward pass
            parent = self.current
            name = f"{parent.name}.{type(module).__name__}" if parent else type(module).__name__
        self._open(name, module)
        if name in self._sealed and self._seal is None:
            self._seal = TorchFunctionDisabled()
            self._seal.__enter__()

    def _leave_module(self, module: nn.Module, args: object, *rest: object) -> None:
        # PyTorch passes (kwargs, outputs), but (outputs) alone, None, after an exception.
        kwargs, outputs = rest if len(rest) == 2 else ({}, None)
        current = self.current
        if self._seal is not None and current is not None and current.module is module:
            self._unseal()
        if outputs is None and sys.exc_info()[0] is not None:
            self.raised_in = self.raised_in or self.current
        while self._stack and self._stack[-1].module is not module:
            self._stack.pop()
        if self._stack:
            self._close((args, kwargs), outputs)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Value:
        kwargs = kwargs or {}
        parent = self.current
        if parent is None or parent.module is None or self._busy:
            return func(*args, **kwargs)
        name = getattr(func, "__name__", type(func).__name__)
        if name == "__get__":  # a property: x.shape, x.dtype
            return func(*args, **kwargs)
        depth = len(self._stack)
        self._open(f"{parent.name}.{name.strip('_')}".lstrip("."), None)
        try:
            result = func(*args, **kwargs)
        except BaseException:
            self.raised_in = self.raised_in or parent
            del self._stack[depth:]
            raise
        # x[i] = y returns nothing: its result is its first argument.
        self._close((args, kwargs), args[0] if result is None and args else result)
        return result

    def failure(self, model: nn.Module, error: Exception) -> ForwardError:
        """One line for what a run raised: where, and what was said."""
        where = self.raised_in
        if where is None or where.module is None:
            place = type(model).__name__
        else:
            place = f"{where.name or 'the model itself'} ({type(where.module).__name__})"
        said = " ".join(str(error).split())
        return ForwardError(f"{place} raised in forward: {type(error).__name__}: {said}")

    def owners(self) -> dict[_Node, Entry]:
        """Autograd nodes of the recorded run, each with the call that made it."""
        owner: dict[_Node, Entry] = {}
        for entry, pending in self._reached:
            while pending:
                node = pending.pop()
                if node is not None and node not in owner:
                    owner[node] = entry
                    pending.extend(source for source, _ in node.next_functions)
        return owner


def leaves_of(owner: Iterable[_Node]) -> list[Tensor]:
    """The leaf tensors whose gradients those nodes lead to, each once."""
    leaves = [node.variable for node in owner if hasattr(node, "variable")]
    return list({id(leaf): leaf for leaf in leaves}.values())
