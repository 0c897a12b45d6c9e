"""What an operator is, in words of layers: kind, kernel, channels; read from its arguments.

Reading the operator rather than the module makes torch.nn, lamina.nn, Keras and plain functions
look the same, and cannot be wrong about what ran.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lamina.inspector.count.operators import Value
from lamina.theory.conv2d import kind as kind_of

__all__ = ["Fact", "adaptive", "fact_of", "times", "window_words"]


@dataclass(frozen=True)
class Fact:
    """One operator as a layer.

    Args:
        kind: the layer's kind, such as ``"depthwise_conv2d"``.
        settings: what distinguishes it, in words.
        input_shape: of the operand that flows through.
        output_shape: of the result.
        kernel: window in pixels, where there is one.
        stride: pixels from window to window.
        groups: of a convolution.
        training: whether batch statistics were used, for a batch norm.
    """

    kind: str
    settings: str
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    kernel: tuple[int, ...] = ()
    stride: tuple[int, ...] = ()
    groups: int = 1
    training: bool = False


Reader = Callable[[Sequence[Any], Tensor], Fact]
_READERS: dict[str, Reader] = {}


def _reads(*operators: str) -> Callable[[Reader], Reader]:
    def register(reader: Reader) -> Reader:
        _READERS.update(dict.fromkeys(operators, reader))
        return reader

    return register


def fact_of(operator: str, args: Sequence[Any], out: Value) -> Fact | None:
    """What one call of ``"aten.convolution"`` and the like is; ``None`` for other operators."""
    reader = _READERS.get(operator)
    first = out[0] if isinstance(out, tuple | list) and out else out
    return reader(args, first) if reader and isinstance(first, Tensor) else None


def times(sizes: Sequence[object]) -> str:
    """Write sizes as ``3×3``."""
    return "×".join(str(size) for size in sizes)


def _tuple(value: int | Sequence[int], rank: int) -> tuple[int, ...]:
    values = (value,) if isinstance(value, int) else tuple(value)
    return values * rank if len(values) == 1 else values


@_reads("aten.convolution", "aten._convolution")
def _convolution(args: Sequence[Any], out: Tensor) -> Fact:
    x, weight, _, stride, padding, dilation, transposed, _, groups = args[:9]
    kernel = tuple(weight.shape[2:])
    rank = len(kernel)
    stride, padding = _tuple(stride, rank), _tuple(padding, rank)
    dilation = _tuple(dilation, rank)
    kind = f"conv_transpose{rank}d" if transposed else kind_of(kernel, groups, x.shape[1])
    return Fact(
        kind,
        window_words(kind, kernel, stride, [(p, p) for p in padding], dilation, groups),
        tuple(x.shape),
        tuple(out.shape),
        kernel,
        stride,
        groups,
    )


def window_words(
    kind: str,
    kernel: Sequence[int],
    stride: Sequence[int],
    padding: Sequence[tuple[int, int]],
    dilation: Sequence[int],
    groups: int = 1,
) -> str:
    """A sliding window in words, whatever operator slides it: what is usual goes without saying.

    Example:
        >>> window_words("conv2d", (3, 3), (2, 2), ((1, 1), (1, 1)), (1, 1), groups=2)
        '3×3, stride 2, padding 1, 2 groups'
    """
    sides = [str(first) if first == last else f"{first}+{last}" for first, last in padding]
    words = [
        times(kernel),
        f"stride {_once(stride)}" if max(stride) > 1 else "",
        f"padding {_once(sides)}" if any(map(any, padding)) else "",
        f"dilation {_once(dilation)}" if max(dilation) > 1 else "",
        f"{groups} groups" if groups > 1 and not kind.startswith("depthwise") else "",
    ]
    return ", ".join(filter(None, words))


def _once(sizes: Sequence[object]) -> str:
    return str(sizes[0]) if len(set(sizes)) == 1 else times(sizes)


@_reads("aten.native_batch_norm", "aten._native_batch_norm_legit", "aten.cudnn_batch_norm",
        "aten._native_batch_norm_legit_no_training")  # fmt: skip
def _batch_norm(args: Sequence[Any], out: Tensor) -> Fact:
    training = bool(args[5]) if len(args) > 7 else False
    kind = "batch_norm2d" if out.dim() == 4 else "batch_norm"
    settings = "batch statistics" if training else "running statistics"
    return Fact(kind, settings, tuple(args[0].shape), tuple(out.shape), training=training)


def _pool(kind: str) -> Reader:
    def read(args: Sequence[Any], out: Tensor) -> Fact:
        rank = int(kind[-2])
        kernel = _tuple(args[1], rank)
        stride = _tuple(args[2], rank) if len(args) > 2 and len(args[2]) else kernel
        padding = _tuple(args[3], rank) if len(args) > 3 else (0,) * rank
        maximum = kind.startswith("max")
        dilation = _tuple(args[4], rank) if maximum and len(args) > 4 else (1,) * rank
        settings = window_words(kind, kernel, stride, [(p, p) for p in padding], dilation)
        return Fact(kind, settings, tuple(args[0].shape), tuple(out.shape), kernel, stride)

    return read


_READERS["aten.max_pool2d_with_indices"] = _pool("max_pool2d")
_READERS["aten.max_pool3d_with_indices"] = _pool("max_pool3d")
_READERS["aten.avg_pool2d"] = _pool("avg_pool2d")
_READERS["aten.avg_pool3d"] = _pool("avg_pool3d")


def adaptive(pool: str, size: Sequence[int]) -> tuple[str, str]:
    """Kind and settings of a pool whose windows follow from the size that it makes.

    Example:
        >>> adaptive("avg_pool2d", (1, 1)), adaptive("max_pool2d", (7, 7))
        (('global_avg_pool2d', ''), ('adaptive_max_pool2d', 'to 7×7'))
    """
    whole = max(size) == 1
    return (f"global_{pool}", "") if whole else (f"adaptive_{pool}", f"to {times(size)}")


def _adaptive(operation: str) -> Reader:
    def read(args: Sequence[Any], out: Tensor) -> Fact:
        kind, settings = adaptive(f"{operation}_pool2d", args[1])
        return Fact(kind, settings, tuple(args[0].shape), tuple(out.shape))

    return read


_READERS["aten._adaptive_avg_pool2d"] = _adaptive("avg")
_READERS["aten.adaptive_max_pool2d"] = _adaptive("max")


@_reads("aten.mean", "aten.amax")
def _reduce(args: Sequence[Any], out: Tensor) -> Fact:
    x, rank = args[0], args[0].dim()
    dims = sorted(d % rank for d in args[1]) if len(args) > 1 and isinstance(args[1], list) else []
    image = rank == 4 and dims in ([2, 3], [1, 2])
    return Fact("global_avg_pool2d" if image else "mean", "", tuple(x.shape), tuple(out.shape))


@_reads("aten.addmm")
def _dense_with_bias(args: Sequence[Any], out: Tensor) -> Fact:
    return Fact("dense", "", tuple(args[1].shape), tuple(out.shape))


@_reads("aten.mm", "aten.linear")
def _dense(args: Sequence[Any], out: Tensor) -> Fact:
    return Fact("dense", "", tuple(args[0].shape), tuple(out.shape))


@_reads(
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_efficient_attention",
)
def _attention(args: Sequence[Any], out: Tensor) -> Fact:
    settings = f"{args[0].shape[1]} heads" if args[0].dim() == 4 else ""
    return Fact("attention", settings, tuple(args[0].shape), tuple(out.shape))
