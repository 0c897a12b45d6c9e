"""Convolution: windows of the image, each multiplied by a bank of kernels.

    y[n, o, i, j] = bias[o] + sum over c, u, v of weight[o, c, u, v] · x[n, c, i·s+u·d−p, j·s+v·d−p]

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), section 2.
"""

from __future__ import annotations

from torch import Tensor

from lamina.ops import checks, winograd
from lamina.ops.depthwise_conv2d import depthwise_conv2d
from lamina.ops.numerics import get_numerics
from lamina.ops.padding import torch_conv2d, window_padding
from lamina.theory import validation
from lamina.theory.shapes import Padding, Pair

ALGORITHMS = ("auto", "winograd", "onednn")


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
        algorithm: ``"auto"`` is PyTorch's own, and the native kernel for a depthwise
            convolution; ``"winograd"`` takes a quarter of the products of a 3×3
            kernel at stride 1, dilation 1 and one group; ``"onednn"`` is PyTorch's own, which
            also serves other dtypes than float32, other devices, function transforms and autocast
            whatever is asked for.

    Returns:
        (N, out_channels, H', W') with
        H' = floor((H + top + bottom − dilation · (kernel height − 1) − 1) / stride) + 1.

    Raises:
        ValueError: a wrong rank, channel count or argument; a kernel larger than the padded input;
            ``"winograd"`` for another window, or after ``set_numerics("strict")``.
        TypeError: an integer input, or two dtypes outside of autocast.

    Example:
        >>> import torch
        >>> conv2d(torch.ones(1, 1, 4, 4), torch.ones(1, 1, 3, 3), stride=2, padding="same")
        tensor([[[[9., 6.],
                  [6., 4.]]]])
    """
    validation.one_of(algorithm, "algorithm", ALGORITHMS)
    stride = validation.positive_pair(stride, "stride")
    dilation = validation.positive_pair(dilation, "dilation")
    checks.check_image(x, "conv2d", weight.shape[1] * groups)
    checks.check_same_dtype(x, weight, "conv2d")
    if algorithm == "auto" and groups > 1 and weight.shape[1] == 1:
        return depthwise_conv2d(x, weight, bias, stride, padding, dilation)
    resolved = window_padding(x, weight, stride, padding, dilation)
    if _takes_winograd(x, weight, bias, stride, dilation, groups, algorithm):
        if x.dim() == 3:
            return winograd.winograd_conv2d(x.unsqueeze(0), weight, bias, resolved).squeeze(0)
        return winograd.winograd_conv2d(x, weight, bias, resolved)
    return torch_conv2d(x, weight, bias, stride, resolved, dilation, groups)


def _takes_winograd(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Pair,
    dilation: Pair,
    groups: int,
    algorithm: str,
) -> bool:
    if algorithm != "winograd":
        return False
    if get_numerics() == "strict":
        raise ValueError('algorithm: "winograd" is ruled out by set_numerics("strict")')
    reason = winograd.why_not((weight.shape[-2], weight.shape[-1]), stride, dilation, groups)
    if reason:
        raise ValueError(f'algorithm: for "winograd" {reason}')
    return winograd.serves(x, weight, bias)
