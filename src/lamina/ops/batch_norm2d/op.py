"""Batch normalisation: every channel to mean 0 and deviation 1, then scaled and shifted.

y[n, c, h, w] = activation((x[n, c, h, w] − mean[c]) / √(variance[c] + eps) · weight[c] + bias[c])

Source: Ioffe and Szegedy, "Batch Normalization" (2015), algorithm 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.ops.activation import activation_epilogue
from lamina.ops.batch_norm2d import kernels, pytorch
from lamina.ops.runtime import native
from lamina.ops.runtime.checks import check_floating, check_vector
from lamina.ops.tuning import plans


def batch_norm(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
    *,
    unbiased: bool = True,
    activation: str | None = None,
    negative_slope: float = 0.01,
) -> Tensor:
    """Normalises every channel and applies an activation in the same pass over memory.

    Args:
        x: (N, C, ...), any memory format; the output has the same.
        running_mean: (C,), updated in training; None takes the batch's statistics always.
        running_var: (C,), likewise.
        weight: (C,) or None for 1.
        bias: (C,) or None for 0.
        training: normalise with the batch's statistics, else with the running ones.
        momentum: the part of the running statistics that is replaced, in [0, 1].
        eps: added to the variance, > 0.
        unbiased: the running variance divides by n − 1 (PyTorch) and not by n (Keras). With one
            value per channel only the latter is defined: the output is then the bias.
        activation: "relu", "relu6", "leaky_relu", "silu", "hardswish" or None.
        negative_slope: of leaky_relu.

    Returns:
        (N, C, ...). For backward it keeps x and 2·C numbers; the activation's input is recomputed.
        (Small images go to PyTorch's op, which is quicker there and keeps more.)

    Raises:
        TypeError: an integer input.
        ValueError: no axis of channels, a parameter or statistic of another length, one of the two
            statistics alone, or one value per channel in training with ``unbiased``.

    Example:
        >>> y = batch_norm(torch.tensor([[1.0], [3.0]]), None, None, training=True)
        >>> y.flatten()
        tensor([-1.0000,  1.0000])
    """
    tensors = (x, running_mean, running_var, weight, bias)
    settings = (training, momentum, eps, unbiased, activation, negative_slope)
    y: Tensor = _planned(tensors, settings)
    return y


def _plan(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: float,
    eps: float,
    unbiased: bool,
    activation: str | None,
    negative_slope: float,
) -> plans.Run:
    check_floating(x, "batch_norm")
    _check_shapes(x, running_mean, running_var, weight, bias)
    use_batch_statistics = training or running_mean is None or running_var is None
    count = x.numel() // x.shape[1] if x.shape[1] else 0
    if use_batch_statistics and unbiased and count == 1:
        raise ValueError(
            "batch_norm: training needs more than one value per channel, "
            f"got an input of shape {tuple(x.shape)}"
        )
    name = activation or "none"
    by_one_op = unbiased or not use_batch_statistics
    if (
        name not in native.ACTIVATIONS
        or not native.serves(x, running_mean, running_var, weight, bias)
        or (by_one_op and native.is_small(x))
    ):
        normalise = pytorch.plan(x, weight, bias, use_batch_statistics, momentum, eps, unbiased)
        if name == "none":
            return normalise
        return lambda *tensors: activation_epilogue(normalise(*tensors), name, negative_slope)
    if not use_batch_statistics:
        return lambda *tensors: kernels.inference(*tensors, eps, name, negative_slope)
    correction = count / (count - 1) if unbiased else 1.0
    shares = (momentum, momentum * correction)

    def run(
        x: Tensor,
        running_mean: Tensor | None,
        running_var: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
    ) -> Tensor:
        y: Tensor
        y, mean, variance = kernels.training(x, weight, bias, eps, name, negative_slope)
        if running_mean is not None and running_var is not None:
            _update(running_mean, running_var, mean, variance, *shares)
        return y

    return run


_planned = plans.planned(_plan)


def _check_shapes(
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
) -> None:
    if x.dim() < 2:
        raise ValueError(f"batch_norm: the input must be (N, C, ...), got shape {tuple(x.shape)}")
    channels = x.shape[1]
    check_vector(running_mean, "batch_norm", "running_mean", channels)
    check_vector(running_var, "batch_norm", "running_var", channels)
    check_vector(weight, "batch_norm", "weight", channels)
    check_vector(bias, "batch_norm", "bias", channels)
    if (running_mean is None) != (running_var is None):
        missing = "running_mean" if running_mean is None else "running_var"
        raise ValueError(f"batch_norm: {missing} is None; the other one needs it")


def _update(
    running_mean: Tensor,
    running_var: Tensor,
    mean: Tensor,
    variance: Tensor,
    share: float,
    variance_share: float,
) -> None:
    """Move the running statistics by ``share`` towards the batch's.

    Their version stays, as it does in PyTorch's op: what was saved of them for a backward pass,
    which needs none or has copies, is not out of date.
    """
    own = (running_mean, running_var)
    directly = native.runs_directly(own)
    if directly and all(tensor.is_contiguous() for tensor in own):
        # Three small ops of PyTorch's would cost as much as a small layer.
        native.kernels.batch_norm2d_update(
            running_mean, running_var, mean, variance, mean.numel(), share, variance_share
        )
        return
    with torch.no_grad():
        if directly:
            running_mean, running_var = running_mean.data, running_var.data
        running_mean.mul_(1 - share).add_(mean, alpha=share)
        running_var.mul_(1 - share).add_(variance, alpha=variance_share)
