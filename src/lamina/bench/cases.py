"""What is timed: every kind of layer as ours and as PyTorch's, on the shapes that matter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from torch import Tensor
from torch import nn as torch_nn
from torch.nn import Module

from lamina import nn
from lamina.errors import InputError, closest
from lamina.optimiser import optimize

Shape = tuple[int, int, int, int]

Builder = Callable[[], Module]

Mode = Literal["training", "first", "inference"]

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
        mode: ``"training"``, forward and backward; ``"first"``, the same without the input's
            gradient, as for a network's first layer; ``"inference"``, in eval without gradients.
    """

    kind: str
    name: str
    shape: tuple[int, ...]
    ours: Callable[[], Module]
    torchs: Callable[[], Module]
    mode: Mode = "training"


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
        lambda: nn.Sequential(nn.BatchNorm2d(channels), nn.ReLU()),
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


STAGES: tuple[Shape, ...] = (
    (16, 64, 56, 56),
    (16, 128, 28, 28),
    (16, 256, 14, 14),
    (16, 512, 7, 7),
)
"""Of a ResNet: the same work in each."""


def _convolution(
    name: str, shape: Shape, out_channels: int, kernel_size: int, stride: int = 1, **mode: Mode
) -> Case:
    arguments = (shape[1], out_channels, kernel_size, stride, kernel_size // 2)
    return Case(
        "conv2d",
        name,
        shape,
        partial(nn.Conv2d, *arguments, bias=False),
        partial(torch_nn.Conv2d, *arguments, bias=False),
        **mode,
    )


def _convolutions() -> Iterator[Case]:
    for shape in STAGES:
        yield _convolution("3×3", shape, shape[1], 3)
    for shape in STAGES[:3]:
        yield _convolution("3×3 s2", shape, 2 * shape[1], 3, 2)
    for shape in ((16, 64, 28, 28), (16, 128, 14, 14)):
        yield _convolution("5×5", shape, shape[1], 5)
    yield _convolution("7×7 s2 stem", (16, 3, 224, 224), 64, 7, 2, mode="first")
    for shape, out_channels in (
        ((16, 64, 56, 56), 64),
        ((16, 64, 56, 56), 256),
        ((16, 256, 56, 56), 64),
        ((16, 256, 14, 14), 1024),
        ((16, 512, 7, 7), 2048),
    ):
        yield _convolution(f"1×1 to {out_channels}", shape, out_channels, 1)


def _dense() -> Iterator[Case]:
    for rows in (1, 16, 256, 4096):
        for features in (512, 2048):
            yield Case(
                "dense",
                f"to 1000, {rows} rows",
                (rows, features),
                partial(nn.Linear, features, 1000),
                partial(torch_nn.Linear, features, 1000),
            )


def _torch_block(channels: int, out_channels: int, stride: int, expansion: int) -> Module:
    """The layers of ``nn.SeparableBlock``; linear behind an expansion."""
    hidden = channels * expansion
    layers: list[Module] = []
    if expansion != 1:
        layers += [
            torch_nn.Conv2d(channels, hidden, 1, bias=False),
            torch_nn.BatchNorm2d(hidden),
            torch_nn.ReLU6(),
        ]
    layers += [
        torch_nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden, bias=False),
        torch_nn.BatchNorm2d(hidden),
        torch_nn.ReLU6(),
        torch_nn.Conv2d(hidden, out_channels, 1, bias=False),
        torch_nn.BatchNorm2d(out_channels),
    ]
    return torch_nn.Sequential(*layers, *([torch_nn.ReLU6()] if expansion == 1 else []))


def _lamina_block(channels: int, out_channels: int, stride: int, expansion: int) -> Module:
    return optimize(
        nn.SeparableBlock(
            channels,
            out_channels,
            stride=stride,
            padding=1,
            expansion=expansion,
            activation="relu6",
            last_activation="relu6" if expansion == 1 else None,
        )
    )


def _block(
    name: str, shape: Shape, out_channels: int, stride: int, expansion: int, mode: Mode
) -> Case:
    return Case(
        "separable_conv2d",
        name,
        shape,
        partial(_lamina_block, shape[1], out_channels, stride, expansion),
        partial(_torch_block, shape[1], out_channels, stride, expansion),
        mode,
    )


def _blocks() -> Iterator[Case]:
    modes: tuple[Mode, ...] = ("training", "inference")
    for mode in modes:
        for shape in ((16, 64, 56, 56), (16, 256, 28, 28), (16, 512, 14, 14)):
            yield _block(f"block, {mode}", shape, shape[1], 1, 1, mode)
    for channels, out_channels, size, stride in (
        (16, 24, 112, 2),
        (24, 24, 56, 1),
        (32, 32, 28, 1),
        (64, 64, 14, 1),
        (96, 96, 14, 1),
    ):
        for batch in (1, 16):
            shape = (batch, channels, size, size)
            yield _block(
                "inverted residual, inference", shape, out_channels, stride, 6, "inference"
            )


def _squeeze_excite(shape: Shape) -> Case:
    channels = shape[1]
    return Case(
        "squeeze_excite",
        "to a quarter",
        shape,
        lambda: nn.SqueezeExcite(channels, channels // 4),
        lambda: _TorchSqueezeExcite(channels, channels // 4),
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
    """Every kind of layer on the shapes that tell something; one kind's alone where asked.

    Raises:
        InputError: a kind that has no case, with those that have.
    """
    found = [
        *(
            Case(kind_, name, shape, ours, torchs)
            for shape in SHAPES
            for kind_, name, ours, torchs in _memory_bound(shape)
        ),
        *map(_squeeze_excite, (shape for shape in SHAPES if shape != PAST_THE_CACHES)),
        *_convolutions(),
        *_dense(),
        *_blocks(),
    ]
    kinds = sorted({case.kind for case in found})
    if kind is not None and kind not in kinds:
        raise InputError(
            f"kind: expected one of {', '.join(kinds)}, got {kind!r}{closest(kind, kinds)}"
        )
    return [case for case in found if kind in (None, case.kind)]
