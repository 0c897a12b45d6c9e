"""Squeeze and excitation: y[n, c] = x[n, c] · gate(W₂ · f(W₁ · mean over pixels of x[n]))[c].

Source: Hu, Shen and Sun, "Squeeze-and-Excitation Networks" (2018), section 3.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lamina.ops.activation import FUNCTIONS
from lamina.ops.activation import activation as activate
from lamina.ops.dense import linear, product
from lamina.ops.pool2d.op import global_avg_pool2d
from lamina.ops.runtime import boundary, checks, layout, memory, native


def squeeze_excite(
    x: Tensor,
    reduce_weight: Tensor,
    reduce_bias: Tensor | None,
    expand_weight: Tensor,
    expand_bias: Tensor | None,
    *,
    activation: str = "relu",
    gate: str = "sigmoid",
) -> Tensor:
    """Weigh each channel by what all channels show on average.

    Args:
        x: (N, C, H, W) or (C, H, W), any memory format.
        reduce_weight: (S, C), or (S, C, 1, 1) as a 1×1 convolution has it.
        reduce_bias: (S,).
        expand_weight: (C, S), or (C, S, 1, 1).
        expand_bias: (C,).
        activation: between the two, a name that ``activation`` knows.
        gate: after them; ``"sigmoid"``, or ``"hardsigmoid"`` in MobileNetV3.

    Returns:
        The shape of ``x``.

    Raises:
        ValueError: a wrong rank or channel count, an unknown activation.
        TypeError: an integer input, or two dtypes outside of autocast.

    Example:
        >>> import torch
        >>> x = torch.ones(1, 2, 3, 3)
        >>> squeeze_excite(x, torch.zeros(1, 2), None, torch.zeros(2, 1), None)[0, :, 0, 0]
        tensor([0.5000, 0.5000])
    """
    checks.check_image(x, "squeeze_excite", reduce_weight.shape[1])
    tensors = (x, reduce_weight, reduce_bias, expand_weight, expand_bias)
    if _kernels_serve(tensors, activation, gate):
        return _scaled(x, _gates_by_kernels(*tensors, activation, gate))
    return x * _gates(*tensors, activation, gate)[..., None, None].to(x.dtype)


def gated_weight(
    x: Tensor,
    reduce_weight: Tensor,
    reduce_bias: Tensor | None,
    expand_weight: Tensor,
    expand_bias: Tensor | None,
    weight: Tensor,
    *,
    activation: str = "relu",
    gate: str = "sigmoid",
) -> Tensor:
    """The weight by which a convolution of one image does what it did of the weighed image.

    Args:
        x: (1, C, H, W), any memory format.
        reduce_weight: as of `squeeze_excite`, like the next three.
        reduce_bias: (S,).
        expand_weight: (C, S).
        expand_bias: (C,).
        weight: (O, C, 1, 1).
        activation: as of `squeeze_excite`, like ``gate``.
        gate: after both layers.

    Returns:
        (O, C, 1, 1).

    Example:
        >>> import torch
        >>> x, weight = torch.ones(1, 2, 3, 3), torch.ones(1, 2, 1, 1)
        >>> gated_weight(x, torch.zeros(1, 2), None, torch.zeros(2, 1), None, weight).flatten()
        tensor([0.5000, 0.5000])
    """
    tensors = (x, reduce_weight, reduce_bias, expand_weight, expand_bias)
    if _kernels_serve((*tensors, weight), activation, gate):
        scale = _gates_by_kernels(*tensors, activation, gate)
        rows = boundary.row_major(weight, "gated_weight: the weight", weight.shape)
        scaled = memory.empty(rows.shape, rows)
        native.kernels.dropout_scale(rows, scale, 1, rows.shape[1], rows.shape[0], True, scaled)
        return scaled
    return weight * _gates(*tensors, activation, gate)[0, :, None, None].to(weight.dtype)


def _gates(
    x: Tensor,
    reduce_weight: Tensor,
    reduce_bias: Tensor | None,
    expand_weight: Tensor,
    expand_bias: Tensor | None,
    activation: str,
    gate: str,
) -> Tensor:
    """(N, C), each op by itself."""
    squeezed = global_avg_pool2d(x, keepdims=False)
    hidden = activate(linear(squeezed, reduce_weight.flatten(1), reduce_bias), activation)
    return activate(linear(hidden, expand_weight.flatten(1), expand_bias), gate)


# ---- without gradients --------------------------------------------------------------------------


def _kernels_serve(tensors: tuple[Tensor | None, ...], activation: str, gate: str) -> bool:
    """Whether nobody watches or differentiates: then it need not be seen as five ops."""
    x = tensors[0]
    return (
        x is not None
        and x.dim() == 4
        and activation in native.ACTIVATIONS
        and gate in FUNCTIONS
        and native.serves(*tensors)
        and (native.runs_directly(tensors) or native.is_recording())
        and not torch.is_autocast_enabled("cpu")
        and not (
            torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in tensors)
        )
    )


def _gates_by_kernels(
    x: Tensor,
    reduce_weight: Tensor,
    reduce_bias: Tensor | None,
    expand_weight: Tensor,
    expand_bias: Tensor | None,
    activation: str,
    gate: str,
) -> Tensor:
    images, channels, height, width = x.shape
    channels_last = layout.is_channels_last(x)
    x = boundary.image(x, "squeeze_excite: the input", channels_last)
    means = x.new_empty(images, channels)
    native.kernels.pool2d_global_average(x, images, channels, height * width, channels_last, means)
    hidden = product(means, reduce_weight.flatten(1), reduce_bias, activation)
    scale = product(hidden, expand_weight.flatten(1), expand_bias)
    function = FUNCTIONS.index(gate)
    native.kernels.activation_forward(function, scale, scale.numel(), 0.0, scale)
    return scale


def _scaled(x: Tensor, scale: Tensor) -> Tensor:
    """Each channel of each image by its number."""
    images, channels, height, width = x.shape
    channels_last = layout.is_channels_last(x)
    x = boundary.image(x, "squeeze_excite: the input", channels_last)
    y = memory.empty(x.shape, x, channels_last=channels_last)
    native.kernels.dropout_scale(x, scale, images, channels, height * width, channels_last, y)
    return y
