"""Dense layer: y[..., o] = bias[o] + sum over i of weight[o, i] · x[..., i]."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from lamina.ops import checks


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply the last axis by a matrix.

    Args:
        x: (..., in_features).
        weight: (out_features, in_features).
        bias: (out_features,).

    Returns:
        (..., out_features).

    Raises:
        ValueError: the last axis is not in_features long.
        TypeError: an integer input, or two dtypes outside of autocast.

    Example:
        >>> import torch
        >>> linear(torch.ones(2, 3), torch.ones(4, 3), torch.ones(4)).tolist()
        [[4.0, 4.0, 4.0, 4.0], [4.0, 4.0, 4.0, 4.0]]
    """
    if x.dim() == 0 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"linear: the input must be (..., {weight.shape[-1]}), got shape {tuple(x.shape)}"
        )
    checks.check_same_dtype(x, weight, "linear")
    return F.linear(x, weight, bias)
