"""What follows a convolution's sum: scale, shift, what is added, activation.

    y = activation(scale · sum + shift + addend)

A bias is a shift, a batch normalisation by its running statistics is scale and shift, a residual
connection is an addend. Kernels do it while the sum is in a register.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.activation import activation_epilogue
from lamina.ops.runtime import boundary
from lamina.ops.runtime.checks import check_vector
from lamina.theory.activation import activation_named
from lamina.theory.cost import Cost

Vectors = tuple[Tensor | None, Tensor | None, Tensor | None, Tensor | None]


class Finish(NamedTuple):
    """What follows a convolution in inference, for each channel.

    activation(scale · sum + shift + addend), or with a batch normalisation's running statistics
    activation(scale · (sum − mean) / √(variance + eps) + shift + addend).

    Args:
        scale: (C,), None for 1.
        shift: (C,), None for 0.
        activation: "relu", "relu6", "leaky_relu", "silu", "hardswish" or None.
        mean: (C,), None for no statistics.
        variance: (C,), None for no statistics.
        eps: added to the variance.
        addend: of the result's shape, None for 0.
        negative_slope: of leaky_relu.
    """

    scale: Tensor | None = None
    shift: Tensor | None = None
    activation: str | None = None
    mean: Tensor | None = None
    variance: Tensor | None = None
    eps: float = 0.0
    addend: Tensor | None = None
    negative_slope: float = 0.01

    @property
    def parameters(self) -> Vectors:
        """Its numbers per channel, in the kernel's order."""
        return self.scale, self.shift, self.mean, self.variance


def finish_of(a: Any) -> Finish:
    """That of a registered op's arguments, whose names are its fields'."""
    return Finish(
        a.scale,
        a.shift,
        None if a.activation == "none" else a.activation,
        a.mean,
        a.variance,
        a.eps,
        getattr(a, "addend", None),
        a.negative_slope,
    )


def is_sum(a: Any) -> bool:
    """Whether a registered op's arguments add a bias at most, before the activation."""
    return a.scale is a.mean is a.variance is getattr(a, "addend", None) is None


def apply_finish(z: Tensor, finish: Finish, in_place: bool = False) -> Tensor:
    """By PyTorch's ops, one after the other.

    Args:
        z: the sums, (N, C, H, W).
        finish: what becomes of them.
        in_place: whether the result may take their memory.

    Raises:
        ValueError: an addend of another shape, a vector of another length than there are channels,
            or a mean without a variance.

    Example:
        >>> below = Finish(shift=torch.tensor([-3.0]), activation="relu")
        >>> apply_finish(torch.ones(1, 1, 1, 2), below)
        tensor([[[[0., 0.]]]])
    """
    _check_statistics(finish.mean, finish.variance, "finish")
    for what, vector in zip(("scale", "bias", "mean", "variance"), finish.parameters, strict=True):
        check_vector(vector, "finish", what, z.shape[1])
    scale, shift = finish.scale, finish.shift
    if finish.mean is not None and finish.variance is not None:
        inverse = torch.rsqrt(finish.variance + finish.eps)
        scale = inverse if scale is None else scale * inverse
        shift = -finish.mean * scale if shift is None else shift - finish.mean * scale
    multiply, add = (Tensor.mul_, Tensor.add_) if in_place else (Tensor.mul, Tensor.add)
    z = z if scale is None else multiply(z, scale.view(1, -1, 1, 1))
    z = z if shift is None else add(z, shift.view(1, -1, 1, 1))
    if finish.addend is not None:
        z = add(z, boundary.of_shape(finish.addend, "the addend", z.shape))
    name = finish.activation
    if name is None or not in_place:
        return activation_epilogue(z, name or "none", finish.negative_slope)
    if name == "leaky_relu":
        return F.leaky_relu(z, finish.negative_slope, inplace=True)
    activated: Tensor = getattr(F, name)(z, inplace=True)
    return activated


def vectors(parameters: Vectors, op: str, channels: int) -> Vectors:
    """A finish's ``parameters`` as the kernels read them.

    Raises:
        TypeError: as ``boundary.plain``.
        ValueError: another shape, or a mean without a variance.
    """
    scale, shift, mean, variance = parameters
    shift = None if shift is None else boundary.vector(shift, f"{op}: bias", channels)
    if scale is mean is variance is None:  # most often; a small call takes little longer than this
        return None, shift, None, None
    _check_statistics(mean, variance, op)
    return (
        boundary.vector(scale, f"{op}: scale", channels),
        shift,
        boundary.vector(mean, f"{op}: mean", channels),
        boundary.vector(variance, f"{op}: variance", channels),
    )


def _check_statistics(mean: Tensor | None, variance: Tensor | None, op: str) -> None:
    if (mean is None) is not (variance is None):
        raise ValueError(f"{op}: mean and variance come together")


def operations(finish: Finish) -> int:
    """For each element: a scale, a shift, an addition, an activation."""
    scales = finish.scale is not None or finish.variance is not None
    shifts = finish.shift is not None or finish.mean is not None
    adds = finish.addend is not None
    activation = activation_named(finish.activation or "linear")
    return int(scales) + int(shifts) + int(adds) + activation.forward_flops


def cost_of_finish(finish: Finish, elements: int, itemsize: int = 4) -> Cost:
    """What it adds to that of the sums.

    Args:
        finish: what becomes of them.
        elements: of the result.
        itemsize: bytes of an element.
    """
    parameters, statistics = (
        sum(tensor.shape[0] for tensor in tensors if tensor is not None)
        for tensors in ((finish.scale, finish.shift), (finish.mean, finish.variance))
    )
    added = 0 if finish.addend is None else elements
    return Cost(
        parameters=parameters,
        other_flops=operations(finish) * elements,
        bytes_read=itemsize * (parameters + statistics + added),
    )
