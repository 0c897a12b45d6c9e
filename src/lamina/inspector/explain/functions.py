"""Activations by the operators that compute them: their formula, and where they are constant."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

__all__ = ["Function", "function_of"]


@dataclass(frozen=True)
class Function:
    """A function of one value.

    Args:
        name: of the activation.
        formula: in words of arithmetic.
        cut: at and below this input it is constant; None where it never is.
        cap: at and above this input it is constant; None where it never is.
        by_value: whether an output depends on one input alone.
    """

    name: str
    formula: str
    cut: float | None = None
    cap: float | None = None
    by_value: bool = True


def _number(value: float) -> str:
    return f"{value:g}".replace("-", "−")


def _hardtanh(args: Sequence[Any]) -> Function:
    low, high = (float(value) for value in (*args[1:3], -1, 1)[:2])
    name = "relu6" if (low, high) == (0, 6) else "hardtanh"
    return _clip(name, low, high)


def _clip(name: str, low: float | None, high: float | None) -> Function:
    inner = "x" if low is None else f"max(x, {_number(low)})"
    return Function(name, inner if high is None else f"min({inner}, {_number(high)})", low, high)


def _clamp(args: Sequence[Any]) -> Function | None:
    bounds = [*args[1:3], None, None][:2]
    if any(isinstance(bound, Tensor) for bound in bounds):
        return None
    low, high = (None if bound is None else float(bound) for bound in bounds)
    name = {(0.0, None): "relu", (0.0, 6.0): "relu6"}.get((low, high), "clip")  # type: ignore[arg-type]
    return _clip(name, low, high)


def _leaky(args: Sequence[Any]) -> Function:
    slope = float(args[1]) if len(args) > 1 else 0.01
    return Function("leaky_relu", f"x where x > 0, else {_number(slope)} · x")


def _elu(args: Sequence[Any]) -> Function | None:
    alpha, scale, input_scale = (float(value) for value in (*args[1:4], 1, 1, 1)[:3])
    if (scale, input_scale) != (1, 1):
        return Function("selu", f"{scale:.6g} · (x where x > 0, else {alpha:.6g} · (exp(x) − 1))")
    return Function("elu", f"x where x > 0, else {_number(alpha)} · (exp(x) − 1)")


def _always(function: Function) -> Callable[[Sequence[Any]], Function]:
    return lambda args: function


_SOFTMAX = Function("softmax", "exp(x) / sum of exp(x) over all classes", by_value=False)
_FUNCTIONS: dict[str, Callable[[Sequence[Any]], Function | None]] = {
    "relu": _always(_clip("relu", 0.0, None)),
    "relu6": _always(_clip("relu6", 0.0, 6.0)),
    "hardtanh": _hardtanh,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "leaky_relu": _leaky,
    "elu": _elu,
    "gelu": _always(Function("gelu", "x / 2 · (1 + erf(x / √2))")),
    "silu": _always(Function("silu", "x / (1 + exp(−x))")),
    "sigmoid": _always(Function("sigmoid", "1 / (1 + exp(−x))")),
    "tanh": _always(Function("tanh", "tanh(x)")),
    "hardswish": _always(Function("hardswish", "x · min(max(x + 3, 0), 6) / 6", -3.0)),
    "hardsigmoid": _always(Function("hardsigmoid", "min(max(x + 3, 0), 6) / 6", -3.0, 3.0)),
    "softplus": _always(Function("softplus", "log(1 + exp(x))")),
    "mish": _always(Function("mish", "x · tanh(log(1 + exp(x)))")),
    "_softmax": _always(_SOFTMAX),
    "_log_softmax": _always(
        Function("log_softmax", "x − log(sum of exp(x) over all classes)", by_value=False)
    ),
}


_GELU_BY_TANH = Function("gelu", "x / 2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³)))")


def function_of(operator: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Function | None:
    """The activation that ``"aten.relu"`` and the like compute; None for other operators.

    Example:
        >>> function_of("aten.hardtanh_", (None, 0, 6), {}).formula
        'min(max(x, 0), 6)'
    """
    namespace, _, name = operator.partition(".")
    if name == "gelu" and kwargs.get("approximate") == "tanh":
        return _GELU_BY_TANH
    make = _FUNCTIONS.get(name.removesuffix("_") if not name.startswith("_") else name)
    return make(args) if make is not None and namespace == "aten" else None
