"""Separable convolution: a depthwise one to look around, then a pointwise one to mix channels.

    y[n, o] = bias[o] + sum over k of pointwise[o, k] · (depthwise[k, 0] ⋆ x[n, k div M])

Source: Howard et al., "MobileNets" (2017), section 3.1; Chollet, "Xception" (2017), section 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lamina import ops
from lamina.nn.conv2d import PointwiseConv2d
from lamina.nn.depthwise_conv2d import DepthwiseConv2d
from lamina.theory import separable_conv2d as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, ImageShape, Padding, Pair, image_shape

if TYPE_CHECKING:
    from jaxtyping import Float


class SeparableConv2d(torch.nn.Module):
    """A ``DepthwiseConv2d`` without bias and a ``PointwiseConv2d``, with nothing in between.

    Args:
        in_channels: C, at least 1; None takes it from the first input.
        out_channels: number of pointwise kernels, at least 1.
        kernel_size: depthwise taps, (height, width) or one number, at least 1.
        stride: of the depthwise part, pixels, at least 1.
        padding: of the depthwise part, pixels, at least 0: one number, (height, width),
            ((top, bottom), (left, right)), ``"same"`` (TensorFlow's rule) or ``"valid"``.
        dilation: of the depthwise part, pixels from one tap to the next, at least 1.
        depth_multiplier: M, depthwise kernels per channel, at least 1.
        bias: add a number to each output channel, after the pointwise part.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        (N, C, H, W) to (N, out_channels, H', W'), or the same without N, with
        H' = floor((H + top + bottom − dilation · (kernel height − 1) − 1) / stride) + 1.

    Parameters:
        depthwise.weight: (C·M, 1, height, width), uniform in ±1/√(height · width).
        pointwise.weight: (out_channels, C·M, 1, 1), uniform in ±1/√(C·M).
        pointwise.bias: (out_channels,), the same law.

    Cost:
        N · H' · W' · C·M · (height · width + out_channels) MACs: ``theory.separable_conv2d.cost``.

    Numerics:
        float32 sums, the middle rounded to the dtype; the same in train and eval; deterministic.

    Raises:
        ValueError: in the constructor, an argument out of its range; in a call, another rank or
            number of channels, or a kernel larger than the padded image.
        TypeError: an integer image, or another dtype than the weight's outside of autocast.

    Differs from:
        Keras's SeparableConv2D: weights (height, width, C, M) and (1, 1, C·M, out_channels),
        glorot_uniform, zero bias. torch.nn has no such layer. Hooks on the two children do not
        run: their parameters go through one op.

    Source:
        Chollet, "Xception" (2017), section 2.

    Example:
        >>> layer = SeparableConv2d(3, 8, kernel_size=3, stride=2, padding="same")
        >>> layer(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 8, 16, 16])
        >>> sorted(layer.state_dict())
        ['depthwise.weight', 'pointwise.bias', 'pointwise.weight']
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Padding = 0,
        dilation: int | Pair = 1,
        depth_multiplier: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv2d(
            in_channels,
            kernel_size,
            stride,
            padding,
            dilation,
            depth_multiplier,
            bias=False,
            padding_mode=padding_mode,
            device=device,
            dtype=dtype,
        )
        middle = None if in_channels is None else self.depthwise.out_channels
        self.pointwise = PointwiseConv2d(
            middle, out_channels, bias=bias, device=device, dtype=dtype
        )

    @property
    def in_channels(self) -> int | None:
        """C, None until it is known."""
        return self.depthwise.in_channels

    @property
    def out_channels(self) -> int:
        """Number of pointwise kernels."""
        return self.pointwise.out_channels

    def materialize(self, in_channels: int) -> None:
        """Give a layer without a size its parameters, drawn by their laws."""
        self.depthwise.materialize(in_channels)
        self.pointwise.materialize(self.depthwise.out_channels)

    def output_shape(self, input_shape: Sequence[int]) -> ImageShape:
        """(N, out_channels, H', W') for an input of (N, C, H, W)."""
        return theory.output_shape(image_shape(input_shape, self.in_channels), *self._window)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Parameters, MACs and bytes of one call; or of its backward pass."""
        return theory.cost(
            image_shape(input_shape, self.in_channels),
            *self._window,
            self.pointwise.bias is not None,
            direction=direction,
            itemsize=self.pointwise.weight.dtype.itemsize,
        )

    def forward(self, input: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N M Ho Wo"]:
        """The separable convolution of ``input``."""
        ops.check_image(input, "separable_conv2d", self.in_channels)
        if self.in_channels is None:
            self.materialize(input.shape[-3])
        depthwise, pointwise = self.depthwise, self.pointwise
        stride, padding, dilation = depthwise.stride, depthwise.padding, depthwise.dilation
        if depthwise.padding_mode != "zeros":
            input = ops.pad2d(
                input, padding, depthwise.kernel_size, stride, dilation, depthwise.padding_mode
            )
            padding = 0
        return ops.separable_conv2d(
            input, depthwise.weight, pointwise.weight, pointwise.bias, stride, padding, dilation
        )

    @property
    def _window(self) -> tuple[int, Pair, Pair, Padding, Pair, int]:
        depthwise = self.depthwise
        return (
            self.out_channels,
            depthwise.kernel_size,
            depthwise.stride,
            depthwise.padding,
            depthwise.dilation,
            depthwise.depth_multiplier,
        )

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        text = self.depthwise.extra_repr().replace(", bias=False", "")
        text = text.replace(", ", f", {self.out_channels}, ", 1)
        return text if self.pointwise.bias is not None else text + ", bias=False"
