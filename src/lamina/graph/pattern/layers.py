"""Layers that a node may be: convolutions, normalisations, dense layers, means of the pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch.fx import Node

from lamina.graph.pattern.nodes import (
    argument,
    is_call,
    is_image,
    is_plain,
    named,
    op_of,
    pair,
    shape,
    sole_user,
)
from lamina.ops.runtime.registration import OPS
from lamina.ops.runtime.torch_private import pad_op
from lamina.theory import shapes
from lamina.theory.shapes import Padding, Pair, ResolvedPadding

__all__ = ["Convolution", "Normalization", "convolution", "linear", "normalization", "pixels_mean"]


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


# ---- convolution --------------------------------------------------------------------------------


def convolution(node: Node) -> Convolution | None:
    """The convolution that a node is, with zeros that were padded in front of it."""
    if is_call(node, torch.conv2d):
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
    given = named(node, "input weight bias stride padding dilation groups")
    stride, dilation = pair(given.get("stride", 1)), pair(given.get("dilation", 1))
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
        both = pair(padding)
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
    if not is_call(node, F.pad, pad_op) or sole_user(node) is not found.node:
        return found
    given = named(node, "input pad mode value")
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


# ---- other layers -------------------------------------------------------------------------------


def normalization(node: Node) -> Normalization | None:
    """The batch normalisation that a node is."""
    if is_call(node, F.batch_norm):
        given = named(node, "input running_mean running_var weight bias training momentum eps")
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


def linear(node: Node) -> tuple[Node, Node, Node | None] | None:
    """Input, weight and bias of the dense layer that a node is."""
    if not is_call(node, F.linear):
        return None
    given = named(node, "input weight bias")
    return given["input"], given["weight"], given.get("bias")


def pixels_mean(node: Node) -> Node | None:
    """The images whose mean over all pixels a node is."""
    if op_of(node) == "global_avg_pool2d":
        return node.args[0]  # type: ignore[return-value]
    if is_call(node, F.adaptive_avg_pool2d):
        size = argument(node, "output_size", 1)
        return argument(node, "input", 0) if size in (1, (1, 1), [1, 1]) else None
    if node.target in ("mean", torch.mean) and is_image(node.args[0] if node.args else None):
        axes = argument(node, "dim", 1)
        if isinstance(axes, list | tuple) and not set(node.kwargs) - {"dim", "keepdim"}:
            both = sorted(axis % 4 for axis in axes if type(axis) is int)
            if both == [2, 3] and len(axes) == 2:
                return node.args[0]  # type: ignore[return-value]
    return None
