"""What is timed: every kind of layer as ours and as PyTorch's, on the shapes that matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any

from torch import Tensor
from torch import nn as torch_nn
from torch.nn import Module

from lamina import nn

Shape = tuple[int, int, int, int]

Builder = Callable[[], Module]

PAST_THE_CACHES = (32, 96, 112, 112)
"""154 MB: no cache holds it; arithmetic-bound layers take seconds on it and tell nothing new."""

SHAPES: tuple[Shape, ...] = ((1, 8, 8, 8), (16, 64, 56, 56), PAST_THE_CACHES, (64, 256, 14, 14))
"""Small, in the last cache, four times larger than it, many channels."""


@dataclass(frozen=True)
class Case:
    """One layer on one shape.

    Args:
        kind: of layer, a file's name on every floor.
        name: of the variant, ``"max 2×2"``.
        shape: of the input, (N, C, H, W).
        ours: builds our layer.
        torchs: builds PyTorch's, with weights of its own.
    """

    kind: str
    name: str
    shape: Shape
    ours: Callable[[], Module]
    torchs: Callable[[], Module]


def _depthwise(channels: int, kernel_size: int, stride: int) -> dict[str, Any]:
    return {
        "in_channels": channels,
        "out_channels": channels,
        "kernel_size": kernel_size,
        "stride": stride,
        "padding": kernel_size // 2,
        "groups": channels,
        "bias": False,
    }


def _memory_bound(shape: Shape) -> Iterator[tuple[str, str, Builder, Builder]]:
    channels = shape[1]
    yield (
        "batch_norm2d",
        "training",
        lambda: nn.BatchNorm2d(channels),
        lambda: torch_nn.BatchNorm2d(channels),
    )
    yield (
        "batch_norm2d",
        "training + ReLU",
        lambda: nn.BatchNorm2d(channels, activation="relu"),
        lambda: torch_nn.Sequential(torch_nn.BatchNorm2d(channels), torch_nn.ReLU()),
    )
    for name in ("ReLU", "ReLU6", "LeakyReLU", "SiLU", "Hardswish"):
        yield "activation", name, getattr(nn, name), getattr(torch_nn, name)
    yield "pool2d", "max 2×2", lambda: nn.MaxPool2d(2), lambda: torch_nn.MaxPool2d(2)
    yield (
        "pool2d",
        "max 3×3 s2",
        lambda: nn.MaxPool2d(3, 2, 1),
        lambda: torch_nn.MaxPool2d(3, 2, 1),
    )
    yield "pool2d", "average 2×2", lambda: nn.AvgPool2d(2), lambda: torch_nn.AvgPool2d(2)
    yield (
        "pool2d",
        "global average",
        lambda: nn.GlobalAvgPool2d(),
        lambda: torch_nn.AdaptiveAvgPool2d(1),
    )
    for kernel_size, stride in ((3, 1), (3, 2), (5, 1)):
        options = _depthwise(channels, kernel_size, stride)
        yield (
            "depthwise_conv2d",
            f"{kernel_size}×{kernel_size} s{stride}",
            partial(nn.Conv2d, **options),
            partial(torch_nn.Conv2d, **options),
        )
    yield "dropout", "elements", nn.Dropout, torch_nn.Dropout
    yield "dropout", "channels", nn.Dropout2d, torch_nn.Dropout2d


def _arithmetic_bound(shape: Shape) -> Iterator[tuple[str, str, Builder, Builder]]:
    channels = shape[1]
    for name, kernel_size, stride in (("3×3", 3, 1), ("3×3 s2", 3, 2), ("1×1", 1, 1)):
        options: dict[str, Any] = {"stride": stride, "padding": kernel_size // 2, "bias": False}
        yield (
            "conv2d",
            name,
            partial(nn.Conv2d, channels, channels, kernel_size, **options),
            partial(torch_nn.Conv2d, channels, channels, kernel_size, **options),
        )
    yield (
        "separable_conv2d",
        "3×3",
        lambda: nn.SeparableConv2d(channels, channels, 3, padding=1, bias=False),
        lambda: torch_nn.Sequential(
            torch_nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            torch_nn.Conv2d(channels, channels, 1, bias=False),
        ),
    )
    yield (
        "squeeze_excite",
        "to a quarter",
        lambda: nn.SqueezeExcite(channels, channels // 4),
        lambda: _TorchSqueezeExcite(channels, channels // 4),
    )
    yield (
        "dense",
        "on the last axis",
        lambda: nn.Linear(shape[-1], 256),
        lambda: torch_nn.Linear(shape[-1], 256),
    )


class _TorchSqueezeExcite(Module):
    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.reduce = torch_nn.Conv2d(channels, squeezed, 1)
        self.expand = torch_nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gate: Tensor = self.expand(self.reduce(x.mean((2, 3), keepdim=True)).relu())
        return x * gate.sigmoid()


def cases(kind: str | None = None) -> list[Case]:
    """Every kind of layer on every shape that tells something; one kind's alone where asked.

    Raises:
        ValueError: a kind that has no case, with those that have.
    """
    found = [
        Case(kind, name, shape, ours, torchs)
        for shape in SHAPES
        for kind, name, ours, torchs in (
            *_memory_bound(shape),
            *(_arithmetic_bound(shape) if shape != PAST_THE_CACHES else ()),
        )
    ]
    kinds = sorted({case.kind for case in found})
    if kind is not None and kind not in kinds:
        raise ValueError(f"kind: must be one of {', '.join(kinds)}, got {kind!r}")
    return [case for case in found if kind in (None, case.kind)]
