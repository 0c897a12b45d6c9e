"""Dense layer: y[..., o] = bias[o] + sum over i of weight[o, i] · x[..., i].

It is the convolution of one row of pixels, each a vector of inputs, by 1×1 kernels. From some
number of rows on that kernel is faster than PyTorch's matrix product, which is MKL's: measured on
a processor of AMD with AVX-512, of which MKL uses half, twice as fast from sixteen rows on. With
few rows it reads the weights where they lie. The cost model says which of the two is called.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops import checks, conv2d_choice, native
from lamina.ops.conv2d import convolve, passes
from lamina.theory.conv2d_problem import Problem


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Multiply the last axis by a matrix.

    Args:
        x: (..., in_features).
        weight: (out_features, in_features).
        bias: (out_features,).

    Returns:
        (..., out_features), row-major.

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
    if not native.sizes_are_known(x) or not x.shape[-1]:
        return F.linear(x, weight, bias)
    rows = x.numel() // x.shape[-1]
    if rows < _FEWEST_ROWS or not _is_ours(x, weight, bias, rows):
        return F.linear(x, weight, bias)
    # (1, in_features, 1, rows), channels-last: a view.
    pixels = x.contiguous().view(1, 1, rows, x.shape[-1]).permute(0, 3, 1, 2)
    kernels = weight.view(*weight.shape, 1, 1)
    y: Tensor = convolve(pixels, kernels, None, bias, *_WINDOW)
    return y.permute(0, 2, 3, 1).reshape(*x.shape[:-1], weight.shape[0])


# Stride, padding, dilation, groups, algorithm, activation and its slope, as the op takes them.
_WINDOW = ((1, 1), (0, 0, 0, 0), (1, 1), 1, "direct", "none", 0.0)

# Fewer fill too little of a register.
_FEWEST_ROWS = 4


def _is_ours(x: Tensor, weight: Tensor, bias: Tensor | None, rows: int) -> bool:
    """Whether the cost model predicts our kernel to be the faster one."""
    if (
        not native.serves(x, weight, bias)
        or torch.is_autocast_enabled("cpu")
        or not weight.is_contiguous()
    ):
        return False
    results, features = weight.shape
    problem = Problem(
        (1, features, 1, rows),
        (1, results, 1, rows),
        (1, 1),
        (1, 1),
        ((0, 0), (0, 0)),
        (1, 1),
        1,
        threads=torch.get_num_threads(),
        lanes=native.lanes(),
    )
    return conv2d_choice.beats_matrix_product(problem, passes(x, weight))
