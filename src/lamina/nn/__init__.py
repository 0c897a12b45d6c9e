"""The torch.nn dialect: drop-ins with the same constructors, state_dict and initial laws.

``from lamina import nn`` stands in for ``from torch import nn``: the layers below are ours, every
other name (Module, ModuleList, CrossEntropyLoss, functional, init ...) is torch.nn's own.

Example:
    >>> import torch
    >>> from lamina import nn
    >>> model = nn.Sequential(nn.Conv2d(3, 8, 3, padding="same", stride=2), nn.ReLU(), nn.Flatten())
    >>> model(torch.zeros(1, 3, 8, 8)).shape
    torch.Size([1, 128])
"""

from typing import TYPE_CHECKING, Any, NoReturn

import torch

from lamina.nn.activation import (
    ELU,
    GELU,
    Hardsigmoid,
    Hardswish,
    LeakyReLU,
    ReLU,
    ReLU6,
    Sigmoid,
    SiLU,
    Softmax,
    Tanh,
)
from lamina.nn.adaptive_pool2d import (
    AdaptiveAvgPool2d,
    AdaptiveMaxPool2d,
    GlobalAvgPool2d,
    GlobalMaxPool2d,
)
from lamina.nn.batch_norm2d import BatchNorm1d, BatchNorm2d
from lamina.nn.conv2d import Conv2d, PointwiseConv2d
from lamina.nn.dense import Flatten, Linear
from lamina.nn.depthwise_conv2d import DepthwiseConv2d
from lamina.nn.dropout import Dropout, Dropout2d, DropPath
from lamina.nn.pool2d import AvgPool2d, MaxPool2d
from lamina.nn.separable_conv2d import SeparableBlock, SeparableConv2d
from lamina.nn.squeeze_excite import SqueezeExcite

__all__ = [
    "ELU",
    "GELU",
    "AdaptiveAvgPool2d",
    "AdaptiveMaxPool2d",
    "AvgPool2d",
    "BatchNorm1d",
    "BatchNorm2d",
    "Conv2d",
    "DepthwiseConv2d",
    "DropPath",
    "Dropout",
    "Dropout2d",
    "Flatten",
    "GlobalAvgPool2d",
    "GlobalMaxPool2d",
    "Hardsigmoid",
    "Hardswish",
    "LeakyReLU",
    "Linear",
    "MaxPool2d",
    "PointwiseConv2d",
    "ReLU",
    "ReLU6",
    "SeparableBlock",
    "SeparableConv2d",
    "SiLU",
    "Sigmoid",
    "Softmax",
    "SqueezeExcite",
    "Tanh",
]


def _refuse_scripting(layer: torch.nn.Module) -> NoReturn:
    raise RuntimeError(
        f"torch.jit.script cannot read lamina.nn.{type(layer).__name__}: give it "
        "lamina.restore(model), which has torch.nn's layers, or use torch.jit.trace"
    )


for _name in __all__:  # what torch.jit.script asks every module for before it reads one
    globals()[_name].__prepare_scriptable__ = _refuse_scripting

if TYPE_CHECKING:
    # Their types, without a __getattr__ by which every name would pass. To a type checker the
    # first of two definitions counts, and those above are ours.
    from torch.nn import *  # type: ignore[assignment]  # noqa: F403
else:

    def __getattr__(name: str) -> Any:  # noqa: ANN401
        """torch.nn's own, for names that are not ours: a torch.nn model needs one import alone."""
        try:
            return getattr(torch.nn, name)
        except AttributeError:
            raise AttributeError(f"neither lamina.nn nor torch.nn has {name!r}") from None


def __dir__() -> list[str]:
    return sorted({*__all__, *dir(torch.nn)})
