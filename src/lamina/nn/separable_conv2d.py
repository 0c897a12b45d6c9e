"""Separable convolution: a depthwise one to look around, then a pointwise one to mix channels.

    y[n, o] = bias[o] + sum over k of pointwise[o, k] · (depthwise[k, 0] ⋆ x[n, k div M])

Source: Howard et al., "MobileNets" (2017), section 3.1; Chollet, "Xception" (2017), section 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard, cast

import torch
from torch import Tensor

from lamina import ops
from lamina.nn.activation import Hardswish, LeakyReLU, ReLU, ReLU6, SiLU
from lamina.nn.batch_norm2d import BatchNorm2d
from lamina.nn.children import is_plain
from lamina.nn.conv2d import Conv2d, PointwiseConv2d
from lamina.nn.depthwise_conv2d import DepthwiseConv2d
from lamina.theory import separable_conv2d as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, ImageShape, Padding, Pair, image_shape
from lamina.theory.validation import one_of, positive_int

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
        glorot_uniform, zero bias. torch.nn has no such layer.

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
        if not (_is_depthwise(self.depthwise) and _is_pointwise(self.pointwise)):
            y: Tensor = self.pointwise(self.depthwise(input))
            return y
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
        if not isinstance(self.depthwise, DepthwiseConv2d) or not isinstance(
            self.pointwise, Conv2d
        ):
            return ""  # the children say what they are
        text = self.depthwise.extra_repr().replace(", bias=False", "")
        text = text.replace(", ", f", {self.out_channels}, ", 1)
        return text if self.pointwise.bias is not None else text + ", bias=False"


_ACTIVATIONS: Mapping[str, type[torch.nn.Module]] = {
    "relu": ReLU,
    "relu6": ReLU6,
    "leaky_relu": LeakyReLU,
    "silu": SiLU,
    "hardswish": Hardswish,
}


def _activation(name: str | None) -> torch.nn.Module | None:
    return None if name is None else _ACTIVATIONS[one_of(name, "activation", _ACTIVATIONS)]()


class SeparableBlock(torch.nn.Module):
    """A separable convolution as networks have it: both parts normalised and activated.

    With ``expansion`` above 1 it is the inverted residual of MobileNetV2: a pointwise convolution
    in front gives the depthwise one ``expansion`` times the channels. In a model that was given to
    ``lamina.optimize`` or to ``torch.compile(model, backend="lamina")`` the block is one op in
    inference: what lies between the convolutions never leaves the caches.

    Args:
        in_channels: C, at least 1.
        out_channels: number of the last convolution's kernels, at least 1.
        kernel_size: depthwise taps, (height, width) or one number, at least 1.
        stride: of the depthwise part, pixels, at least 1.
        padding: of the depthwise part, as for ``SeparableConv2d``.
        expansion: the depthwise part's channels over C, at least 1; 1 for no convolution in front.
        activation: after every normalisation but the last.
        last_activation: after the last one; None for a linear bottleneck.
        shortcut: add the input, which wants stride 1 and as many channels out as in.

    Shape:
        (N, C, H, W) to (N, out_channels, H', W'), sizes as for ``SeparableConv2d``.

    Parameters:
        expand, depthwise, pointwise: convolutions without bias; expand_norm, depthwise_norm,
        pointwise_norm: ``BatchNorm2d``. Those of the expansion are None at 1.

    Cost:
        The sum of its layers'; in inference the bytes of what lies between them are not moved.

    Numerics:
        In inference a normalisation is applied as scale · sum + shift, which rounds once more.

    Raises:
        ValueError: an argument out of its range, a shortcut where shapes differ; in a call as
            ``SeparableConv2d``.
        TypeError: as ``SeparableConv2d``.

    Differs from:
        Keras and torch.nn, which have no such layer.

    Source:
        Howard et al., "MobileNets" (2017), figure 3; Sandler et al., "MobileNetV2" (2018), table 1.

    Example:
        >>> block = SeparableBlock(8, 8, padding=1, expansion=6, shortcut=True)
        >>> with torch.no_grad():
        ...     block.eval()(torch.zeros(1, 8, 14, 14)).shape
        torch.Size([1, 8, 14, 14])
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Pair = 3,
        stride: int | Pair = 1,
        padding: Padding = 0,
        expansion: int = 1,
        activation: str | None = "relu",
        last_activation: str | None = "relu",
        shortcut: bool = False,
    ) -> None:
        super().__init__()
        positive_int(in_channels, "in_channels")
        hidden = in_channels * positive_int(expansion, "expansion")
        expands = expansion != 1
        self.expand = PointwiseConv2d(in_channels, hidden, bias=False) if expands else None
        self.expand_norm = BatchNorm2d(hidden) if expands else None
        self.expand_activation = _activation(activation) if expands else None
        self.depthwise = DepthwiseConv2d(hidden, kernel_size, stride, padding, bias=False)
        self.depthwise_norm = BatchNorm2d(hidden)
        self.depthwise_activation = _activation(activation)
        self.pointwise = PointwiseConv2d(hidden, out_channels, bias=False)
        self.pointwise_norm = BatchNorm2d(out_channels)
        self.pointwise_activation = _activation(last_activation)
        if shortcut and (in_channels != out_channels or self.depthwise.stride != (1, 1)):
            raise ValueError(
                "shortcut needs stride 1 and as many channels out as in, got stride "
                f"{self.depthwise.stride} and {in_channels} to {out_channels} channels"
            )
        self.shortcut = shortcut

    def output_shape(self, input_shape: Sequence[int]) -> ImageShape:
        """(N, out_channels, H', W') for an input of (N, C, H, W)."""
        hidden = (*input_shape[:1], self.depthwise.in_channels or 0, *input_shape[2:])
        return self.pointwise.output_shape(self.depthwise.output_shape(hidden))

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Parameters, operations and bytes of one call of the layers; or of their backward pass."""
        total, shape = Cost(), tuple(input_shape)
        for layer in self.children():
            own = cast(Any, layer)
            total, shape = total + own.cost(shape, direction), own.output_shape(shape)
        return total

    def forward(self, input: Float[Tensor, "N C H W"]) -> Float[Tensor, "N M Ho Wo"]:
        """The block of ``input``."""
        y: Tensor = input
        for layer in self.children():
            y = layer(y)
        return input + y if self.shortcut else y

    def extra_repr(self) -> str:
        """What the layers inside do not say."""
        return f"shortcut={self.shortcut}"


def _is_depthwise(child: torch.nn.Module) -> TypeGuard[DepthwiseConv2d]:
    return is_plain(child, (DepthwiseConv2d,)) and child._parameters["bias"] is None


def _is_pointwise(child: torch.nn.Module) -> TypeGuard[Conv2d]:
    """Whether its weight times every pixel, and perhaps a bias, is all that a child computes."""
    if not is_plain(child, (PointwiseConv2d, Conv2d)):
        return False
    window = vars(child)
    return (
        window["kernel_size"] == (1, 1)
        and window["stride"] == (1, 1)
        and window["padding"] in ((0, 0), "same", "valid")
        and window["groups"] == 1
    )
