"""How a kernel becomes a torch op: dispatcher, fake tensors, autograd, vmap."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from lamina.ops.runtime import native

Backward = Callable[..., Any]

_functions: dict[str, Callable[..., Any]] = {}


def function(name: str) -> Callable[..., Any]:
    """The function that ``register`` returned for the op of this name."""
    return _functions[name]


def register(
    schema: str,
    kernel: Callable[..., Any],
    fake: Callable[..., Any],
    *,
    setup_context: Callable[..., None] | None = None,
    backward: Backward | None = None,
) -> Callable[..., Any]:
    """Defines ``torch.ops.lamina.<name>`` and returns the function to call it by.

    The function calls the kernel directly where nobody traces, compiles or watches: the
    dispatcher and a Python autograd formula cost more than a small layer's arithmetic.

    Args:
        schema: name and signature, ``"relu(Tensor x) -> Tensor"``.
        kernel: computes the outputs; sees float32 CPU tensors only.
        fake: gives the outputs' shape, strides and dtype without computing.
        setup_context: ``(ctx, inputs, output)``, saves what backward needs.
        backward: ``(ctx, *gradients)``, a gradient or None per input. An op without one is itself
            a gradient that nobody differentiates again, and says so to whoever tries.
    """
    name = f"lamina::{schema.partition('(')[0]}"
    torch.library.define(name, schema[schema.index("(") :], tags=torch.Tag.pt2_compliant_tag)
    torch.library.impl(name, "CPU", kernel)
    torch.library.register_fake(name, fake)
    op = getattr(torch.ops.lamina, name.partition("::")[2]).default
    torch.library.register_vmap(name, _one_by_one(op))
    if backward is None:
        torch.library.register_autograd(name, _refusal(name))

        def call(*args: Any) -> Any:
            return kernel(*args) if native.runs_directly(args) else op(*args)

        _functions[name.partition("::")[2]] = call
        return call

    assert setup_context is not None
    torch.library.register_autograd(name, backward, setup_context=setup_context)
    direct = _autograd_function(name, kernel, setup_context, backward)

    def call_differentiably(*args: Any) -> Any:
        if not native.runs_directly(args):
            return op(*args)
        if torch.is_grad_enabled():
            for arg in args:  # no generator: it takes as long as all of the rest
                if isinstance(arg, Tensor) and arg.requires_grad:
                    return direct(*args)
        return kernel(*args)

    _functions[name.partition("::")[2]] = call_differentiably
    return call_differentiably


def _autograd_function(
    name: str, kernel: Callable[..., Any], setup_context: Callable[..., None], backward: Backward
) -> Callable[..., Any]:
    def forward(ctx: Any, *args: Any) -> Any:
        output = kernel(*args)
        setup_context(ctx, args, output)
        return output

    function = type(
        name, (torch.autograd.Function,), {"forward": forward, "backward": staticmethod(backward)}
    )
    function.forward = staticmethod(forward)  # type: ignore[attr-defined]
    # Past Function.apply, which looks for the transforms of torch.func: they do not come here.
    return super(torch.autograd.Function, function).apply  # type: ignore[misc, no-any-return]


def _refusal(name: str) -> Backward:
    """PyTorch's own answer to a missing formula is a warning, and no gradient."""

    def backward(ctx: Any, *gradients: Any) -> Any:
        raise RuntimeError(f"{name} is a gradient, and has no formula for a gradient of its own")

    return backward


def _one_by_one(op: Callable[..., Any]) -> Callable[..., Any]:
    """Vmap as a loop over the batch: right for every op, and rarely asked of these."""

    def vmap(info: Any, in_dims: tuple[int | None, ...], *args: Any) -> Any:
        outputs = [
            op(
                *(
                    arg if dim is None else arg.select(dim, index)
                    for arg, dim in zip(args, in_dims, strict=True)
                )
            )
            for index in range(info.batch_size)
        ]
        if isinstance(outputs[0], Tensor):
            return torch.stack(outputs), 0
        return tuple(torch.stack(parts) for parts in zip(*outputs, strict=True)), (0,) * len(
            outputs[0]
        )

    return vmap


def differentiable_gradients(
    function: Callable[..., Tensor],
    inputs: Sequence[Tensor | None],
    gradient_output: Tensor,
) -> tuple[Tensor | None, ...]:
    """Gradients that can be differentiated again, through PyTorch's own ``function(*inputs)``.

    What a backward formula returns under ``create_graph=True``; None where an input is absent or
    needs no gradient.
    """
    with torch.enable_grad():
        # Views: two inputs may be one tensor, and each is owed its own gradient.
        aliases = [None if tensor is None else tensor.view_as(tensor) for tensor in inputs]
        output = function(*aliases)
    wanted = [alias for alias in aliases if alias is not None and alias.requires_grad]
    gradients = iter(torch.autograd.grad(output, wanted, gradient_output, create_graph=True))
    return tuple(
        next(gradients) if alias is not None and alias.requires_grad else None for alias in aliases
    )
