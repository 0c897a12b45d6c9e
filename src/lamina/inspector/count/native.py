"""Our own operators, ``torch.ops.lamina.*``, as the ops themselves describe them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from lamina.inspector.count.facts import Fact, window_words
from lamina.inspector.count.operators import Operator, Value
from lamina.ops.runtime.registration import OPS, Arguments, Op, Window
from lamina.theory.cost import Cost

__all__ = ["native_cost", "native_fact", "native_kind", "native_window"]


def native_cost(func: Operator, args: Sequence[Any]) -> Cost | None:
    """What one call of an operator of ours costs; ``None`` for one without a formula."""
    op = _op(func)
    return op.cost(op.named(args)) if op and op.cost else None


def native_kind(func: Operator, args: Sequence[Any]) -> str | None:
    """The kind of layer that an operator of ours is; ``None`` for a part of one."""
    op = _op(func)
    return op.kind(op.named(args)) if op and op.kind else None


def native_window(func: Operator, args: Sequence[Any]) -> Window | None:
    """What an operator of ours slides over its image; ``None`` for one that slides nothing."""
    op = _op(func)
    return op.window(op.named(args)) if op and op.window else None


def native_fact(func: Operator, args: Sequence[Any], out: Value) -> Fact | None:
    """What an operator of ours is as a layer; ``None`` for a part of one."""
    op = _op(func)
    first = out[0] if isinstance(out, tuple | list) else out
    if op is None or op.kind is None or not isinstance(first, Tensor):
        return None
    named = op.named(args)
    window = op.window(named) if op.window else None
    x: Tensor = args[0]
    return Fact(
        op.kind(named),
        ", ".join(filter(None, _words(op, named, window))),
        tuple(x.shape),
        tuple(first.shape),
        kernel=window.kernel_size if window else (),
        stride=window.stride if window else (),
        training=bool(op.training),
    )


def _op(func: Operator) -> Op | None:
    return OPS.get(func._schema.name.partition("::")[2])


def _words(op: Op, named: Arguments, window: Window | None) -> list[str]:
    words = []
    if window is not None and op.kind is not None:
        kernel, stride, padding, dilation, _ = window
        groups = getattr(named, "groups", 1)
        words += [window_words(op.kind(named), kernel, stride, padding, dilation, groups)]
    if op.training is not None:
        words += ["batch statistics" if op.training else "running statistics"]
    if op.settings is not None:
        words += [op.settings(named)]
    return words
