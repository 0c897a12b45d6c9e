"""Separable convolution: a depthwise one to look around, then a pointwise one to mix channels.

Source: Howard et al., "MobileNets" (2017), section 3.1; Chollet, "Xception" (2017), section 2.
"""

from __future__ import annotations

from torch import Tensor

from lamina.ops.conv2d import conv2d
from lamina.ops.depthwise_conv2d import depthwise_conv2d
from lamina.theory.shapes import Padding, Pair


def separable_conv2d(
    x: Tensor,
    depthwise_weight: Tensor,
    pointwise_weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Pair = 1,
    padding: Padding = 0,
    dilation: int | Pair = 1,
) -> Tensor:
    """Depthwise, then pointwise convolution, with nothing in between.

    Args:
        x: (N, C, H, W) or (C, H, W), any memory format.
        depthwise_weight: (C·M, 1, kernel height, kernel width).
        pointwise_weight: (out_channels, C·M, 1, 1).
        bias: (out_channels,), added after the pointwise part.
        stride: of the depthwise part, pixels.
        padding: of the depthwise part, as for ``conv2d``.
        dilation: of the depthwise part, pixels.

    Returns:
        (N, out_channels, H', W'), sizes as for ``conv2d``.

    Raises:
        ValueError: a wrong rank, channel count or argument; a kernel larger than the padded input.
        TypeError: an integer input, or two dtypes outside of autocast.

    Example:
        >>> import torch
        >>> x, depthwise = torch.ones(1, 2, 5, 5), torch.ones(2, 1, 3, 3)
        >>> separable_conv2d(x, depthwise, torch.ones(4, 2, 1, 1)).shape
        torch.Size([1, 4, 3, 3])
    """
    middle = depthwise_conv2d(x, depthwise_weight, None, stride, padding, dilation)
    return conv2d(middle, pointwise_weight, bias)
