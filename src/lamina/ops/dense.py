"""Dense layer: y[..., o] = bias[o] + sum over i of weight[o, i] · x[..., i].

It is the convolution of one row of pixels, each a vector of inputs, by 1×1 kernels. With few rows
that kernel goes through the weights once, where they lie; PyTorch's matrix product is MKL's. The
cost model says for each of the three passes which of the two is called.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.conv2d import kernels
from lamina.ops.runtime import boundary, checks, memory, native
from lamina.ops.runtime.registration import Arguments, Gradients, register
from lamina.ops.tuning import choice, plans
from lamina.theory import dense as theory
from lamina.theory.conv2d_problem import Pass, Problem


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
    y: Tensor = _planned((x, weight, bias), ())
    return y


def _plan(x: Tensor, weight: Tensor, bias: Tensor | None) -> plans.Run:
    if x.is_nested:  # it has no shape to look at
        return F.linear
    if x.dim() == 0 or x.shape[-1] != weight.shape[-1]:
        raise ValueError(
            f"linear: the input must be (..., {weight.shape[-1]}), got shape {tuple(x.shape)}"
        )
    checks.check_same_dtype(x, weight, "linear")
    if not native.sizes_are_known(x) or not x.shape[-1]:
        return F.linear
    rows = x.numel() // x.shape[-1]
    if not _serves(x, weight, bias) or _is_pytorchs(x, weight, rows):
        return F.linear
    if x.dim() == 2:
        return _linear
    shape = (*x.shape[:-1], weight.shape[0])

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        y: Tensor = _linear(x.reshape(rows, x.shape[-1]), weight, bias)
        return y.view(shape)

    return run


_planned = plans.planned(_plan)


def _serves(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    # Under autocast a product is PyTorch's, which casts.
    return (
        native.serves(x, weight, bias)
        and not torch.is_autocast_enabled("cpu")
        and weight.dim() == 2
        and weight.is_contiguous()
        and (bias is None or bias.shape == weight.shape[:1])
    )


def _is_pytorchs(x: Tensor, weight: Tensor, rows: int) -> bool:
    """Whether the cost model predicts no gain: PyTorch's own op then costs nothing of ours."""
    problem = _problem(rows, weight, "forward")
    return choice.leaves_dense_to_pytorch(problem, choice.passes(x, weight))


# ---- the op -------------------------------------------------------------------------------------


def _problem(rows: int, weight: Tensor, pass_: Pass) -> Problem:
    results, features = weight.shape
    return _remembered_problem(
        rows, features, results, pass_, torch.get_num_threads(), native.lanes()
    )


@lru_cache(maxsize=4096)
def _remembered_problem(
    rows: int, features: int, results: int, pass_: Pass, threads: int, lanes: int
) -> Problem:
    return Problem(
        (1, features, 1, rows),
        (1, results, 1, rows),
        (1, 1),
        (1, 1),
        ((0, 0), (0, 0)),
        (1, 1),
        1,
        pass_,
        threads,
        lanes=lanes,
    )


def _strides(weight: Tensor) -> tuple[int, int, int, int]:
    features = weight.shape[1]
    return features, 1, features, features


def _kernel(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    if not choice.beats_matrix_product(_problem(x.shape[0], weight, "forward")):
        return F.linear(x, weight, bias)
    return product(x, weight, bias)


def product(x: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none") -> Tensor:
    """activation(x times the weight + bias) by the kernel, whatever PyTorch's would take.

    Args:
        x: (rows, in_features).
        weight: (out_features, in_features).
        bias: (out_features,).
        activation: a kernel's name.
    """
    problem = _problem(x.shape[0], weight, "forward")
    results, features = weight.shape
    y = memory.empty((x.shape[0], results), x)
    native.kernels.conv2d_forward(
        "direct",
        boundary.row_major(x, "linear: the input", (x.shape[0], features)),
        boundary.row_major(weight, "linear: weight", weight.shape),
        _strides(weight),
        None,
        boundary.vector(bias, "linear: bias", results),
        None,
        None,
        None,
        0.0,
        *kernels.geometry(problem),
        native.ACTIVATIONS.index(activation),
        0.01,  # leaky_relu's slope
        y,
    )
    return y


def _input_gradient_kernel(dy: Tensor, weight: Tensor) -> Tensor:
    problem = _problem(dy.shape[0], weight, "input_gradient")
    if not choice.beats_matrix_product(problem):
        return dy.mm(weight)
    results, features = weight.shape
    dx = memory.empty((dy.shape[0], features), dy)
    native.kernels.conv2d_input_gradient(
        "direct",
        boundary.row_major(dy, "linear: the gradient", (dy.shape[0], results)),
        boundary.row_major(weight, "linear: weight", weight.shape),
        _strides(weight),
        *kernels.geometry(problem),
        dx,
    )
    return dx


def _weight_gradient_kernel(x: Tensor, dy: Tensor, weight: Tensor) -> Tensor:
    """Of the weight; of ``weight`` itself only the shape counts."""
    problem = _problem(dy.shape[0], weight, "weight_gradient")
    if not choice.beats_matrix_product(problem):
        return dy.t().mm(x)
    rows, (results, features) = dy.shape[0], weight.shape
    gradient = memory.empty(weight.shape, x)
    native.kernels.conv2d_weight_gradient(
        "direct",
        boundary.row_major(x, "linear: the input", (rows, features)),
        boundary.row_major(dy, "linear: the gradient", (rows, results)),
        *kernels.geometry(problem),
        gradient,
        _strides(gradient),
    )
    return gradient


def _save(ctx: Any, a: Arguments, output: Tensor) -> None:
    ctx.save_for_backward(a.x, a.weight)


def _backward(ctx: Any, dy: Tensor) -> Gradients:
    x, weight = ctx.saved_tensors
    for_x, for_weight, for_bias = ctx.needs_input_grad
    if torch.is_grad_enabled():  # PyTorch's products can be differentiated again
        dx = dy.mm(weight) if for_x else None
        dweight = dy.t().mm(x) if for_weight else None
    else:
        dx = _input_gradient(dy, weight) if for_x else None
        dweight = _weight_gradient(x, dy, weight) if for_weight else None
    return {"x": dx, "weight": dweight, "bias": dy.sum(0) if for_bias else None}


_input_gradient = register(
    "linear_input_gradient(Tensor dy, Tensor weight) -> Tensor",
    _input_gradient_kernel,
    lambda a: a.dy.new_empty(a.dy.shape[0], a.weight.shape[1]),
    cost=lambda a: theory.cost(a.dy.shape, a.weight.shape[1], bias=False),
)
_weight_gradient = register(
    "linear_weight_gradient(Tensor x, Tensor dy, Tensor weight) -> Tensor",
    _weight_gradient_kernel,
    lambda a: a.x.new_empty(a.weight.shape),
    cost=lambda a: theory.cost(
        a.x.shape, a.weight.shape[0], bias=False, direction="backward", input_gradient=False
    ),
)
_linear = register(
    "linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor",
    _kernel,
    lambda a: a.x.new_empty(a.x.shape[0], a.weight.shape[0]),
    save=_save,
    backward=_backward,
    cost=lambda a: theory.cost(a.x.shape, a.weight.shape[0], a.bias is not None),
    kind="dense",
)
