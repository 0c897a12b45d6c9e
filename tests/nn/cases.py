"""One list of layers: every check of ``test_every_layer*.py`` runs over all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from lamina import nn


@dataclass(frozen=True)
class Case:
    """A layer, an input for it, and torch.nn's layer that must agree, where there is one."""

    layer: str
    args: tuple[Any, ...] = ()
    options: dict[str, Any] = field(default_factory=dict)
    shape: tuple[int, ...] = (3, 4, 7, 6)
    training: bool = True
    reference: Callable[[], torch.nn.Module] | None = None
    torch_has_it: bool = False
    """torch.nn's class of the same name takes the same arguments."""
    matches: bool = True
    """The reference's output is ours; False for random layers, whose masks differ."""
    small: bool = False
    """Small images go to PyTorch's ops where that is quicker, as users' do; else to the kernels."""

    def build(self) -> torch.nn.Module:
        layer: torch.nn.Module = getattr(nn, self.layer)(*self.args, **self.options)
        return layer.train(self.training)

    def build_reference(self) -> torch.nn.Module | None:
        if self.torch_has_it:
            theirs = getattr(torch.nn, self.layer)(*self.args, **self.options)
        elif self.reference is not None:
            theirs = self.reference()
        else:
            return None
        return theirs.train(self.training)

    def input(self, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        generator = torch.Generator().manual_seed(1)
        return torch.randn(self.shape, generator=generator, dtype=torch.float64).to(dtype)

    @property
    def draws_from_torch(self) -> bool:
        """Its output depends on torch's generator."""
        return self.training and self.layer.startswith("Drop") and "seed" not in self.options

    @property
    def id(self) -> str:
        words = [str(value) for value in self.args]
        words += [f"{key}={value}" for key, value in self.options.items()]
        mode = "" if self.training else "-eval"
        route = "-small" if self.small else ""
        return f"{self.layer}({','.join(words)}){mode}{route}".replace(" ", "")


def ours(layer: str, *args: Any, **options: Any) -> Case:
    return Case(layer, args, options)


def theirs(layer: str, *args: Any, **options: Any) -> Case:
    return Case(layer, args, options, torch_has_it=True)


def replace(case: Case, **changes: Any) -> Case:
    return Case(**{**case.__dict__, **changes})


CASES = [
    theirs("Conv2d", 4, 6, 3),
    theirs("Conv2d", 4, 6, (3, 2), (2, 1), (1, 0), (1, 2), 2, False),
    theirs("Conv2d", 4, 6, 3, padding="same", padding_mode="reflect"),
    theirs("Conv2d", 4, 6, 3, padding=1, padding_mode="circular"),
    ours("Conv2d", 4, 6, 3, stride=2, padding="same"),
    ours("Conv2d", 4, 6, 3, padding=((0, 2), (1, 0)), padding_mode="replicate"),
    Case("PointwiseConv2d", (4, 6), reference=lambda: torch.nn.Conv2d(4, 6, 1)),
    Case(
        "DepthwiseConv2d",
        (4, 3),
        {"stride": (2, 1), "padding": 1, "depth_multiplier": 2},
        reference=lambda: torch.nn.Conv2d(4, 8, 3, (2, 1), 1, groups=4),
    ),
    ours("DepthwiseConv2d", 4, 3, stride=2, padding="same", dilation=2, bias=False),
    ours("SeparableConv2d", 4, 6, 3, stride=2, padding="same"),
    ours("SeparableConv2d", 4, 6, 3, padding=1, padding_mode="reflect", bias=False),
    theirs("BatchNorm2d", 4),
    replace(theirs("BatchNorm2d", 4), training=False),
    theirs("BatchNorm2d", 4, affine=False, momentum=None),
    theirs("BatchNorm2d", 4, bias=False, track_running_stats=False),
    ours("BatchNorm2d", 4, running_variance="biased"),
    replace(theirs("BatchNorm1d", 4), shape=(6, 4)),
    replace(theirs("BatchNorm1d", 4), shape=(3, 4, 5)),
    theirs("MaxPool2d", 2),
    theirs("MaxPool2d", 3, 2, 1, ceil_mode=True),
    ours("MaxPool2d", 3, stride=2, padding="same"),
    theirs("AvgPool2d", 2),
    theirs("AvgPool2d", 3, 2, 1, ceil_mode=True, count_include_pad=False),
    ours("AvgPool2d", (2, 3), 2, padding="same", count_include_pad=False),
    theirs("AdaptiveAvgPool2d", (3, None)),
    theirs("AdaptiveMaxPool2d", (2, 4)),
    Case("GlobalAvgPool2d", reference=lambda: torch.nn.AdaptiveAvgPool2d(1)),
    ours("GlobalMaxPool2d", keepdims=False),
    replace(theirs("Dropout", 0.4), matches=False),
    replace(theirs("Dropout", 0.4), training=False),
    ours("Dropout", 0.4, seed=3),
    ours("Dropout", 0.4, noise_shape=(None, 1, 1, 1)),
    replace(theirs("Dropout2d", 0.4), matches=False),
    ours("DropPath", 0.4, seed=5),
    replace(theirs("Linear", 6, 5), shape=(3, 6)),
    replace(theirs("Linear", 6, 5, bias=False), shape=(2, 3, 6)),
    theirs("Flatten"),
    ours("Flatten", order="hwc"),
    theirs("ReLU"),
    theirs("ReLU6"),
    theirs("LeakyReLU", 0.2),
    theirs("ELU", 0.5),
    theirs("SiLU"),
    theirs("Hardswish"),
    theirs("Hardsigmoid"),
    theirs("GELU"),
    theirs("GELU", "tanh"),
    theirs("Sigmoid"),
    theirs("Tanh"),
    theirs("Softmax", 1),
    ours("SqueezeExcite", 4, 2),
    ours("SqueezeExcite", 4, 2, activation="silu", gate="hardsigmoid"),
]
CASES += [
    replace(case, small=True)
    for case in CASES
    if "Pool" in case.layer or "Norm" in case.layer or case.layer == "SqueezeExcite"
]
