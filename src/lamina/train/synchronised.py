"""Batch normalisation over the batches of all processes, on any device.

    mean = Σ over ranks of Σ x / n,  variance = Σ over ranks of Σ (x − mean)² / n

PyTorch's own synchronised norm runs on GPUs alone.

Source: Ioffe and Szegedy, "Batch normalization" (2015), algorithm 1; over processes: Peng et al.,
"MegDet" (2018), section 3.3.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from lamina.ops.runtime.torch_private import AnyBatchNorm

__all__ = ["leave", "synchronise"]


class _Synchronised(nn.Module):
    """What a norm's class is made of, before its own class: statistics of all processes."""

    alone: ClassVar[type[nn.Module]]
    """The class that it was."""
    training: bool
    weight: Tensor | None
    bias: Tensor | None
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None
    momentum: float | None
    eps: float

    def forward(self, x: Tensor) -> Tensor:
        """As the class behind, but for whose values are counted."""
        if not (self.training and torch.distributed.is_initialized()):
            return super().forward(x)  # type: ignore[no-any-return]
        axes = [0, *range(2, x.dim())]
        shape = (1, -1, *[1] * (x.dim() - 2))
        count = x.new_tensor(float(x.numel() // x.shape[1]))
        torch.distributed.all_reduce(count)
        mean = _total(x.sum(axes)) / count
        centred = x - mean.view(shape)
        variance = _total(centred.square().sum(axes)) / count
        self._move(mean.detach(), variance.detach(), count)
        y: Tensor = centred * (variance + self.eps).rsqrt().view(shape)
        if self.weight is not None:
            y = y * self.weight.view(shape)
        return y if self.bias is None else y + self.bias.view(shape)

    @torch.no_grad()
    def _move(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        share: float | Tensor = self.momentum or 0.0
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                share = 1.0 / self.num_batches_tracked.to(mean.dtype)
        if getattr(self, "running_variance", "unbiased") == "unbiased":
            variance = variance * count / (count - 1).clamp_min(1)
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _Total(torch.autograd.Function):
    """The sum over all ranks, whose gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ANN401
        total = x.clone()
        torch.distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        return _total(gradient.contiguous())


def _total(x: Tensor) -> Tensor:
    total: Tensor = _Total.apply(x)  # type: ignore[no-untyped-call]
    return total


def synchronise(model: nn.Module) -> int:
    """Have every batch norm of a model take the statistics of all processes in training.

    Weights, buffers, names and hooks stay; one process computes what it did.

    Args:
        model: torch.nn's norms and lamina.nn's; changed in place.

    Returns:
        How many norms there are.

    Example:
        >>> synchronise(nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)))
        1
    """
    found = 0
    for module in model.modules():
        if isinstance(module, AnyBatchNorm):
            found += 1
            if not isinstance(module, _Synchronised):
                module.__class__ = _class_over(type(module))  # type: ignore[assignment]
    return found


def leave(model: nn.Module) -> None:
    """Give a model's norms back the class that they had: each process has its own statistics."""
    for module in model.modules():
        if isinstance(module, _Synchronised):
            module.__class__ = module.alone  # type: ignore[assignment]


def _class_over(kind: type[nn.Module]) -> type[nn.Module]:
    own = {"__module__": __name__, "alone": kind}
    return type(f"Synchronised{kind.__name__}", (_Synchronised, kind), own)
