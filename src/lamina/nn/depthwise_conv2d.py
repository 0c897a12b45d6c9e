"""Depthwise convolution: each channel with kernels of its own.

    y[n, c·M + m] = bias[c·M + m] + weight[c·M + m, 0] ⋆ x[n, c]

Source: Howard et al., "MobileNets" (2017), section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn.parameter import Parameter

from lamina import ops
from lamina.nn import lazy
from lamina.nn.children import weight_and_bias
from lamina.nn.quantization import refused_qconfig
from lamina.theory import depthwise_conv2d as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, ImageShape, Padding, Pair, image_shape
from lamina.theory.validation import one_of, positive_int, positive_pair

if TYPE_CHECKING:
    from jaxtyping import Float


class DepthwiseConv2d(torch.nn.Conv2d):
    """Each channel convolved with ``depth_multiplier`` kernels of its own.

    It is a ``torch.nn.Conv2d`` with ``groups=in_channels``, and loads the weights of one.

    Args:
        in_channels: C, at least 1; None takes it from the first input.
        kernel_size: taps, (height, width) or one number, at least 1.
        stride: pixels from one window to the next, at least 1; may differ by axis.
        padding: pixels, at least 0: one number, (height, width), ((top, bottom), (left, right)),
            ``"same"`` (TensorFlow's rule, at any stride) or ``"valid"``.
        dilation: pixels from one tap to the next, at least 1.
        depth_multiplier: M, kernels per channel, at least 1.
        bias: add a number to each output channel.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        (N, C, H, W) to (N, C·M, H', W'), or the same without N, with
        H' = floor((H + top + bottom − dilation · (kernel height − 1) − 1) / stride) + 1.

    Parameters:
        weight: (C·M, 1, height, width), uniform in ±1/√fan_in with fan_in = height · width: a
            kernel sees one channel.
        bias: (C·M,), the same law. Without a size both are uninitialised until the first call,
            which has to be an eager one, or the first ``load_state_dict``.

    Cost:
        N · C·M · H' · W' · height · width MACs, and memory-bound: ``theory.depthwise_conv2d.cost``.

    Numerics:
        float32 sums over the taps; the same in train and eval; deterministic.

    Raises:
        ValueError: in the constructor, an argument out of its range; in a call, another rank or
            number of channels, or a kernel larger than the padded image.
        TypeError: an integer image, or another dtype than the weight's outside of autocast.

    Differs from:
        Keras's DepthwiseConv2D: weight (height, width, C, M), glorot_uniform with
        fan_in = height · width · C, zero bias.

    Source:
        Howard et al., "MobileNets" (2017), section 3.1.

    Example:
        >>> layer = DepthwiseConv2d(4, kernel_size=3, padding="same", depth_multiplier=2)
        >>> layer(torch.zeros(1, 4, 9, 9)).shape
        torch.Size([1, 8, 9, 9])
    """

    in_channels: int | None  # type: ignore[assignment]
    kernel_size: Pair
    stride: Pair
    padding: Padding  # type: ignore[assignment]
    dilation: Pair
    weight: Parameter
    bias: Parameter | None
    qconfig = refused_qconfig

    def __init__(
        self,
        in_channels: int | None,
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
        channels = 1 if in_channels is None else positive_int(in_channels, "in_channels")
        super().__init__(
            channels,
            channels * positive_int(depth_multiplier, "depth_multiplier"),
            positive_pair(kernel_size, "kernel_size"),
            positive_pair(stride, "stride"),
            0,
            positive_pair(dilation, "dilation"),
            channels,
            bias,
            one_of(padding_mode, "padding_mode", ops.PADDING_MODES),  # type: ignore[arg-type]
            "meta" if in_channels is None else device,
            dtype,
        )
        self.depth_multiplier = depth_multiplier
        self.padding = ops.torch_padding(padding)
        self._reversed_padding_repeated_twice = ops.border(  # type: ignore[assignment]
            self.padding, self.kernel_size, self.stride, self.dilation
        )
        if in_channels is None:
            self.in_channels = None
            lazy.postpone(self, device, dtype)

    def materialize(self, in_channels: int) -> None:
        """Give a layer without a size its parameters, drawn by their laws."""
        self.in_channels = self.groups = positive_int(in_channels, "in_channels")
        self.out_channels = in_channels * self.depth_multiplier
        weight_shape = (self.out_channels, 1, *self.kernel_size)
        lazy.materialize(self, weight=weight_shape, bias=(self.out_channels,))
        self.reset_parameters()

    def output_shape(self, input_shape: Sequence[int]) -> ImageShape:
        """(N, C·M, H', W') for an input of (N, C, H, W)."""
        return theory.output_shape(image_shape(input_shape, self.in_channels), *self._window)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Parameters, MACs and bytes of one call; or of its backward pass."""
        return theory.cost(
            image_shape(input_shape, self.in_channels),
            *self._window,
            self.bias is not None,
            direction=direction,
            itemsize=self.weight.dtype.itemsize,
        )

    def forward(self, input: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N CM Ho Wo"]:
        """The convolution of ``input``."""
        if self.in_channels is None:
            ops.check_image(input, "depthwise_conv2d")
            self.materialize(input.shape[-3])
        return self._conv_forward(input, *weight_and_bias(self))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # torch.nn's own hook for layers that make their weight anew on every call.
        ops.check_image(input, "depthwise_conv2d", self.in_channels)
        padding = self.padding
        if self.padding_mode != "zeros":
            input = ops.pad2d(
                input, padding, self.kernel_size, self.stride, self.dilation, self.padding_mode
            )
            padding = 0
        return ops.depthwise_conv2d(input, weight, bias, self.stride, padding, self.dilation)

    @property
    def _window(self) -> tuple[Pair, Pair, Padding, Pair, int]:
        return (
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.depth_multiplier,
        )

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        if self.in_channels is None and prefix + "weight" in state_dict:
            self.materialize(state_dict[prefix + "weight"].shape[0] // self.depth_multiplier)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        text = f"{self.in_channels}, kernel_size={self.kernel_size}, stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding!r}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.depth_multiplier != 1:
            text += f", depth_multiplier={self.depth_multiplier}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode!r}"
        return text
