"""A formula per operator of ATen: multiply-accumulates, and other floating-point operations.

The conventions are those of ``lamina.theory.cost``; what the theory has a formula for is asked of
it. To add an operator, write a function of (arguments, result) and name the operators it serves
in its ``@formula``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod
from typing import Any

import torch
from torch import Tensor

from lamina.theory import batch_norm2d

__all__ = [
    "FORMULAS",
    "Arithmetic",
    "Formula",
    "Operator",
    "Value",
    "formula",
    "per_input",
    "per_output",
]

Operator = Any  # torch._ops.OpOverload
Value = Any  # whatever an operator takes or returns
Arithmetic = tuple[int, int]  # MACs, other FLOPs
Formula = Callable[[Sequence[Any], Any], Arithmetic]

FORMULAS: dict[str, Formula] = {}


def formula(*operators: str) -> Callable[[Formula], Formula]:
    """Register a formula for the operators of those names, ``"aten.mm"`` for all its overloads."""

    def register(function: Formula) -> Formula:
        for operator in operators:
            FORMULAS[operator] = function
        return function

    return register


def _size(value: object) -> int:
    """Elements of a tensor, of the first of several, 0 for anything else."""
    if isinstance(value, list | tuple):
        return _size(value[0]) if value else 0
    return value.numel() if isinstance(value, Tensor) else 0


@formula("aten.convolution", "aten._convolution", "aten.mkldnn_convolution")
def _convolution(args: Sequence[Any], out: Value) -> Arithmetic:
    x, weight, bias, transposed = args[0], args[1], args[2], args[6]
    # A weight meets every output position; of a transposed convolution, every input position.
    positions = prod((x if transposed else out).shape[2:]) * x.shape[0]
    return positions * weight.numel(), out.numel() if bias is not None else 0


@formula("aten.convolution_backward")
def _convolution_backward(args: Sequence[Any], out: Value) -> Arithmetic:
    grad, x, weight, transposed, mask = args[0], args[1], args[2], args[7], args[10]
    positions = prod((x if transposed else grad).shape[2:]) * x.shape[0]
    macs = positions * weight.numel() * (int(mask[0]) + int(mask[1]))
    return macs, grad.numel() if mask[2] else 0


@formula("aten.mm", "aten.bmm", "aten.mv", "aten.dot", "aten.vdot", "aten._int_mm")
def _product(args: Sequence[Any], out: Value) -> Arithmetic:
    return out.numel() * args[0].shape[-1], 0


@formula("aten.addmm", "aten.baddbmm", "aten.addmv", "aten.addbmm", "aten._addmm_activation")
def _product_and_sum(args: Sequence[Any], out: Value) -> Arithmetic:
    return out.numel() * args[1].shape[-1], out.numel()


@formula("aten.linear", "aten.mkldnn_linear")
def _linear(args: Sequence[Any], out: Value) -> Arithmetic:
    has_bias = len(args) > 2 and args[2] is not None
    return out.numel() * args[1].shape[-1], out.numel() if has_bias else 0


@formula("aten._trilinear")
def _trilinear(args: Sequence[Any], out: Value) -> Arithmetic:
    # A sum over products of three factors, each broadcast over its unsqueezed dimensions.
    factors = list(args[:3])
    for position, dims in enumerate(args[3:6]):
        for dim in sorted(dims):
            factors[position] = factors[position].unsqueeze(dim)
    shapes = [factor.shape for factor in factors]
    terms = prod(torch.broadcast_shapes(*shapes))  # type: ignore[no-untyped-call]
    return terms, terms


def _attention_macs(query: Tensor, key: Tensor, value: Tensor) -> tuple[int, int, int]:
    """MACs of queries times keys and of scores times values, and the number of scores."""
    rows = prod(query.shape[:-1])
    scores = rows * key.shape[-2]
    return scores * query.shape[-1], scores * value.shape[-1], scores


@formula(
    "aten._scaled_dot_product_flash_attention_for_cpu",
    "aten._scaled_dot_product_flash_attention",
    "aten._scaled_dot_product_efficient_attention",
    "aten._scaled_dot_product_cudnn_attention",
    "aten._scaled_dot_product_attention_math",
)
def _attention(args: Sequence[Any], out: Value) -> Arithmetic:
    scores_macs, values_macs, scores = _attention_macs(args[0], args[1], args[2])
    # softmax: scale, maximum, subtraction, exponential, sum, division
    return scores_macs + values_macs, 6 * scores


@formula(
    "aten._scaled_dot_product_flash_attention_for_cpu_backward",
    "aten._scaled_dot_product_flash_attention_backward",
    "aten._scaled_dot_product_efficient_attention_backward",
    "aten._scaled_dot_product_cudnn_attention_backward",
)
def _attention_backward(args: Sequence[Any], out: Value) -> Arithmetic:
    # The efficient variant passes the bias fourth; queries, keys and values come first in all.
    scores_macs, values_macs, scores = _attention_macs(args[1], args[2], args[3])
    # Scores are computed again; then the gradients of queries, keys, values and scores.
    return 3 * scores_macs + 2 * values_macs, 10 * scores


def _gates(args: Sequence[Any]) -> tuple[int, int]:
    """MACs and elementwise FLOPs of one layer and direction of oneDNN's recurrence."""
    steps = args[0].shape[0] * args[0].shape[1]
    has_biases = bool(args[12])
    hidden = int(args[10])
    biases = args[1].shape[0] * (2 if has_biases else 1)  # and the sum of both products
    # three sigmoids of 3, two hyperbolic tangents, three products, one sum
    return steps * (args[1].numel() + args[2].numel()), steps * (biases + 15 * hidden)


@formula("aten.mkldnn_rnn_layer")
def _recurrence(args: Sequence[Any], out: Value) -> Arithmetic:
    return _gates(args)


@formula("aten.mkldnn_rnn_layer_backward")
def _recurrence_backward(args: Sequence[Any], out: Value) -> Arithmetic:
    # (input, w0, w1, b0, b1, hx, cx, output, hy, cy, three gradients, reverse, mode, hidden, ...)
    steps = args[0].shape[0] * args[0].shape[1]
    hidden = int(args[15])
    macs = 2 * steps * (args[1].numel() + args[2].numel())
    return macs, steps * (2 * args[1].shape[0] + 24 * hidden)


def _windows(out: Value, kernel: Sequence[int] | int, rank: int) -> int:
    size = kernel**rank if isinstance(kernel, int) else prod(kernel)
    if not isinstance(kernel, int) and len(kernel) == 1:
        size = kernel[0] ** rank
    return _size(out) * size


@formula("aten.max_pool2d_with_indices", "aten.avg_pool2d", "aten.max_pool2d",
         "aten.fractional_max_pool2d")  # fmt: skip
def _pool2d(args: Sequence[Any], out: Value) -> Arithmetic:
    return 0, _windows(out, args[1], 2)


@formula("aten.max_pool3d_with_indices", "aten.avg_pool3d", "aten.fractional_max_pool3d")
def _pool3d(args: Sequence[Any], out: Value) -> Arithmetic:
    return 0, _windows(out, args[1], 3)


@formula("aten.avg_pool1d", "aten.max_pool1d_with_indices")
def _pool1d(args: Sequence[Any], out: Value) -> Arithmetic:
    return 0, _windows(out, args[1], 1)


@formula("aten.avg_pool2d_backward")
def _avg_pool2d_backward(args: Sequence[Any], out: Value) -> Arithmetic:
    # A division per window, and an addition per tap.
    return 0, args[0].numel() + _windows(args[0], args[2], 2)


@formula("aten.avg_pool3d_backward")
def _avg_pool3d_backward(args: Sequence[Any], out: Value) -> Arithmetic:
    return 0, args[0].numel() + _windows(args[0], args[2], 3)


def per_output(operations: int) -> Formula:
    """So many operations per element of the result."""
    return lambda args, out: (0, operations * _size(out))


def per_input(operations: int) -> Formula:
    """So many operations per element of the first argument."""
    return lambda args, out: (0, operations * _size(args[0]))


def trains(name: str, args: Sequence[Any]) -> bool:
    """Whether a batch norm uses the batch's statistics; the variants that do not say so, do."""
    place = {"native_batch_norm": 5, "_native_batch_norm_legit": 5, "native_batch_norm_backward": 7}
    return bool(args[place[name]]) if name in place else True


@formula("aten.native_batch_norm", "aten._native_batch_norm_legit", "aten.cudnn_batch_norm",
         "aten._batch_norm_with_update")  # fmt: skip
def _batch_norm(args: Sequence[Any], out: Value) -> Arithmetic:
    training = trains("native_batch_norm", args)
    return 0, batch_norm2d.cost(args[0].shape, training=training).other_flops


@formula("aten._native_batch_norm_legit_no_training", "aten._batch_norm_no_update")
def _batch_norm_inference(args: Sequence[Any], out: Value) -> Arithmetic:
    return 0, batch_norm2d.cost(args[0].shape).other_flops


@formula("aten.native_batch_norm_backward", "aten.cudnn_batch_norm_backward",
         "aten.batch_norm_backward")  # fmt: skip
def _batch_norm_backward(args: Sequence[Any], out: Value) -> Arithmetic:
    training = trains("native_batch_norm_backward" if len(args) > 9 else "", args)
    affine = args[2] is not None
    cost = batch_norm2d.cost(args[1].shape, training=training, affine=affine, direction="backward")
    return 0, cost.other_flops
