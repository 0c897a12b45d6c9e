"""PyTorch's private names, all that lamina uses: what another version of PyTorch may take away.

What PyTorch says about itself while it traces, transforms or watches has no public name that a
small call could pay for; fake tensors and dispatch modes have none at all.
"""

from collections.abc import Callable
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
from torch.nn.modules.batchnorm import _BatchNorm as AnyBatchNorm
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map

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
    "is_compiled",
    "pad_op",
    "runs_backward",
    "script_tracer",
    "set_timeout_of_collectives",
    "tree_map",
    "uncompile",
    "watches_saved_tensors",
]


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


_calls = count()


def compile_calls(module: torch.nn.Module, backend: Callable[..., Any]) -> None:
    """``module.compile(backend=...)``, for a module whose forward is PyTorch's own, too.

    Dynamo passes over the files of torch.nn, a Sequential's forward among them, unless a frame of
    somebody else's is around it. What it compiles it keeps by code object, and which sizes vary by
    the code's name: each module has its own of both here.
    """

    def call(*args: Any, **kwargs: Any) -> Any:
        return module._call_impl(*args, **kwargs)  # type: ignore[no-untyped-call]

    call.__code__ = call.__code__.replace(co_name=f"call_{next(_calls)}")
    compiled = torch.compile(call, backend=backend)

    def run(*args: Any, **kwargs: Any) -> Any:
        # torch.jit.trace wants to see every op, and Dynamo refuses to run under it.
        return (compiled if script_tracer() is None else call)(*args, **kwargs)

    module._compiled_call_impl = run


def is_compiled(module: torch.nn.Module) -> bool:
    """Whether ``module.compile()`` was called."""
    return module._compiled_call_impl is not None


def uncompile(module: torch.nn.Module) -> None:
    """Undo ``module.compile()``, for which PyTorch has no function."""
    module._compiled_call_impl = None
