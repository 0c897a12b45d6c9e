"""What ``torch.utils.flop_counter`` counts for our ops: two FLOPs per multiply-accumulate.

The same as for PyTorch's own convolutions and dense layers, whatever algorithm runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any

import torch
from torch.utils.flop_counter import register_flop_formula


def register_formulas() -> None:
    """Tells the counter; once, after the ops are defined."""
    ops = torch.ops.lamina
    register_flop_formula(ops.conv2d)(_forward)
    register_flop_formula([ops.conv2d_input_gradient, ops.conv2d_weight_gradient])(_gradient)
    register_flop_formula(ops.linear)(_linear)
    register_flop_formula(ops.linear_input_gradient)(_linear)
    register_flop_formula(ops.linear_weight_gradient)(_linear_weight_gradient)


def _flops(result_shape: Sequence[int], weight_shape: Sequence[int]) -> int:
    images, _, rows, columns = result_shape
    return 2 * images * rows * columns * prod(weight_shape)


def _forward(
    x_shape: Any, weight_shape: Sequence[int], *args: Any, out_shape: Sequence[int], **options: Any
) -> int:
    return _flops(out_shape, weight_shape)


def _gradient(
    x_shape: Any, dy_shape: Sequence[int], weight_shape: Sequence[int], *args: Any, **options: Any
) -> int:
    return _flops(dy_shape, weight_shape)


def _linear(
    rows_shape: Sequence[int], weight_shape: Sequence[int], *args: Any, **options: Any
) -> int:
    return 2 * rows_shape[0] * prod(weight_shape)


def _linear_weight_gradient(
    x_shape: Any, dy_shape: Sequence[int], weight_shape: Sequence[int], *args: Any, **options: Any
) -> int:
    return 2 * dy_shape[0] * prod(weight_shape)
