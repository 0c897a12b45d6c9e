"""PyTorch's private names, all that lamina uses: what another version of PyTorch may take away.

What PyTorch says about itself while it traces, transforms or watches has no public name that a
small call could pay for; fake tensors and dispatch modes have none at all.
"""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from itertools import count
from typing import Any

import torch
from torch._C import DisableTorchFunction as TorchFunctionDisabled
from torch._C import _current_graph_task_id as _graph_task
from torch._C import _get_tracing_state as script_tracer
from torch._C import _has_storage as has_storage
from torch._C import _len_torch_dispatch_stack as dispatch_modes
from torch._C._autograd import _top_saved_tensors_default_hooks as _saved_tensors_hooks
from torch._C._functorch import peek_interpreter_stack as function_transform
from torch._C._nn import pad as pad_op
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch._subclasses.functional_tensor import FunctionalTensor
from torch.autograd import forward_ad
from torch.fx import Node
from torch.nn.modules import module as module_hooks
from torch.nn.modules.batchnorm import _BatchNorm as AnyBatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map
from torch.utils.hooks import RemovableHandle

__all__ = [
    "AnyBatchNorm",
    "FakeTensor",
    "FakeTensorMode",
    "FunctionalTensor",
    "TorchDispatchMode",
    "TorchFunctionDisabled",
    "compile_calls",
    "differentiates_forward",
    "dispatch_modes",
    "function_transform",
    "has_storage",
    "inside",
    "is_compiled",
    "is_static",
    "pad_op",
    "runs_backward",
    "script_tracer",
    "set_timeout_of_collectives",
    "silent_fakes",
    "tree_map",
    "uncompile",
    "watches_saved_tensors",
]


@contextmanager
def silent_fakes() -> Iterator[None]:
    """Within, what fake tensors raise is raised alone: PyTorch would log it with its traceback too.

    Example:
        >>> with silent_fakes(), FakeTensorMode():
        ...     torch.ones(2, 3) @ torch.ones(2, 3)
        Traceback (most recent call last):
            ...
        RuntimeError: a and b must have same reduction dim, but got [2, 3] X [2, 3].
    """
    log = logging.getLogger("torch._subclasses.fake_tensor")
    log.addFilter(_is_no_traceback)
    try:
        yield
    finally:
        log.removeFilter(_is_no_traceback)


def _is_no_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info


def differentiates_forward() -> bool:
    """Whether forward-mode differentiation is going on: inside of ``dual_level``."""
    return forward_ad._current_level >= 0


def runs_backward() -> bool:
    """Whether autograd is at work on a backward pass in this thread."""
    return _graph_task() != -1


def watches_saved_tensors() -> bool:
    """Whether hooks are set on whatever is saved for a backward pass, as checkpointing does."""
    return _saved_tensors_hooks(True) is not None


def set_timeout_of_collectives(timeout: timedelta) -> None:
    """Have operations between processes fail after this long, in a group that exists already."""
    from torch.distributed import distributed_c10d

    distributed_c10d._set_pg_timeout(timeout)


def is_static(placeholder: Node) -> bool:
    """Whether an input of a captured graph is a module's tensor, whose sizes are guarded."""
    return "_dynamo_static_input_type" in placeholder.meta.get("tensor_dict", ())


_calls = count()


def compile_calls(module: torch.nn.Module, backend: Callable[..., Any]) -> None:
    """``module.compile(backend=...)``, for a module whose forward is PyTorch's own, too.

    Dynamo passes over the files of torch.nn, a Sequential's forward among them, unless a frame of
    somebody else's is around it. What it compiles it keeps by code object, and which sizes vary by
    the code's name: each module has its own of both here. It does not look whether hooks came or
    went, because that takes as long as all of its other guards; here another set of hooks is
    another code, once it has stayed for some calls.
    """

    def plainly(*args: Any, **kwargs: Any) -> Any:
        return module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]

    def fresh() -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            return module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]

        call.__code__ = call.__code__.replace(co_name=f"call_{next(_calls)}")
        return torch.compile(call, backend=backend)

    hooks = _Hooks(module)
    by_hooks = {hooks.names: fresh()}
    calls = 0  # with hooks that nothing is compiled for

    def run(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        # Who traces or watches wants to see every op; Dynamo refuses to run, or gives the code up.
        if script_tracer() is not None or dispatch_modes():
            return plainly(*args, **kwargs)
        if hooks.have_changed():
            calls = 0
        compiled = by_hooks.get(hooks.names)
        if compiled is None:
            calls += 1
            if calls < _SETTLED:
                return plainly(*args, **kwargs)
            compiled = by_hooks[hooks.names] = fresh()
        return compiled(*args, **kwargs)

    module._compiled_call_impl = run


_SETTLED = 4
"""Calls after which new hooks are taken to stay. Those that watch one step are gone by then, and
compiling takes longer than a few steps."""


class _Hooks:
    """The hooks of a module and those inside it."""

    def __init__(self, module: torch.nn.Module) -> None:
        self._module = module
        self._look()

    def have_changed(self) -> bool:
        """Whether one came or went since this was last asked."""
        if RemovableHandle.next_id == self._next and sum(map(len, self._filled)) == self._count:
            return False
        before = self.names
        self._look()
        return self.names != before

    def _look(self) -> None:
        self._next = RemovableHandle.next_id
        kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
        own = [getattr(module, kind) for module in self._module.modules() for kind in kinds]
        everyones = [getattr(module_hooks, f"_global{kind}") for kind in kinds]
        self._filled = [hooks for hooks in (*own, *everyones) if hooks]
        self._count = sum(map(len, self._filled))
        self.names = tuple(tuple(hooks) for hooks in self._filled)


def is_compiled(module: torch.nn.Module) -> bool:
    """Whether ``module.compile()`` was called."""
    return module._compiled_call_impl is not None


def inside(module: torch.nn.Module) -> torch.nn.Module:
    """The module that ``torch.compile(module)`` wraps; any other is itself."""
    wraps = type(module).__module__.startswith("torch._dynamo.")  # whose import takes a second
    return module._modules["_orig_mod"] or module if wraps else module


def uncompile(module: torch.nn.Module) -> None:
    """Undo ``module.compile()``, for which PyTorch has no function."""
    module._compiled_call_impl = None
