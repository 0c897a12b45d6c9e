"""One description of an op: what the dispatcher, autograd, the counters and the tests ask of it."""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.utils.flop_counter import register_flop_formula

from lamina.ops.runtime import native
from lamina.ops.runtime.torch_private import differentiates_forward
from lamina.theory.cost import Cost
from lamina.theory.shapes import Pair, ResolvedPadding

make_dual: Callable[..., Tensor] = forward_ad.make_dual
unpack_dual: Callable[..., Any] = forward_ad.unpack_dual

Arguments = Any
"""An op's arguments by the names of its schema, as a named tuple."""

Gradients = dict[str, Tensor | None]
"""By the names of the inputs; those that are missing have none."""


class Window(NamedTuple):
    """What an op slides over an image; each pair is (height, width), in pixels.

    Args:
        kernel_size: of the window.
        stride: from one window to the next.
        padding: ((top, bottom), (left, right)).
        dilation: from one tap to the next.
        mixes_channels: whether each result sees every channel.
    """

    kernel_size: Pair
    stride: Pair
    padding: ResolvedPadding
    dilation: Pair
    mixes_channels: bool


@dataclass(frozen=True)
class Op:
    """A registered op.

    Args:
        name: in ``torch.ops.lamina``.
        function: what the layers call: the kernel directly where nobody traces, compiles or
            watches, for the dispatcher and a Python autograd formula cost more than a small
            layer's arithmetic.
        kernel: computes the outputs of float32 CPU tensors.
        arguments: the named tuple of its arguments.
        is_differentiable: whether it has a backward formula.
        cost: of one call; None for an op without arithmetic.
        kind: of layer that it is; None for a part of one, such as a gradient.
        window: that it slides; None for none.
        settings: what distinguishes it beside the window, in words.
        training: whether it normalises with the batch's statistics; None where that is no question.
    """

    name: str
    function: Callable[..., Any]
    kernel: Callable[..., Any]
    arguments: Any
    is_differentiable: bool
    cost: Callable[[Arguments], Cost] | None
    kind: Callable[[Arguments], str] | None
    window: Callable[[Arguments], Window] | None
    settings: Callable[[Arguments], str] | None
    training: bool | None

    def named(self, args: Sequence[Any]) -> Arguments:
        """The arguments of a call by name; all ops take theirs by position."""
        return self.arguments(*args)


OPS: dict[str, Op] = {}
"""Every op of ours, by name."""


def register(
    schema: str,
    kernel: Callable[..., Any],
    fake: Callable[[Arguments], Any],
    *,
    save: Callable[[Any, Arguments, Any], None] | None = None,
    backward: Callable[..., Gradients] | None = None,
    cost: Callable[[Arguments], Cost] | None = None,
    kind: str | Callable[[Arguments], str] | None = None,
    window: Callable[[Arguments], Window] | None = None,
    settings: Callable[[Arguments], str] | None = None,
    training: bool | None = None,
    linear_in: str = "dy",
) -> Callable[..., Any]:
    """Defines ``torch.ops.lamina.<name>``, lists it in ``OPS`` and returns its ``function``.

    Args:
        schema: name and signature, ``"relu(Tensor x) -> Tensor"``.
        kernel: computes the outputs of float32 CPU tensors; takes the arguments by position.
        fake: gives the outputs' shape, strides and dtype without computing.
        save: ``(ctx, arguments, output)``, keeps what backward needs.
        backward: ``(ctx, *gradients)``, the gradients of the inputs. An op without one is itself
            a gradient that nobody differentiates again, and says so to whoever tries.
        cost: as in ``Op``, like the next four; its MACs are what PyTorch's FLOP counter counts.
        kind: a name, or how the arguments tell it.
        window: of the arguments.
        settings: of the arguments.
        training: of a normalisation.
        linear_in: the one argument whose tangent, in forward-mode, goes the way that it goes
            itself; every gradient is linear in the gradient that comes in.
    """
    name = schema.partition("(")[0]
    qualified = f"lamina::{name}"
    arguments = arguments_of(schema)
    torch.library.define(qualified, schema[schema.index("(") :], tags=torch.Tag.pt2_compliant_tag)
    torch.library.impl(qualified, "CPU", kernel)
    torch.library.register_fake(qualified, lambda *args: fake(arguments(*args)))
    packet = getattr(torch.ops.lamina, name)
    op = packet.default
    torch.library.register_vmap(qualified, _one_by_one(op))
    if backward is None:
        torch.library.register_autograd(qualified, _refusal(qualified))
        call = _directly_or(op, kernel)
    else:
        assert save is not None
        setup_context, formula = _by_position(arguments, save, backward)
        torch.library.register_autograd(qualified, formula, setup_context=setup_context)
        direct = _autograd_function(qualified, kernel, setup_context, formula)
        call = _differentiably_or(op, kernel, direct)
    function = _with_tangents(call, arguments, linear_in)
    if cost is not None:
        _tell_the_flop_counter(packet, arguments, cost)
    OPS[name] = Op(
        name=name,
        function=function,
        kernel=kernel,
        arguments=arguments,
        is_differentiable=backward is not None,
        cost=cost,
        kind=(lambda _: kind) if isinstance(kind, str) else kind,
        window=window,
        settings=settings,
        training=training,
    )
    return function


def arguments_of(schema: str) -> Any:
    """The named tuple of a schema's arguments.

    Example:
        >>> arguments_of("relu(Tensor x, bool inplace) -> Tensor")(1, inplace=True)
        relu(x=1, inplace=True)
    """
    name, _, rest = schema.partition("(")
    signature = rest.partition(") ->")[0]
    return namedtuple(name, re.findall(r"(\w+)\s*(?:,|$)", signature))


def _tell_the_flop_counter(packet: Any, arguments: Any, cost: Callable[[Arguments], Cost]) -> None:
    """Two FLOPs per multiply-accumulate, as of PyTorch's own ops, whatever algorithm runs."""

    def flops(*args: Any, out_val: Any = None, **named: Any) -> int:
        return 2 * cost(arguments(*args, **named)).macs

    register_flop_formula(packet, get_raw=True)(flops)


# ---- how an op is called ------------------------------------------------------------------------


def _directly_or(op: Callable[..., Any], kernel: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        return kernel(*args) if native.runs_directly(args) else op(*args)

    return call


def _differentiably_or(
    op: Callable[..., Any], kernel: Callable[..., Any], direct: Callable[..., Any]
) -> Callable[..., Any]:
    def call(*args: Any) -> Any:
        if not native.runs_directly(args):
            return op(*args)
        if torch.is_grad_enabled():
            for arg in args:  # no generator: it takes as long as all of the rest
                if isinstance(arg, Tensor) and arg.requires_grad:
                    return direct(*args)
        return kernel(*args)

    return call


def _with_tangents(call: Callable[..., Any], arguments: Any, linear_in: str) -> Callable[..., Any]:
    """Forward-mode: a kernel sees no tangent, and would drop it without a word."""
    names = arguments._fields

    def function(*args: Any) -> Any:
        if not differentiates_forward():
            return call(*args)
        tangents = {
            name: unpack_dual(arg).tangent
            for name, arg in zip(names, args, strict=True)
            if isinstance(arg, Tensor)
        }
        dual = [name for name, tangent in tangents.items() if tangent is not None]
        if not dual:
            return call(*args)
        if dual != [linear_in]:
            raise RuntimeError(
                f"lamina::{arguments.__name__} has no forward-mode derivative by {dual[0]}; "
                "compute the forward pass inside of dual_level, too"
            )
        at = names.index(linear_in)
        results, pushed = (
            call(*args[:at], part, *args[at + 1 :]) for part in unpack_dual(args[at])
        )
        if isinstance(results, Tensor):
            return make_dual(results, pushed)
        return tuple(make_dual(*pair) for pair in zip(results, pushed, strict=True))

    return function


def _by_position(
    arguments: Any,
    save: Callable[[Any, Arguments, Any], None],
    backward: Callable[..., Gradients],
) -> tuple[Callable[..., None], Callable[..., Any]]:
    """Both in the form that autograd wants."""
    names = arguments._fields

    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
        save(ctx, arguments(*inputs), output)

    def formula(ctx: Any, *gradients: Any) -> Any:
        found = backward(ctx, *gradients)
        return tuple([found.get(name) for name in names])

    return setup_context, formula


def _autograd_function(
    name: str,
    kernel: Callable[..., Any],
    setup_context: Callable[..., None],
    formula: Callable[..., Any],
) -> Callable[..., Any]:
    def forward(ctx: Any, *args: Any) -> Any:
        output = kernel(*args)
        setup_context(ctx, args, output)
        return output

    function = type(
        name, (torch.autograd.Function,), {"forward": forward, "backward": staticmethod(formula)}
    )
    function.forward = staticmethod(forward)  # type: ignore[attr-defined]
    # Past Function.apply, which looks for the transforms of torch.func: they do not come here.
    return super(torch.autograd.Function, function).apply  # type: ignore[misc, no-any-return]


def _refusal(name: str) -> Callable[..., Any]:
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
    """Gradients through PyTorch's own ``function(*inputs)``, which can be differentiated again.

    What a backward formula returns under ``create_graph=True``; None where an input is absent or
    needs no gradient, which may be all of them.
    """
    with torch.enable_grad():
        # Two inputs may be one tensor, and each is owed its own gradient. No `view_as`: the step
        # from image to image becomes another where there is one image, and PyTorch's gradients of
        # batch normalisation then are wrong for channels-last.
        alias = torch.ops.aten.alias.default
        aliases = [None if tensor is None else alias(tensor) for tensor in inputs]
        output = function(*aliases)
    wanted = [alias for alias in aliases if alias is not None and alias.requires_grad]
    if not wanted:
        return (None,) * len(inputs)
    create_graph = torch.is_grad_enabled()
    gradients = iter(
        torch.autograd.grad(output, wanted, gradient_output, create_graph=create_graph)
    )
    return tuple(
        next(gradients) if alias is not None and alias.requires_grad else None for alias in aliases
    )
