"""Activations, element by element, and softmax; ``activation`` finds one by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.runtime import boundary, memory, native
from lamina.ops.runtime.registration import differentiable_gradients
from lamina.theory import activation as theory
from lamina.theory import validation

# Those with a kernel; the order is kernels/activation/activation.h's.
FUNCTIONS = (
    "relu",
    "relu6",
    "leaky_relu",
    "silu",
    "hardswish",
    "hardsigmoid",
    "sigmoid",
    "tanh",
    "gelu",
    "gelu_tanh",
)
_HAVE_TWO_SLOPES = frozenset(name for name, row in theory.ACTIVATIONS.items() if row.has_two_slopes)
_SAVE_THE_OUTPUT = frozenset({"sigmoid", "tanh"})


def relu(x: Tensor) -> Tensor:
    """max(x, 0); the slope at 0 is 0. Source: Nair and Hinton (2010)."""
    return _native("relu", x) if _is_large(x) else F.relu(x)


def relu6(x: Tensor) -> Tensor:
    """min(max(x, 0), 6). Source: Krizhevsky, "Convolutional Deep Belief Networks" (2010)."""
    return _native("relu6", x) if _is_large(x) else F.relu6(x)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """Where positive x, elsewhere negative_slope · x. Source: Maas et al. (2013), section 2."""
    if _is_large(x):
        return _native("leaky_relu", x, negative_slope)
    return F.leaky_relu(x, negative_slope)


def silu(x: Tensor) -> Tensor:
    """Sigmoid-weighted: x · sigmoid(x). Source: Elfwing et al. (2017), section 2."""
    return _native("silu", x) if _is_large(x) else F.silu(x)


def hardswish(x: Tensor) -> Tensor:
    """Piecewise silu: x · relu6(x + 3) / 6. Source: Howard et al., "MobileNetV3" (2019), 5.2."""
    return _native("hardswish", x) if _is_large(x) else F.hardswish(x)


def hardsigmoid(x: Tensor) -> Tensor:
    """Piecewise sigmoid: relu6(x + 3) / 6. Source: Howard et al., "MobileNetV3" (2019), 5.2."""
    return _native("hardsigmoid", x) if _is_large(x) else _torch_hardsigmoid(x)


def gelu(x: Tensor, approximate: str = "none") -> Tensor:
    """Gaussian-weighted: x · Φ(x), Φ the normal distribution; ``approximate="tanh"`` for a tanh.

    Source: Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2.
    """
    if _is_large(x) and approximate in ("none", "tanh"):
        return _native("gelu" if approximate == "none" else "gelu_tanh", x)
    return F.gelu(x, approximate=approximate)


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """Where positive x, elsewhere alpha · (exp(x) − 1). Source: Clevert et al. (2015), 3."""
    return F.elu(x, alpha)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(−x))."""
    return _native("sigmoid", x) if _is_large(x) else torch.sigmoid(x)


def tanh(x: Tensor) -> Tensor:
    """(exp(x) − exp(−x)) / (exp(x) + exp(−x))."""
    return _native("tanh", x) if _is_large(x) else torch.tanh(x)


def softmax(x: Tensor, dim: int = -1) -> Tensor:
    """exp(x) / sum of exp(x) along ``dim``, shifted by the maximum so that nothing overflows."""
    return F.softmax(x, dim)


def identity(x: Tensor) -> Tensor:
    """The input itself, which is Keras's ``"linear"``."""
    return x


ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "linear": identity,
    "relu": relu,
    "relu6": relu6,
    "leaky_relu": leaky_relu,
    "silu": silu,
    "hardswish": hardswish,
    "hardsigmoid": hardsigmoid,
    "gelu": gelu,
    "elu": elu,
    "sigmoid": sigmoid,
    "tanh": tanh,
    "softmax": softmax,
}


def activation(x: Tensor, name: str | None) -> Tensor:
    """Apply the activation called ``name``; None is ``"linear"``.

    Raises:
        ValueError: a name that is no key of ``ACTIVATIONS``.

    Example:
        >>> activation(torch.tensor([-1.0, 2.0]), "relu")
        tensor([0., 2.])
    """
    if name is None:
        return x
    return ACTIVATIONS[validation.one_of(name, "activation", ACTIVATIONS)](x)


def activation_epilogue(y: Tensor, name: str, negative_slope: float) -> Tensor:
    """The activation that a kernel applies to its output, by PyTorch's ops; or ``"none"``."""
    if name == "none":
        return y
    if name == "leaky_relu":
        return F.leaky_relu(y, negative_slope)
    return activation(y, name)


# ---- the kernel ---------------------------------------------------------------------------------


def _is_large(x: Tensor) -> bool:
    """Whether the kernel pays and may serve.

    It is only called directly: a compiler fuses PyTorch's op with its neighbours, and whoever
    watches or traces finds the op that it knows.
    """
    return (
        native.sizes_are_known(x)
        and x.numel() >= theory.FEWEST_ELEMENTS
        and native.serves(x)
        and native.runs_directly((x,))
    )


def _native(name: str, x: Tensor, negative_slope: float = 0.0) -> Tensor:
    if x.requires_grad and torch.is_grad_enabled():
        if name in _HAVE_TWO_SLOPES:
            y: Tensor = _TwoSlopes.apply(x, name, negative_slope)  # type: ignore[no-untyped-call]
        else:
            y = _Activation.apply(x, name)  # type: ignore[no-untyped-call]
        return y
    return _forward(name, x, negative_slope)


def _forward(name: str, x: Tensor, negative_slope: float) -> Tensor:
    y = memory.empty_like(x)
    x = boundary.flat(x, f"{name}: the input")
    native.kernels.activation_forward(FUNCTIONS.index(name), x, x.numel(), negative_slope, y)
    return y


class _Activation(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str) -> Tensor:
        y = _forward(name, x, 0.0)
        ctx.name = name
        ctx.save_for_backward(y if name in _SAVE_THE_OUTPUT else x)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        (saved,) = ctx.saved_tensors
        directly = native.serves(saved, dy) and native.runs_directly((saved, dy))
        if torch.is_grad_enabled() or not directly:
            return _torch_gradient(ctx.name, saved, dy), None
        dx = memory.empty_like(saved)
        saved = boundary.flat(saved, f"{ctx.name}: what was saved")
        dy = boundary.as_in(dy, f"{ctx.name}: the gradient", dx.shape, dx.stride())
        native.kernels.activation_backward(FUNCTIONS.index(ctx.name), saved, dy, saved.numel(), dx)
        return dx, None


def _torch_gradient(name: str, saved: Tensor, dy: Tensor) -> Tensor:
    """By PyTorch's ops: it can be differentiated again, and traced."""
    if name == "sigmoid":
        return dy * (1 - saved) * saved
    if name == "tanh":
        return dy * (1 - saved * saved)
    (dx,) = differentiable_gradients(lambda x: _torch_forward(name, x), (saved,), dy)
    assert dx is not None
    return dx


def _torch_forward(name: str, x: Tensor) -> Tensor:
    if name == "gelu_tanh":
        return F.gelu(x, approximate="tanh")
    function: Callable[[Tensor], Tensor] = getattr(F, name)
    return function(x)


class _TwoSlopes(torch.autograd.Function):
    """A function whose slope is one of two: a bit of each element is all that backward needs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, name: str, negative_slope: float) -> Tensor:
        y = memory.empty_like(x)
        x = boundary.flat(x, f"{name}: the input")
        bits = memory.empty((_words(x),), x, dtype=torch.int32)
        native.kernels.activation_forward_with_bits(
            FUNCTIONS.index(name), x, x.numel(), negative_slope, y, bits
        )
        ctx.name, ctx.negative_slope, ctx.strides = name, negative_slope, y.stride()
        ctx.save_for_backward(bits)
        return y

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None, None]:
        (bits,) = ctx.saved_tensors
        return _scale(dy, bits, ctx.name, ctx.negative_slope, ctx.strides), None, None


_BITS = 32  # of elements, to a word


def _words(x: Tensor) -> int:
    return -(-x.numel() // _BITS)


def _scale(
    dy: Tensor, bits: Tensor, name: str, negative_slope: float, strides: tuple[int, ...]
) -> Tensor:
    """The gradient by its elements' bits, which lie in the order of these strides."""
    directly = native.serves(dy) and native.runs_directly((bits, dy))
    if torch.is_grad_enabled() or not directly:
        return _scale_by_torch(dy, bits, name, negative_slope, strides)
    dy = boundary.as_in(dy, f"{name}: the gradient", dy.shape, strides)
    bits = boundary.row_major(bits, f"{name}: the saved bits", (_words(dy),), torch.int32)
    dx = memory.empty_like(dy)
    native.kernels.activation_backward_of_bits(
        FUNCTIONS.index(name), bits, dy, dy.numel(), negative_slope, dx
    )
    return dx


def _scale_by_torch(
    dy: Tensor, bits: Tensor, name: str, negative_slope: float, strides: tuple[int, ...]
) -> Tensor:
    """By PyTorch's ops: it can be differentiated again, and traced."""
    one_by_one = (bits[:, None] >> torch.arange(_BITS, device=bits.device)) & 1
    active = one_by_one.bool().flatten().as_strided(dy.shape, strides)
    if name == "leaky_relu":
        return torch.where(active, dy, dy * negative_slope)
    if name == "hardsigmoid":
        return torch.where(active, dy / 6, 0.0)
    return torch.where(active, dy, 0.0)


def _torch_hardsigmoid(x: Tensor) -> Tensor:
    # F.hardsigmoid has no second derivative. Summed in half precision, what lies just inside of
    # ±3 would be on it, where the slope is 0.
    exact = x.float() if x.dtype in (torch.float16, torch.bfloat16) else x
    return ((F.hardtanh(exact, -3, 3) + 3) / 6).to(x.dtype)
