"""Convolution: windows of the image, each multiplied by a bank of kernels.

    y[n, o, i, j] = bias[o] + sum over c, u, v of weight[o, c, u, v] · x[n, c, i·s+u·d−p, j·s+v·d−p]

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), section 2.
"""

from __future__ import annotations

from functools import lru_cache, partial
from math import prod
from typing import Any

import torch
from torch import Tensor

from lamina.ops import depthwise_conv2d as depthwise
from lamina.ops.activation import activation_epilogue
from lamina.ops.conv2d import fft, im2col, kernels, pytorch
from lamina.ops.conv2d.pytorch import torch_conv2d
from lamina.ops.finish import Finish, apply_finish, cost_of_finish, finish_of, is_sum, vectors
from lamina.ops.padding import sides, window_padding
from lamina.ops.runtime import boundary, checks, layout, native
from lamina.ops.runtime.registration import (
    Arguments,
    Gradients,
    Window,
    arguments_of,
    differentiable_gradients,
    register,
)
from lamina.ops.tuning import choice, plans
from lamina.theory import conv2d as theory
from lamina.theory import shapes, validation
from lamina.theory.conv2d_problem import Pass, Problem
from lamina.theory.cost import Cost
from lamina.theory.shapes import Padding, Pair, ResolvedPadding


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
    groups: int = 1,
    *,
    algorithm: str = "auto",
    activation: str | None = None,
    negative_slope: float = 0.01,
) -> Tensor:
    """Convolve an image with a bank of kernels.

    Args:
        x: (N, C, H, W) or (C, H, W), any memory format.
        weight: (out_channels, C / groups, kernel height, kernel width).
        bias: (out_channels,).
        stride: pixels from one window to the next, at least 1.
        padding: pixels of zeros: one number, (height, width), ((top, bottom), (left, right)),
            ``"same"`` (TensorFlow's rule, at any stride) or ``"valid"``.
        dilation: pixels from one tap to the next, at least 1.
        groups: into how many independent convolutions the channels are split.
        algorithm: ``"auto"`` takes for each of the three passes the one that the cost model of
            ``theory.conv2d`` predicts to be the fastest on this machine. ``"direct"`` is the sum
            in our kernel, ``"winograd"`` takes a quarter to two thirds of its products (3×3 or
            5×5 kernels at stride 1, 3×3 at stride 2; dilation 1, one group), ``"im2col"`` copies
            windows to a matrix, ``"fft"`` multiplies spectra (stride 1), ``"onednn"`` is PyTorch's
            own, which also serves other dtypes than float32, other devices, function transforms
            and autocast whatever is asked for.
        activation: applied to the result: "relu", "relu6", "leaky_relu", "silu", "hardswish" or
            None. Without gradients it costs no pass over memory of its own.
        negative_slope: of leaky_relu.

    Returns:
        (N, out_channels, H', W') with
        H' = floor((H + top + bottom − dilation · (kernel height − 1) − 1) / stride) + 1;
        channels-last where the input or the weight is.

    Raises:
        ValueError: a wrong rank, channel count or argument; a kernel larger than the padded input;
            an algorithm that does not serve this window, or ``"winograd"`` after
            ``set_numerics("strict")``.
        TypeError: an integer input, or two dtypes outside of autocast.

    Example:
        >>> import torch
        >>> conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3), stride=2, padding="same")
        tensor([[[[9., 6.],
                  [6., 4.]]]])
    """
    window = (stride, padding, dilation, groups, algorithm, activation, negative_slope)
    y: Tensor = _planned((x, weight, bias), window)
    return y


def _plan(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int | Pair,
    padding: Padding,
    dilation: int | Pair,
    groups: int,
    algorithm: str,
    activation: str | None,
    negative_slope: float,
) -> plans.Run:
    stride = validation.positive_pair(stride, "stride")
    dilation = validation.positive_pair(dilation, "dilation")
    checks.check_image(x, "conv2d")
    checks.check_convolution(x.shape, weight.shape, "conv2d", groups)
    checks.check_vector(bias, "conv2d", "bias", weight.shape[0])
    checks.check_same_dtype(x, weight, "conv2d")
    if algorithm == "auto" and groups > 1 and weight.shape[1] == 1:
        return depthwise.plan(
            x, weight, bias, stride, padding, dilation, activation, negative_slope
        )
    resolved = window_padding(x, weight, stride, padding, dilation)
    choice.check(algorithm, (weight.shape[2], weight.shape[3]), stride, dilation, groups)
    name = activation or "none"
    if (
        not _serves(x, weight, bias)
        or algorithm == "onednn"
        or _is_pytorchs(x, weight, stride, resolved, dilation, groups, algorithm)
    ):
        return pytorch.plan(weight, stride, resolved, dilation, groups, name, negative_slope)
    fuses = name in native.ACTIVATIONS and not _differentiates(x, weight, bias)
    is_batch = x.dim() == 4
    window = (stride, (*resolved[0], *resolved[1]), dilation, groups, algorithm)
    epilogue = (name if fuses else "none", negative_slope)

    def run(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        images = x if is_batch else x.unsqueeze(0)
        y: Tensor = convolve(images, weight, None, bias, None, None, None, 0.0, *window, *epilogue)
        y = y if is_batch else y.squeeze(0)
        return y if fuses else activation_epilogue(y, name, negative_slope)

    return run


_planned = plans.planned(_plan)


def _serves(x: Tensor, weight: Tensor, bias: Tensor | None) -> bool:
    # Under autocast a convolution is PyTorch's, which casts.
    return native.serves(x, weight, bias) and not torch.is_autocast_enabled("cpu")


def _differentiates(*tensors: Tensor | None) -> bool:
    return torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)


def _is_pytorchs(
    x: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: ResolvedPadding,
    dilation: Pair,
    groups: int,
    algorithm: str,
) -> bool:
    """Whether auto takes PyTorch's own op: it then costs nothing of ours."""
    if algorithm != "auto" or not native.sizes_are_known(x):
        return False  # the op chooses when it runs
    images = x if x.dim() == 4 else x.unsqueeze(0)
    case = problem_of(
        images, weight, stride, (*padding[0], *padding[1]), dilation, groups, "forward"
    )
    return choice.leaves_to_pytorch(case, choice.passes(x, weight))


# ---- the op: what an algorithm's passes have in common ------------------------------------------


def problem_of(
    x: Tensor,
    weight: Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    pass_: Pass,
) -> Problem:
    """Of real tensors: their sizes are known."""
    return _remembered_problem(
        tuple(x.shape),
        tuple(weight.shape),
        tuple(stride),
        tuple(padding),
        tuple(dilation),
        groups,
        pass_,
        torch.get_num_threads(),
        native.lanes(),
        kernels.is_channels_last_in_memory(x),
    )


def _problem_of(
    input_shape: Any,
    weight_shape: Any,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    pass_: Pass = "forward",
    threads: int = 1,
    lanes: int = 1,
    channels_last: bool = True,
) -> Problem:
    top, bottom, left, right = padding
    checks.check_convolution(input_shape, weight_shape, "conv2d", groups)
    kernel_size, sides = weight_shape[2:], ((top, bottom), (left, right))
    rows, columns = shapes.window_output_size(input_shape[2:], kernel_size, stride, sides, dilation)
    return Problem(
        input_shape,
        (input_shape[0], weight_shape[0], rows, columns),
        kernel_size,
        stride,
        sides,
        dilation,
        groups,
        pass_,
        threads,
        lanes=lanes,
        channels_last=channels_last,
    )


# What a small convolution takes is of the order of what working this out takes.
_remembered_problem = lru_cache(maxsize=4096)(_problem_of)


def _kernel(
    x: Tensor,
    weight: Tensor,
    scale: Tensor | None,
    shift: Tensor | None,
    mean: Tensor | None,
    variance: Tensor | None,
    addend: Tensor | None,
    eps: float,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    algorithm: str,
    activation: str,
    negative_slope: float,
) -> Tensor:
    name = None if activation == "none" else activation
    if addend is not None:
        addend = boundary.plain(addend, "conv2d: the addend")
    finish = Finish(scale, shift, name, mean, variance, eps, addend, negative_slope)
    problem = problem_of(x, weight, stride, padding, dilation, groups, "forward")
    chosen = choice.resolve(algorithm, problem)
    channels_last = layout.is_channels_last_after(x, weight)
    if chosen in kernels.ALGORITHMS:
        return kernels.forward(chosen, x, weight, finish, problem, channels_last)
    if chosen == "im2col":
        y = im2col.forward(x, weight, problem)
    elif chosen == "fft":
        y = fft.forward(x, weight, problem)
    else:
        y = pytorch.forward(x, weight, problem)
    vectors(finish.parameters, "conv2d", y.shape[1])  # PyTorch's ops would broadcast
    y = apply_finish(y, finish, in_place=True)
    return boundary.laid_out(y, layout.strides(y.shape, channels_last))


def _output_shape(a: Arguments) -> shapes.ImageShape:
    # Sizes may be symbols, which nothing remembers.
    return _problem_of(
        tuple(a.x.shape), tuple(a.weight.shape), a.stride, tuple(a.padding), a.dilation, a.groups
    ).output_shape


def _fake(a: Arguments) -> Tensor:
    return layout.fake_empty(a.x, _output_shape(a), layout.is_channels_last_after(a.x, a.weight))


def _gradient_kernel(
    pass_: Pass,
    x: Tensor,
    dy: Tensor,
    weight: Tensor,
    stride: Any,
    padding: Any,
    dilation: Any,
    groups: int,
    algorithm: str,
) -> Tensor:
    problem = problem_of(x, weight, stride, padding, dilation, groups, pass_)
    chosen = choice.resolve(algorithm, problem)
    channels_last = layout.is_channels_last_after(x, weight)
    if chosen in kernels.ALGORITHMS:
        if pass_ == "input_gradient":
            return kernels.input_gradient(chosen, x, dy, weight, problem, channels_last)
        return kernels.weight_gradient(chosen, x, dy, weight, problem)
    boundary.of_shape(dy, "conv2d: the gradient", problem.output_shape)
    module = {"im2col": im2col, "fft": fft}.get(chosen, pytorch)
    gradient = getattr(module, pass_)(x, dy, weight, problem)
    if pass_ == "input_gradient":
        return boundary.laid_out(gradient, layout.strides(x.shape, channels_last))
    return boundary.laid_out(gradient, layout.strides_of_gradient(weight))


_TENSORS = 7
"""Of the arguments: what autograd may ask the gradients of."""


def _save(ctx: Any, a: Arguments, output: Tensor) -> None:
    ctx.window = (a.stride, a.padding, a.dilation, a.groups, a.algorithm)
    ctx.options = a[_TENSORS:]
    ctx.is_sum = is_sum(a) and a.activation == "none"
    # The gradients of a sum and its bias need two of them.
    ctx.save_for_backward(*(a[:2] if ctx.is_sum else a[:_TENSORS]))


def _forward_by_torch(ctx: Any, *tensors: Any) -> Tensor:
    a = _named(*tensors, *[None] * (_TENSORS - len(tensors)), *ctx.options)
    z = torch_conv2d(a.x, a.weight, None, a.stride, sides(a.padding), a.dilation, a.groups)
    return z if ctx.is_sum else apply_finish(z, finish_of(a))


def _backward(ctx: Any, dy: Tensor) -> Gradients:
    if not ctx.is_sum:
        # Of a graph that was traced without gradients and is differentiated all the same.
        found = differentiable_gradients(partial(_forward_by_torch, ctx), ctx.saved_tensors, dy)
        return dict(zip(_named._fields[:_TENSORS], found, strict=True))
    x, weight = ctx.saved_tensors
    for_x, for_weight, _, for_shift = ctx.needs_input_grad[:4]
    shift = dy.sum((0, 2, 3)) if for_shift else None
    if torch.is_grad_enabled():
        dx, dweight = differentiable_gradients(partial(_forward_by_torch, ctx), (x, weight), dy)
    else:
        dx = _input_gradient(x, dy, weight, *ctx.window) if for_x else None
        dweight = _weight_gradient(x, dy, weight, *ctx.window) if for_weight else None
    return {"x": dx, "weight": dweight, "shift": shift}


def _cost(a: Arguments, **direction: Any) -> Cost:
    return theory.cost(
        tuple(a.x.shape),
        a.weight.shape[0],
        tuple(a.weight.shape[2:]),
        tuple(a.stride),
        sides(a.padding),
        tuple(a.dilation),
        a.groups,
        **direction,
    )


def _forward_cost(a: Arguments) -> Cost:
    return _cost(a, bias=False) + cost_of_finish(finish_of(a), prod(_output_shape(a)))


def _window(a: Arguments) -> Window:
    kernel_size = (a.weight.shape[2], a.weight.shape[3])
    return Window(kernel_size, tuple(a.stride), sides(a.padding), tuple(a.dilation), True)


_WINDOW = "int[] stride, SymInt[] padding, int[] dilation, int groups, str algorithm"
_input_gradient = register(
    f"conv2d_input_gradient(Tensor x, Tensor dy, Tensor weight, {_WINDOW}) -> Tensor",
    partial(_gradient_kernel, "input_gradient"),
    lambda a: layout.fake_empty(a.x, a.x.shape, layout.is_channels_last_after(a.x, a.weight)),
    cost=partial(_cost, bias=False, direction="backward", weight_gradient=False),
)
_weight_gradient = register(
    f"conv2d_weight_gradient(Tensor x, Tensor dy, Tensor weight, {_WINDOW}) -> Tensor",
    partial(_gradient_kernel, "weight_gradient"),
    lambda a: a.weight.new_empty_strided(a.weight.shape, layout.strides_of_gradient(a.weight)),
    cost=partial(_cost, bias=False, direction="backward", input_gradient=False),
)
_SCHEMA = (
    "conv2d(Tensor x, Tensor weight, Tensor? scale, Tensor? shift, Tensor? mean, Tensor? variance, "
    f"Tensor? addend, float eps, {_WINDOW}, str activation, float negative_slope) -> Tensor"
)
_named = arguments_of(_SCHEMA)
convolve = register(
    _SCHEMA,
    _kernel,
    _fake,
    save=_save,
    backward=_backward,
    cost=_forward_cost,
    kind=lambda a: theory.kind(a.weight.shape[2:], a.groups, a.x.shape[1]),
    window=_window,
)
