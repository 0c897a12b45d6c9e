"""Our own operators, ``torch.ops.lamina.*``: what they compute, by the theory of their kind.

An operator's arguments are read by the names of its schema, so that a formula stays right when
an operator gains an argument.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import Tensor

from lamina.inspector.count.facts import Fact, times
from lamina.inspector.count.operators import Operator, Value
from lamina.theory import batch_norm2d, conv2d, dense, depthwise_conv2d, dropout, pool2d
from lamina.theory.cost import Cost
from lamina.theory.pool2d import Operation
from lamina.theory.shapes import Direction

__all__ = ["native_cost", "native_fact", "native_window"]

Named = dict[str, Any]


def _named(func: Operator, args: Sequence[Any]) -> Named:
    """Arguments by the names of the operator's schema, defaults filled in."""
    values: Named = {argument.name: argument.default_value for argument in func._schema.arguments}
    values.update(zip(values, args, strict=False))
    return values


def _batch_norm(named: Named, training: bool, direction: Direction) -> Cost:
    activation = named.get("activation")
    return batch_norm2d.cost(
        named["x"].shape,
        affine=named["weight"] is not None,
        training=training,
        activation=None if activation in (None, "none") else activation,
        direction=direction,
    )


def _pool(named: Named, operation: Operation, direction: Direction) -> Cost:
    if direction == "forward":
        shape = tuple(named["x"].shape)
    else:
        shape = (*named["dy"].shape[:2], *named["size"])
    return pool2d.cost(
        shape,
        tuple(named["kernel_size"]),
        tuple(named["stride"]),
        _padding(named),
        tuple(named.get("dilation", (1, 1))),
        operation=operation,
        direction=direction,
    )


def _padding(named: Named) -> tuple[tuple[int, int], tuple[int, int]]:
    padding = tuple(named["padding"])
    if len(padding) == 2:
        return (padding[0], padding[0]), (padding[1], padding[1])
    top, bottom, left, right = padding
    return (top, bottom), (left, right)


def _global_pool(named: Named, operation: Operation, direction: Direction) -> Cost:
    shape = tuple(named["x"].shape) if "x" in named else tuple(named["size"])
    if len(shape) == 2:  # height and width alone
        shape = (*named["dy"].shape[:2], *shape)
    return pool2d.global_cost(shape, operation=operation, direction=direction)


def _depthwise(named: Named, direction: Direction) -> Cost:
    weight, stride = named["weight"], tuple(named["stride"])
    wanted = list(named.get("wanted", (True, True, True)))
    channels = named["x"].shape[1]
    return depthwise_conv2d.cost(
        tuple(named["x"].shape),
        tuple(weight.shape[2:]),
        stride,
        _padding(named),
        tuple(named["dilation"]),
        depth_multiplier=weight.shape[0] // channels,
        bias=named["bias"] is not None,
        direction=direction,
        input_gradient=bool(wanted[0]),
    )


def _convolution(named: Named, direction: Direction) -> Cost:
    weight = named["weight"]
    return conv2d.cost(
        tuple(named["x"].shape),
        weight.shape[0],
        tuple(weight.shape[2:]),
        tuple(named["stride"]),
        _padding(named),
        tuple(named["dilation"]),
        int(named["groups"]),
        bias=named.get("shift") is not None,
        direction=direction,
        input_gradient=False,  # each gradient is an operator of its own: one product each
    )


def _dense(named: Named) -> Cost:
    return dense.cost(named["x"].shape, named["weight"].shape[0], named["bias"] is not None)


def _dense_input_gradient(named: Named) -> Cost:
    return dense.cost(named["dy"].shape, named["weight"].shape[1], bias=False)


def _dense_weight_gradient(named: Named) -> Cost:
    outputs = named["weight"].shape[0]
    return dense.cost(
        named["x"].shape, outputs, bias=False, direction="backward", input_gradient=False
    )


_COSTS: dict[str, Callable[[Named], Cost]] = {
    "batch_norm_training": lambda named: _batch_norm(named, True, "forward"),
    "batch_norm_inference": lambda named: _batch_norm(named, False, "forward"),
    "batch_norm_backward": lambda named: _batch_norm(
        named, bool(named["batch_statistics"]), "backward"
    ),
    "max_pool2d": lambda named: _pool(named, "max", "forward"),
    "max_pool2d_inference": lambda named: _pool(named, "max", "forward"),
    "max_pool2d_backward": lambda named: _pool(named, "max", "backward"),
    "avg_pool2d": lambda named: _pool(named, "average", "forward"),
    "avg_pool2d_backward": lambda named: _pool(named, "average", "backward"),
    "global_avg_pool2d": lambda named: _global_pool(named, "average", "forward"),
    "global_avg_pool2d_backward": lambda named: _global_pool(named, "average", "backward"),
    "global_max_pool2d": lambda named: _global_pool(named, "max", "forward"),
    "global_max_pool2d_backward": lambda named: _global_pool(named, "max", "backward"),
    "conv2d": lambda named: _convolution(named, "forward"),
    "conv2d_input_gradient": lambda named: _convolution(named, "backward"),
    "conv2d_weight_gradient": lambda named: _convolution(named, "backward"),
    "linear": _dense,
    "linear_input_gradient": _dense_input_gradient,
    "linear_weight_gradient": _dense_weight_gradient,
    "depthwise_conv2d": lambda named: _depthwise(named, "forward"),
    "depthwise_conv2d_backward": lambda named: _depthwise(named, "backward"),
    # Its backward pass is the same operator on the gradient: the mask is made again from the seed.
    "dropout": lambda named: dropout.cost(named["x"].shape, float(named["p"])),
}


def native_cost(func: Operator, args: Sequence[Any]) -> Cost | None:
    """What one call of an operator of ours costs; ``None`` for one without a formula."""
    formula = _COSTS.get(func._schema.name.partition("::")[2])
    return formula(_named(func, args)) if formula else None


def native_fact(func: Operator, args: Sequence[Any], out: Value) -> Fact | None:
    """What an operator of ours is as a layer; ``None`` for a part of one."""
    name = func._schema.name.partition("::")[2]
    first = out[0] if isinstance(out, tuple | list) else out
    if not isinstance(first, Tensor) or name.endswith(("backward", "gradient")):
        return None
    x: Tensor = args[0]
    named, shapes = _named(func, args), (tuple(x.shape), tuple(first.shape))
    if name.startswith("batch_norm"):
        training = name.endswith("training")
        settings = "batch statistics" if training else "running statistics"
        if named["activation"] != "none":
            settings += f", then {named['activation']}"
        return Fact("batch_norm2d" if x.dim() == 4 else "batch_norm", settings, *shapes,
                    training=training)  # fmt: skip
    if name.startswith("global"):
        return Fact(name, "", *shapes)
    if name == "linear":
        return Fact("dense", "", *shapes)
    if "kernel_size" not in named and "weight" not in named:
        return None
    kernel = tuple(named["kernel_size"] if "kernel_size" in named else named["weight"].shape[2:])
    stride = tuple(named["stride"])
    settings = f"{times(kernel)}, stride {stride[0] if len(set(stride)) == 1 else times(stride)}"
    return Fact(name.removesuffix("_inference"), settings, *shapes, kernel=kernel, stride=stride)


def native_window(
    func: Operator, args: Sequence[Any]
) -> list[tuple[int, float, float, int]] | None:
    """Size, stride, padding and dilation per axis of an operator that slides a window."""
    named = _named(func, args)
    if "stride" not in named or "x" not in named:
        return None
    kernel = named["kernel_size"] if "kernel_size" in named else named["weight"].shape[2:]
    padding = named["padding"]
    before = (padding[0], padding[2]) if len(padding) == 4 else tuple(padding)
    dilation = named.get("dilation", (1, 1))
    return list(zip(kernel, named["stride"], before, dilation, strict=True))
