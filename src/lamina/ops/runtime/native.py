"""The compiled kernels, and when they may serve.

A call takes one of three routes. The kernels serve dense float32 tensors on the CPU: directly in
plain eager execution, through the dispatcher (``torch.ops.lamina``) wherever somebody traces,
compiles or watches. Everything else goes to PyTorch's own ops: slower, never wrong.
"""

from __future__ import annotations

import importlib
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch  # first: the kernels are linked against the OpenMP runtime that it loads
from torch import Tensor

from lamina.ops.runtime.layout import is_channels_last
from lamina.ops.runtime.torch_private import (
    FakeTensor,
    FunctionalTensor,
    differentiates_forward,
    dispatch_modes,
    function_transform,
    has_storage,
    script_tracer,
)

__all__ = [
    "ACTIVATIONS",
    "PLAIN",
    "instruction_set",
    "instruction_sets",
    "is_exporting",
    "is_recording",
    "is_small",
    "kernels",
    "kernels_for_small",
    "kinds",
    "lanes",
    "prefers_kernels",
    "reason_for_absence",
    "runs_directly",
    "serves",
    "sizes_are_known",
    "summary",
]

reason_for_absence: str | None = None
"""Why there are no kernels; None where there are."""

if TYPE_CHECKING:
    from lamina import _native as kernels
else:
    kernels = None
    try:
        # Not `from lamina`: of a package that is being imported it would not say "not found".
        kernels = importlib.import_module("lamina._native")
    except ModuleNotFoundError:
        reason_for_absence = "not built: no C++ compiler was found when lamina was installed"
    except ImportError as error:
        if "LAMINA_ISA" in str(error):
            raise
        reason_for_absence = f"built, but does not load: {error}"
    if reason_for_absence:
        warnings.warn(
            f"lamina: native kernels {reason_for_absence}; every layer runs on PyTorch's ops",
            RuntimeWarning,
            stacklevel=2,
        )

ACTIVATIONS = ("none", "relu", "relu6", "leaky_relu", "silu", "hardswish")
"""Those a kernel can apply in its epilogue; the order is kernels/common/activation.h's."""


def lanes() -> int:
    """Floats of a register in the instruction set in use; 1 without kernels."""
    return kernels.lanes() if kernels else 1


def kinds() -> tuple[str, ...]:
    """The kinds of layer that have a native kernel here; empty without a compiler."""
    return tuple(kernels.kinds()) if kernels else ()


def instruction_set() -> str | None:
    """The instruction set in use: the widest that runs here, or the one ``LAMINA_ISA`` names."""
    return kernels.isa() if kernels else None


def instruction_sets() -> dict[str, bool]:
    """Every instruction set that was compiled, and whether this processor runs it."""
    return kernels.isas() if kernels else {}


def summary() -> str:
    """One line for whoever installs: which kinds are native, on what; or why none is."""
    if not kernels:
        return f"lamina: native kernels {reason_for_absence}; every layer runs on PyTorch's ops"
    return f"lamina: native kernels ({instruction_set()}) for {', '.join(kinds())}"


def serves(*tensors: Tensor | None) -> bool:
    """Whether a kernel may compute on these tensors; None stands for an absent one.

    Function transforms (``torch.func``) and forward-mode differentiation need PyTorch's ops, and
    so does whoever exports. A tensor type of somebody else's knows PyTorch's ops alone.
    """
    if kernels is None or is_exporting():
        return False
    if not torch.compiler.is_compiling() and (
        function_transform() is not None or differentiates_forward()
    ):
        return False
    # A plain loop: this is a large part of what a small call costs.
    for tensor in tensors:
        if tensor is not None and not (
            # Of the CPU, float32, in plain memory: no sparse, nested, quantised or negated one.
            isinstance(tensor, torch.FloatTensor) and type(tensor) in _SERVED and tensor.numel() > 0
        ):
            return False
    return True


def is_exporting() -> bool:
    """Whether what is traced is to run elsewhere, without lamina, and on inputs of other sizes.

    ``torch.export`` and ``torch.jit.trace`` trace so, and both exporters to ONNX by them.
    """
    return torch.compiler.is_exporting() or script_tracer() is not None


def runs_directly(tensors: tuple[object, ...]) -> bool:
    """Whether a kernel may be called past the dispatcher: nobody traces, compiles or watches."""
    if torch.compiler.is_compiling() or dispatch_modes() or script_tracer() is not None:
        return False
    for tensor in tensors:
        if isinstance(tensor, Tensor) and not (
            type(tensor) in PLAIN
            # None has a batch of gradients, or what a transform left behind that has ended.
            and has_storage(tensor)
        ):
            return False
    return True


class _Thread(threading.local):
    """What a thread is at."""

    prefers_kernels = False


_thread = _Thread()


def prefers_kernels() -> bool:
    """Whether this thread's small images go to kernels, too: see `kernels_for_small`."""
    return _thread.prefers_kernels


@contextmanager
def kernels_for_small() -> Iterator[None]:
    """Have small images go to kernels: where calls are recorded, now or next time.

    Then the calls before and after a recording compute the same bit for bit.
    """
    before, _thread.prefers_kernels = _thread.prefers_kernels, True
    try:
        yield
    finally:
        _thread.prefers_kernels = before


def is_recording() -> bool:
    """Whether this thread's calls of kernels are written down, see `recording`."""
    # A compiler's own run is recorded by nobody, and it could not follow the question.
    return not torch.compiler.is_compiling() and kernels is not None and kernels.is_recording()


SMALL = 1 << 15
"""Elements below which an image is small: PyTorch's pools and batch normalisation then take less
than what is around a kernel, Python and autograd. Measured with and without gradients."""

SMALL_CHANNELS_LAST = 1 << 16
"""The same where channels vary fastest, for which PyTorch has vectorized loops too."""


def is_small(x: Tensor) -> bool:
    """Whether one op of PyTorch's takes less for ``x``, whatever a kernel does.

    Not under `kernels_for_small`: what is around a kernel is then done once.
    """
    if not sizes_are_known(x):
        return False
    size = x.numel()
    if size >= SMALL and (size >= SMALL_CHANNELS_LAST or not is_channels_last(x)):
        return False
    return not prefers_kernels()


def sizes_are_known(x: Tensor) -> bool:
    """Whether Python may decide by the sizes: while tracing they may be symbols."""
    return not torch.compiler.is_compiling() and type(x.numel()) is int


PLAIN = (Tensor, torch.nn.Parameter)
"""Tensors as PyTorch makes them; no subclass: those want to see every op."""

_SERVED = (*PLAIN, FakeTensor, FunctionalTensor)  # tracers follow ours as they follow PyTorch's
