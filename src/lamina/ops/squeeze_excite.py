"""Squeeze and excitation: y[n, c] = x[n, c] · gate(W₂ · f(W₁ · mean over pixels of x[n]))[c].

Source: Hu, Shen and Sun, "Squeeze-and-Excitation Networks" (2018), section 3.
"""

from __future__ import annotations

from torch import Tensor

from lamina.ops.activation import activation as activate
from lamina.ops.dense import linear
from lamina.ops.pool2d.op import global_avg_pool2d
from lamina.ops.runtime import checks


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
    squeezed = global_avg_pool2d(x, keepdims=False)
    hidden = activate(linear(squeezed, reduce_weight.flatten(1), reduce_bias), activation)
    scale = activate(linear(hidden, expand_weight.flatten(1), expand_bias), gate)
    return x * scale[..., None, None].to(x.dtype)
