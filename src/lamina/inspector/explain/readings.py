"""What one operator computes, read from its arguments: PyTorch's operators and ours alike.

Images are (channels, rows, columns) here, whatever the model's layout; a vector of features is so
many channels of one row and one column.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from lamina.inspector.count.facts import fact_of
from lamina.inspector.count.native import native_fact
from lamina.inspector.explain.functions import Function, function_of
from lamina.inspector.explain.recording import Step
from lamina.ops.runtime.registration import OPS
from lamina.theory.shapes import Pair, ResolvedPadding

__all__ = [
    "Convolution",
    "Dense",
    "Elementwise",
    "Join",
    "Normalisation",
    "Pool",
    "Reading",
    "image_of",
    "is_read",
    "kind_of",
    "read",
]


@dataclass(frozen=True)
class Convolution:
    """A convolution of x by weight (outputs, channels of a group, taps, taps)."""

    x: Tensor
    y: Tensor
    weight: Tensor
    bias: Tensor | None
    stride: Pair
    padding: ResolvedPadding
    dilation: Pair
    groups: int
    then: str = ""


@dataclass(frozen=True)
class Pool:
    """A pool; without a kernel an adaptive one, whose windows follow from the size of y."""

    x: Tensor
    y: Tensor
    mode: Literal["max", "average"]
    kernel: Pair | None
    stride: Pair = (1, 1)
    padding: ResolvedPadding = ((0, 0), (0, 0))
    dilation: Pair = (1, 1)
    counts_padding: bool = True
    divisor: int | None = None

    @property
    def is_global(self) -> bool:
        """Whether its one window is the whole image."""
        return self.kernel is None and self.y.shape[1:] == (1, 1)


@dataclass(frozen=True)
class Dense:
    """A product of the vector x by weight (outputs, features)."""

    x: Tensor
    y: Tensor
    weight: Tensor
    bias: Tensor | None
    then: str = ""


@dataclass(frozen=True)
class Normalisation:
    """Batch normalisation by running statistics."""

    x: Tensor
    y: Tensor
    mean: Tensor
    variance: Tensor
    epsilon: float
    weight: Tensor | None
    bias: Tensor | None
    then: str = ""


@dataclass(frozen=True)
class Elementwise:
    """A function of each value, or of all of them as softmax is."""

    x: Tensor
    y: Tensor
    function: Function


@dataclass(frozen=True)
class Join:
    """Two operands added, subtracted or multiplied, or several laid behind each other."""

    y: Tensor
    operation: Literal["add", "subtract", "multiply", "concatenate"]
    operands: tuple[Tensor | float, ...]


Reading = Convolution | Pool | Dense | Normalisation | Elementwise | Join


def image_of(tensor: Tensor, channels_last: bool) -> Tensor | None:
    """A batch of one image or of one vector as (channels, rows, columns); None for other ranks."""
    if not tensor.is_floating_point() or tensor.dim() not in (2, 4) or tensor.shape[0] != 1:
        return None
    if tensor.dim() == 2:
        return tensor[0, :, None, None]
    return tensor[0].permute(2, 0, 1) if channels_last else tensor[0]


Reader = Callable[[Step, bool], Reading | None]
_READERS: dict[str, Reader] = {}


def _reads(*operators: str) -> Callable[[Reader], Reader]:
    def register(reader: Reader) -> Reader:
        _READERS.update(dict.fromkeys(operators, reader))
        return reader

    return register


def read(step: Step, channels_last: bool) -> Reading | None:
    """What an operator computes; None for one that is not opened.

    Args:
        step: the operator, with its numbers.
        channels_last: whether the images of the layer that ran it are (N, rows, columns,
            channels). A convolution, a pool and a normalisation get theirs with the channels first
            in any case.
    """
    reader = _READERS.get(step.operator)
    if reader is not None:
        return reader(step, channels_last)
    found = function_of(step.operator, step.args, step.kwargs)
    if found is None:
        return None
    x, y = (image_of(tensor, channels_last) for tensor in (step.args[0], step.result))
    return None if x is None or y is None else Elementwise(x, y, found)


def is_read(step: Step) -> bool:
    """Whether an operator can be opened, on numbers of the right form."""
    if step.operator.endswith("convolution") and len(step.args) > 6:
        return not step.args[6]  # a transposed one cannot
    known = function_of(step.operator, step.args, step.kwargs)
    return step.operator in _READERS or known is not None


def _pair(value: int | Sequence[int]) -> Pair:
    values = (value, value) if isinstance(value, int) else tuple(value)
    return (values[0], values[-1])


def _even(padding: Pair) -> ResolvedPadding:
    return (padding[0], padding[0]), (padding[1], padding[1])


def _images(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor] | None:
    """Input and output of an operator whose images have the channels first; None for others."""
    before, after = image_of(x, False), image_of(y, False)
    if before is None or after is None or x.dim() != 4:
        return None
    return before, after


def _arg(step: Step, position: int, default: object = None) -> Any:  # noqa: ANN401 - any argument
    return step.args[position] if len(step.args) > position else default


@_reads("aten.convolution", "aten._convolution")
def _convolution(step: Step, _: bool) -> Reading | None:
    x, weight, bias, stride, padding, dilation, transposed, _output_padding, groups = step.args[:9]
    images = _images(x, step.result)
    if transposed or images is None:
        return None
    return Convolution(
        *images, weight, bias, _pair(stride), _even(_pair(padding)), _pair(dilation), groups
    )


@_reads("lamina.conv2d", "lamina.depthwise_conv2d")
def _our_convolution(step: Step, _: bool) -> Reading | None:
    a = _named(step)
    images = _images(a.x, step.result)
    more = [getattr(a, name, None) for name in ("scale", "mean", "variance", "addend")]
    if images is None or any(tensor is not None for tensor in more):
        return None
    top, bottom, left, right = a.padding
    return Convolution(
        *images,
        a.weight,
        a.shift,
        _pair(a.stride),
        ((top, bottom), (left, right)),
        _pair(a.dilation),
        getattr(a, "groups", a.x.shape[1]),
        _then(a),
    )


def _named(step: Step) -> Any:  # noqa: ANN401 - a named tuple of the operator's own
    return OPS[step.operator.partition(".")[2]].named(step.args)


def _then(arguments: Any) -> str:  # noqa: ANN401 - as above
    name: str = arguments.activation
    return "" if name == "none" else name


@_reads("aten.max_pool2d_with_indices")
def _max_pool(step: Step, _: bool) -> Reading | None:
    images = _images(step.args[0], step.result)
    kernel = _pair(step.args[1])
    stride = _pair(_arg(step, 2) or kernel)
    padding, dilation = _even(_pair(_arg(step, 3, 0))), _pair(_arg(step, 4, 1))
    if images is None:
        return None
    return Pool(*images, "max", kernel, stride, padding, dilation)


@_reads("aten.avg_pool2d")
def _average_pool(step: Step, _: bool) -> Reading | None:
    images = _images(step.args[0], step.result)
    kernel = _pair(step.args[1])
    stride, padding = _pair(_arg(step, 2) or kernel), _even(_pair(_arg(step, 3, 0)))
    counts, divisor = _arg(step, 5, True), _arg(step, 6)
    if images is None:
        return None
    return Pool(*images, "average", kernel, stride, padding, (1, 1), counts, divisor)


@_reads("lamina.max_pool2d", "lamina.max_pool2d_inference", "lamina.avg_pool2d")
def _our_pool(step: Step, _: bool) -> Reading | None:
    a = _named(step)
    images = _images(a.x, step.result)
    top, bottom, left, right = a.padding
    if images is None:
        return None
    return Pool(
        *images,
        "max" if "max" in step.operator else "average",
        _pair(a.kernel_size),
        _pair(a.stride),
        ((top, bottom), (left, right)),
        _pair(a.dilation),
        getattr(a, "count_padding", True),
        getattr(a, "divisor", 0) or None,
    )


@_reads("aten._adaptive_avg_pool2d", "aten.adaptive_max_pool2d")
def _adaptive(step: Step, _: bool) -> Reading | None:
    images = _images(step.args[0], step.result)
    mode: Literal["max", "average"] = "max" if "max" in step.operator else "average"
    if images is None:
        return None
    return Pool(*images, mode, None)


@_reads("aten.mean", "aten.amax", "lamina.global_avg_pool2d", "lamina.global_max_pool2d")
def _over_image(step: Step, channels_last: bool) -> Reading | None:
    x = step.args[0]
    if step.operator.startswith("aten"):
        dims = sorted(dim % x.dim() for dim in _arg(step, 1) or range(x.dim()))
        if x.dim() != 4 or dims not in ([2, 3], [1, 2]):
            return None
        channels_last = dims == [1, 2]
    else:
        channels_last = False
    image = image_of(x, channels_last)
    mode: Literal["max", "average"] = "max" if "max" in step.operator else "average"
    y = step.result.reshape(-1, 1, 1)
    return None if image is None else Pool(image, y, mode, None)


@_reads("aten.addmm", "aten.mm", "lamina.linear", "aten.linear")
def _dense(step: Step, _: bool) -> Reading | None:
    bias: Tensor | None = None
    if step.operator == "aten.addmm":
        bias, x, transposed = step.args[:3]
        weight = transposed.t()
    elif step.operator == "aten.mm":
        x, weight = step.args[0], step.args[1].t()
    else:
        x, weight, bias = (*step.args, None)[:3]
    varies = [made is not None for made in step.makers]
    if x.dim() != 2 or x.shape[0] != 1 or sum(varies) != 1:
        return None  # several positions, or a product of two things made of the image
    return Dense(x[0, :, None, None], step.result[0, :, None, None], weight, bias)


_NO_TRAINING = "aten._native_batch_norm_legit_no_training"


@_reads("aten.native_batch_norm", "aten.cudnn_batch_norm", _NO_TRAINING)
def _batch_norm(step: Step, _: bool) -> Reading | None:
    x, weight, bias, mean, variance, *rest = step.args
    training = step.operator != _NO_TRAINING and rest.pop(0)
    x, y = image_of(x, False), image_of(step.result, False)
    if x is None or y is None or training or mean is None:
        return None
    _momentum, epsilon = rest[:2]
    return Normalisation(x, y, mean, variance, float(epsilon), weight, bias)


@_reads("lamina.batch_norm_inference")
def _our_batch_norm(step: Step, _: bool) -> Reading | None:
    a = _named(step)
    x, y = image_of(a.x, False), image_of(step.result, False)
    if x is None or y is None:
        return None
    return Normalisation(x, y, a.mean, a.variance, a.eps, a.weight, a.bias, _then(a))


_OPERATIONS: dict[str, Literal["add", "subtract", "multiply"]] = {
    "add": "add", "add_": "add", "sub": "subtract", "sub_": "subtract", "mul": "multiply",
    "mul_": "multiply",
}  # fmt: skip


@_reads(*(f"aten.{name}" for name in _OPERATIONS))
def _arithmetic(step: Step, channels_last: bool) -> Reading | None:
    y = image_of(step.result, channels_last)
    if y is None or step.kwargs.get("alpha", 1) != 1:
        return None
    operands: list[Tensor | float] = []
    for value in step.args[:2]:
        if not isinstance(value, Tensor):
            operands.append(float(value))
            continue
        try:
            whole = torch.broadcast_to(value, step.result.shape)
        except RuntimeError:
            return None
        image = image_of(whole, channels_last)
        assert image is not None
        operands.append(image)
    return Join(y, _OPERATIONS[step.operator.partition(".")[2]], tuple(operands))


@_reads("aten.cat")
def _concatenation(step: Step, channels_last: bool) -> Reading | None:
    dim = _arg(step, 1, 0) % step.result.dim()
    y = image_of(step.result, channels_last)
    wanted = 3 if channels_last and step.result.dim() == 4 else 1
    if y is None or dim != wanted:
        return None
    images = [image_of(tensor, channels_last) for tensor in step.args[0]]
    return Join(y, "concatenate", tuple(image for image in images if image is not None))


def kind_of(step: Step) -> tuple[str, str]:
    """Kind and settings of an operator, as the inspector words them; empty where it has none."""
    if step.packet is None:
        return "", ""
    if step.packet.namespace == "lamina":
        fact = native_fact(step.packet, step.args, step.result)
    else:
        fact = fact_of(step.operator, step.args, step.result)
    return (fact.kind, fact.settings) if fact else ("", "")
