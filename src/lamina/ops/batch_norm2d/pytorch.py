"""Batch normalisation on PyTorch's own op, and what that one op does not do."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.runtime.torch_private import script_tracer

Run = Callable[..., Tensor]
"""From x, the running mean and variance, weight and bias."""


def plan(
    x: Tensor,
    weight: Tensor | None,
    bias: Tensor | None,
    batch_statistics: bool,
    momentum: float,
    eps: float,
    unbiased: bool,
) -> Run:
    """What normalises such tensors, with the batch's statistics or with the running ones."""
    if batch_statistics and not unbiased:
        return partial(_biased, momentum=momentum, eps=eps)
    run = partial(affine_batch_norm, training=batch_statistics, momentum=momentum, eps=eps)
    if not batch_statistics and _keeps(x, weight, bias):
        return lambda *tensors: run(*_keeping(*tensors))
    return run


def _keeps(*differentiated: Tensor | None) -> bool:
    """Whether backward will read the running statistics, whatever training makes of them before."""
    if torch.compiler.is_compiling() or not torch.is_grad_enabled() or script_tracer() is not None:
        return False
    return any(tensor is not None and tensor.requires_grad for tensor in differentiated)


def _keeping(
    x: Tensor, mean: Tensor | None, variance: Tensor | None, *affine: Tensor | None
) -> tuple[Tensor, Tensor | None, Tensor | None, Tensor | None, Tensor | None]:
    """The arguments, with statistics that nobody else has."""
    assert mean is not None and variance is not None  # running ones are what is kept
    weight, bias = affine
    return x, mean.clone(), variance.clone(), weight, bias


def _biased(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    momentum: float,
    eps: float,
) -> Tensor:
    """With the batch's statistics, moving the running ones to the variance divided by n."""
    count = x.numel() // x.shape[1]
    if count == 0:
        return affine_batch_norm(x, None, None, weight, bias, True, momentum, eps)
    axes = [axis for axis in range(x.dim()) if axis != 1]
    variance, mean = torch.var_mean(x, axes, correction=0)
    if running_mean is not None and running_var is not None:
        # No `no_grad`: what is exported with it and saved, PyTorch does not load again.
        running_mean.lerp_(mean.detach().to(running_mean.dtype), momentum)
        running_var.lerp_(variance.detach().to(running_var.dtype), momentum)
    if count > 1:
        return affine_batch_norm(x, None, None, weight, bias, True, momentum, eps)
    y = x - x  # one value is its own mean; keeps the graph, whose gradient is zero
    shape = [1, -1] + [1] * (x.dim() - 2)
    y = y if weight is None else y * weight.view(shape)
    return y if bias is None else y + bias.view(shape)


def affine_batch_norm(
    x: Tensor,
    mean: Tensor | None,
    variance: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
) -> Tensor:
    """PyTorch's op, for a bias without a weight and for strided vectors too."""
    weight = _dense(weight)
    if not training:
        mean, variance = _dense(mean), _dense(variance)
    if weight is not None or bias is None:
        return F.batch_norm(x, mean, variance, weight, bias, training, momentum, eps)
    # PyTorch's own second derivative forgets a bias that has no weight beside it.
    y = F.batch_norm(x, mean, variance, None, None, training, momentum, eps)
    return y + bias.to(y.dtype).view(1, -1, *[1] * (x.dim() - 2))


def _dense(vector: Tensor | None) -> Tensor | None:
    """A vector as PyTorch's gradients read it, whatever its strides are."""
    return vector if vector is None or vector.is_contiguous() else vector.contiguous()
