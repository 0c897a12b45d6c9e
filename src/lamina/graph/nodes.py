"""What a node of a captured graph computes, whichever of PyTorch's or lamina's names it goes by.

Dynamo writes a model down as it was called: ``F.relu``, ``torch.relu_``, ``x.relu()`` and a module
of lamina.nn are four nodes of four forms. Here each becomes one description.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch.fx import Node

from lamina.ops.runtime.registration import OPS
from lamina.ops.runtime.torch_private import pad_op
from lamina.theory import shapes
from lamina.theory.shapes import Padding, Pair, ResolvedPadding

__all__ = [
    "OURS",
    "Activation",
    "Convolution",
    "Normalization",
    "Sum",
    "activation",
    "argument",
    "behind_views",
    "convolution",
    "factors",
    "gate",
    "is_image",
    "is_plain",
    "linear",
    "normalization",
    "op_of",
    "pixels_mean",
    "product_of",
    "shape",
    "sole_user",
    "sum_of",
    "value",
]


OURS = "lamina"
"""In the meta of a node that was written here: it takes images of any memory format, and its result
shares memory with nothing."""


@dataclass(frozen=True)
class Convolution:
    """A convolution without anything behind it but a bias."""

    node: Node
    x: Node
    weight: Node
    bias: Node | None
    stride: Pair
    padding: ResolvedPadding
    dilation: Pair
    groups: int

    @property
    def kernel_shape(self) -> tuple[int, ...]:
        """(out channels, in channels of a group, height, width)."""
        return shape(self.weight) or ()

    @property
    def is_depthwise(self) -> bool:
        """Whether each channel has one kernel of its own."""
        outputs, inputs = self.kernel_shape[:2]
        return inputs == 1 and outputs == self.groups and self.groups > 1

    @property
    def is_pointwise(self) -> bool:
        """Whether it is a product at every pixel."""
        return (
            self.kernel_shape[2:] == (1, 1)
            and self.groups == 1
            and self.stride == (1, 1)
            and self.padding == ((0, 0), (0, 0))
        )


@dataclass(frozen=True)
class Normalization:
    """Batch normalisation."""

    node: Node
    x: Node
    mean: Node | None
    variance: Node | None
    weight: Node | None
    bias: Node | None
    training: bool
    momentum: float
    eps: float

    @property
    def is_affine(self) -> bool:
        """Whether it is a scale and a shift of each channel: by running statistics."""
        return not self.training and self.mean is not None and self.variance is not None


@dataclass(frozen=True)
class Activation:
    """An activation that the kernels know, under their name."""

    node: Node
    x: Node
    name: str
    negative_slope: float = 0.01


@dataclass(frozen=True)
class Sum:
    """Of two images of one shape."""

    node: Node
    left: Node
    right: Node
    is_inplace: bool

    def other(self, node: Node) -> Node:
        """What is added to ``node``."""
        return self.right if node is self.left else self.left


# ---- looking at a node --------------------------------------------------------------------------


def value(node: Node) -> Any:
    """The fake tensor, number or tuple that stood here while the graph was captured."""
    return node.meta.get("example_value")


def shape(node: Any) -> tuple[int, ...] | None:
    """Of a tensor; an extent may be a symbol."""
    found = value(node) if isinstance(node, Node) else None
    return tuple(found.shape) if isinstance(found, torch.Tensor) else None


def is_plain(node: Any) -> bool:
    """Whether it is a tensor that kernels take: float32, on the CPU, strided."""
    found = value(node) if isinstance(node, Node) else None
    return (
        isinstance(found, torch.Tensor)
        and found.dtype is torch.float32
        and found.device.type == "cpu"
        and found.layout is torch.strided
    )


def is_image(node: Any) -> bool:
    """Whether it is a batch of images that kernels take."""
    return is_plain(node) and len(shape(node) or ()) == 4


def sole_user(node: Node) -> Node | None:
    """The one node that reads it, where there is no other."""
    return next(iter(node.users)) if len(node.users) == 1 else None


def op_of(node: Node) -> str | None:
    """The name of lamina's op that a node calls; None for PyTorch's."""
    if node.op != "call_function" or getattr(node.target, "namespace", None) != "lamina":
        return None
    name = str(node.target).split(".")[1]
    return name if name in OPS else None


def argument(node: Node, name: str, position: int, default: Any = None) -> Any:
    """An argument by its name or its position."""
    if len(node.args) > position:
        return node.args[position]
    return node.kwargs.get(name, default)


def _named(node: Node, names: str) -> dict[str, Any]:
    """Those that were given."""
    given = dict(zip(names.split(), node.args, strict=False))
    return {**given, **node.kwargs}


def _is_call(node: Node, *targets: Callable[..., Any]) -> bool:
    return node.op == "call_function" and node.target in targets


def _is_method(node: Node, *names: str) -> bool:
    return node.op == "call_method" and node.target in names


def _pair(value: Any) -> Pair | None:
    both = tuple(value) if isinstance(value, tuple | list) else (value, value)
    both = both * 2 if len(both) == 1 else both
    return both if len(both) == 2 and all(type(v) is int for v in both) else None


# ---- convolution --------------------------------------------------------------------------------


def convolution(node: Node) -> Convolution | None:
    """The convolution that a node is, with zeros that were padded in front of it."""
    if _is_call(node, torch.conv2d):
        found = _torch_convolution(node)
    elif op_of(node) == "conv2d":
        found = _lamina_convolution(node)
    elif op_of(node) == "depthwise_conv2d":
        found = _lamina_depthwise(node)
    else:
        return None
    if found is None or not (is_image(found.x) and is_image(found.weight) and is_image(node)):
        return None
    if found.bias is not None and not is_plain(found.bias):
        return None
    return _with_border(found)


def _torch_convolution(node: Node) -> Convolution | None:
    given = _named(node, "input weight bias stride padding dilation groups")
    stride, dilation = _pair(given.get("stride", 1)), _pair(given.get("dilation", 1))
    padding, groups = given.get("padding", 0), given.get("groups", 1)
    kernel = shape(given["weight"])
    if stride is None or dilation is None or kernel is None or len(kernel) != 4:
        return None
    if isinstance(padding, str):
        if padding == "same" and stride != (1, 1):
            return None
        resolved = shapes.resolve_padding(
            cast(Padding, padding), kernel[2:], kernel[2:], stride, dilation
        )
    else:
        both = _pair(padding)
        if both is None:
            return None
        resolved = ((both[0], both[0]), (both[1], both[1]))
    x, weight, bias = given["input"], given["weight"], given.get("bias")
    return Convolution(node, x, weight, bias, stride, resolved, dilation, groups)


def _lamina_convolution(node: Node) -> Convolution | None:
    a = OPS["conv2d"].named(node.args)
    if a.activation != "none" or a.algorithm != "auto":
        return None
    if any(t is not None for t in (a.scale, a.mean, a.variance, a.addend)):
        return None
    return _from_op(node, a, a.groups)


def _lamina_depthwise(node: Node) -> Convolution | None:
    a = OPS["depthwise_conv2d"].named(node.args)
    if a.activation != "none" or any(t is not None for t in (a.scale, a.mean, a.variance)):
        return None
    inputs = shape(a.x)
    return _from_op(node, a, inputs[1]) if inputs and len(inputs) == 4 else None


def _from_op(node: Node, a: Any, groups: int) -> Convolution | None:
    if not all(type(side) is int for side in a.padding):
        return None
    top, bottom, left, right = a.padding
    padding = ((top, bottom), (left, right))
    return Convolution(
        node, a.x, a.weight, a.shift, tuple(a.stride), padding, tuple(a.dilation), groups
    )


def _with_border(found: Convolution) -> Convolution:
    """Zeros that ``F.pad`` writes around the image are padding, where nobody else reads them."""
    node = found.x
    if not _is_call(node, F.pad, pad_op) or sole_user(node) is not found.node:
        return found
    given = _named(node, "input pad mode value")
    sides = given["pad"]
    zeros = given.get("mode", "constant") == "constant" and not given.get("value")
    if not zeros or len(sides) != 4 or not all(type(s) is int and s >= 0 for s in sides):
        return found
    left, right, top, bottom = sides
    (own_top, own_bottom), (own_left, own_right) = found.padding
    padding = ((own_top + top, own_bottom + bottom), (own_left + left, own_right + right))
    return Convolution(
        found.node,
        given["input"],
        found.weight,
        found.bias,
        found.stride,
        padding,
        found.dilation,
        found.groups,
    )


# ---- what follows one ---------------------------------------------------------------------------


def normalization(node: Node) -> Normalization | None:
    """The batch normalisation that a node is."""
    if _is_call(node, F.batch_norm):
        given = _named(node, "input running_mean running_var weight bias training momentum eps")
        training, momentum = given.get("training", False), given.get("momentum", 0.1)
        eps, x = given.get("eps", 1e-5), given["input"]
        tensors = [given.get(n) for n in ("running_mean", "running_var", "weight", "bias")]
    elif op_of(node) == "batch_norm_inference":
        a = OPS["batch_norm_inference"].named(node.args)
        if a.activation != "none":
            return None
        training, momentum, eps, x = False, 0.1, a.eps, a.x
        tensors = [a.mean, a.variance, a.weight, a.bias]
    else:
        return None
    if not (type(eps) is type(momentum) is float) or not all(
        t is None or is_plain(t) for t in (x, *tensors)
    ):
        return None
    mean, variance, weight, bias = tensors
    return Normalization(node, x, mean, variance, weight, bias, training, momentum, eps)


_FUNCTIONS: dict[Callable[..., Any], str] = {
    F.relu: "relu",
    F.relu_: "relu",
    torch.relu: "relu",
    torch.relu_: "relu",
    F.relu6: "relu6",
    F.silu: "silu",
    F.hardswish: "hardswish",
    F.leaky_relu: "leaky_relu",
    F.leaky_relu_: "leaky_relu",
}
_METHODS = {"relu": "relu", "relu_": "relu"}


def activation(node: Node) -> Activation | None:
    """The activation that a node is; None for one that no kernel applies."""
    if node.op == "call_method" and node.target in _METHODS:
        return Activation(node, node.args[0], _METHODS[node.target])  # type: ignore[arg-type]
    if node.op != "call_function" or (not node.args and "input" not in node.kwargs):
        return None
    x = argument(node, "input", 0)
    if node.target in (F.hardtanh, F.hardtanh_):
        low, high = argument(node, "min_val", 1, -1.0), argument(node, "max_val", 2, 1.0)
        return Activation(node, x, "relu6") if (low, high) == (0.0, 6.0) else None
    name = _FUNCTIONS.get(node.target)  # type: ignore[arg-type]
    if name == "leaky_relu":
        return Activation(node, x, name, float(argument(node, "negative_slope", 1, 0.01)))
    return None if name is None else Activation(node, x, name)


_GATES: dict[Any, str] = {
    torch.sigmoid: "sigmoid",
    F.sigmoid: "sigmoid",
    torch.sigmoid_: "sigmoid",
    "sigmoid": "sigmoid",
    "sigmoid_": "sigmoid",
    F.hardsigmoid: "hardsigmoid",
}


def gate(node: Node) -> str | None:
    """The name of the sigmoid, hard or not, that a node is."""
    return _GATES.get(node.target) if node.op in ("call_function", "call_method") else None


_PRODUCTS = frozenset((operator.mul, operator.imul, torch.mul, "mul", "mul_"))


def factors(node: Node) -> tuple[Any, Any] | None:
    """The two factors of the product that a node is; one may be a number."""
    is_product = node.op in ("call_function", "call_method") and node.target in _PRODUCTS
    return (node.args[0], node.args[1]) if is_product and len(node.args) == 2 else None


def product_of(node: Node) -> tuple[Node, Node] | None:
    """The two tensors whose product a node is."""
    found = factors(node)
    if found is None or node.kwargs or not all(map(is_plain, found)):
        return None
    return found


_VIEWS = frozenset(
    (
        "view",
        "reshape",
        "flatten",
        "squeeze",
        "unsqueeze",
        torch.flatten,
        torch.reshape,
        torch.squeeze,
        torch.unsqueeze,
        operator.getitem,
    )
)


def behind_views(node: Any) -> Any:
    """A node, or what it is another shape of, where nobody else reads that shape."""
    while isinstance(node, Node) and node.target in _VIEWS and len(node.users) == 1:
        source = node.args[0]
        if not isinstance(source, Node) or not (is_plain(source) and is_plain(node)):
            break
        if value(source).numel() != value(node).numel():
            break
        node = source
    return node


def linear(node: Node) -> tuple[Node, Node, Node | None] | None:
    """Input, weight and bias of the dense layer that a node is."""
    if not _is_call(node, F.linear):
        return None
    given = _named(node, "input weight bias")
    return given["input"], given["weight"], given.get("bias")


def pixels_mean(node: Node) -> Node | None:
    """The images whose mean over all pixels a node is."""
    if op_of(node) == "global_avg_pool2d":
        return node.args[0]  # type: ignore[return-value]
    if _is_call(node, F.adaptive_avg_pool2d):
        size = argument(node, "output_size", 1)
        return argument(node, "input", 0) if size in (1, (1, 1), [1, 1]) else None
    if node.target in ("mean", torch.mean) and is_image(node.args[0] if node.args else None):
        axes = argument(node, "dim", 1)
        if isinstance(axes, list | tuple) and not set(node.kwargs) - {"dim", "keepdim"}:
            both = sorted(axis % 4 for axis in axes if type(axis) is int)
            if both == [2, 3] and len(axes) == 2:
                return node.args[0]  # type: ignore[return-value]
    return None


def sum_of(node: Node) -> Sum | None:
    """The sum of two images of one shape that a node is."""
    inplace = _is_call(node, operator.iadd) or _is_method(node, "add_")
    if not inplace and not _is_call(node, operator.add, torch.add) and not _is_method(node, "add"):
        return None
    if len(node.args) != 2 or node.kwargs.get("alpha", 1) != 1 or "out" in node.kwargs:
        return None
    left, right = node.args
    if not (is_image(left) and is_image(right)) or left is right:
        return None
    if shape(left) != shape(right):
        return None
    return Sum(node, left, right, inplace)  # type: ignore[arg-type]
