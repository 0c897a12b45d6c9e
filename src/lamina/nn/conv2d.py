"""Convolution and its 1×1 case, with torch.nn's constructor and TensorFlow's padding.

    y[n, o, i, j] = bias[o] + sum over c, u, v of weight[o, c, u, v] · x[n, c, i·s+u·d−p, j·s+v·d−p]

Source: Dumoulin and Visin, "A guide to convolution arithmetic for deep learning" (2016), section 2;
for the 1×1: Lin, Chen and Yan, "Network In Network" (2013), section 3.1.
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
from lamina.ops.tuning.choice import check as check_algorithm
from lamina.theory import conv2d as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, ImageShape, Padding, Pair, image_shape
from lamina.theory.validation import divides, one_of, positive_int, positive_pair

if TYPE_CHECKING:
    from jaxtyping import Float


class Conv2d(torch.nn.Conv2d):
    """Every window of the image, multiplied by a bank of kernels; ``torch.nn.Conv2d``, and more.

    Args:
        in_channels: C, at least 1; None takes it from the first input.
        out_channels: number of kernels, at least 1.
        kernel_size: taps, (height, width) or one number, at least 1.
        stride: pixels from one window to the next, at least 1.
        padding: pixels, at least 0: one number, (height, width), ((top, bottom), (left, right)),
            ``"same"`` (TensorFlow's rule, at any stride) or ``"valid"``.
        dilation: pixels from one tap to the next, at least 1.
        groups: independent convolutions; divides both numbers of channels.
        bias: add a number to each output channel.
        padding_mode: ``"zeros"``, ``"reflect"``, ``"replicate"`` or ``"circular"``.
        device: of the parameters.
        dtype: of the parameters.
        algorithm: as for ``ops.conv2d``: ``"auto"``, ``"direct"``, ``"im2col"``, ``"winograd"``,
            ``"fft"`` or ``"onednn"``.

    Shape:
        (N, C, H, W) to (N, out_channels, H', W'), or the same without N, with
        H' = floor((H + top + bottom − dilation · (kernel height − 1) − 1) / stride) + 1.

    Parameters:
        weight: (out_channels, C / groups, height, width), uniform in ±1/√fan_in with
            fan_in = C / groups · height · width.
        bias: (out_channels,), the same law. Without a size (``in_channels=None``) both are
            uninitialised: the first call, which has to be an eager one, or the first
            ``load_state_dict`` makes them.

    Cost:
        N · out_channels · H' · W' · C / groups · height · width MACs: ``theory.conv2d.cost``.

    Numerics:
        float32 sums in an order that the algorithm sets; Winograd's and Fourier's have the larger
        errors that ``theory.numerics`` bounds, and ``set_numerics("strict")`` keeps ``"auto"`` from
        them. The same in train and eval; deterministic for an algorithm, which ``"auto"`` takes by
        what was measured on the machine.

    Raises:
        ValueError: in the constructor, an argument out of its range, or an algorithm that does not
            serve such windows; in a call, another rank or
            number of channels, or a kernel larger than the padded image.
        TypeError: an integer image, or another dtype than the weight's outside of autocast.

    Differs from:
        Keras's Conv2D: weight (height, width, C / groups, out_channels), glorot_uniform, zero bias.

    Source:
        ``torch.nn.Conv2d`` in all that it has.

    Example:
        >>> layer = Conv2d(3, 8, kernel_size=3, stride=2, padding="same")
        >>> layer(torch.zeros(1, 3, 32, 32)).shape
        torch.Size([1, 8, 16, 16])
        >>> layer
        Conv2d(3, 8, kernel_size=(3, 3), stride=(2, 2), padding='same')
    """

    in_channels: int | None  # type: ignore[assignment]
    kernel_size: Pair
    stride: Pair
    padding: Padding  # type: ignore[assignment]
    dilation: Pair
    weight: Parameter
    bias: Parameter | None
    algorithm: str = "auto"  # here too, for layers that were pickled without it
    qconfig = refused_qconfig

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        kernel_size: int | Pair,
        stride: int | Pair = 1,
        padding: Padding = 0,
        dilation: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: str = "zeros",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        algorithm: str = "auto",
    ) -> None:
        groups = divides(groups, positive_int(out_channels, "out_channels"), "out_channels")
        if in_channels is not None:
            divides(groups, positive_int(in_channels, "in_channels"), "in_channels")
        super().__init__(
            groups if in_channels is None else in_channels,
            out_channels,
            positive_pair(kernel_size, "kernel_size"),
            positive_pair(stride, "stride"),
            0,
            positive_pair(dilation, "dilation"),
            groups,
            bias,
            one_of(padding_mode, "padding_mode", ops.PADDING_MODES),  # type: ignore[arg-type]
            "meta" if in_channels is None else device,
            dtype,
        )
        self.padding = ops.torch_padding(padding)
        self._reversed_padding_repeated_twice = ops.border(  # type: ignore[assignment]
            self.padding, self.kernel_size, self.stride, self.dilation
        )
        check_algorithm(algorithm, self.kernel_size, self.stride, self.dilation, groups)
        self.algorithm = algorithm
        if in_channels is None:
            self.in_channels = None
            lazy.postpone(self, device, dtype)

    def materialize(self, in_channels: int) -> None:
        """Give a layer without a size its parameters, drawn by their laws."""
        divides(self.groups, positive_int(in_channels, "in_channels"), "in_channels")
        self.in_channels = in_channels
        weight_shape = (self.out_channels, in_channels // self.groups, *self.kernel_size)
        lazy.materialize(self, weight=weight_shape, bias=(self.out_channels,))
        self.reset_parameters()

    def output_shape(self, input_shape: Sequence[int]) -> ImageShape:
        """(N, out_channels, H', W') for an input of (N, C, H, W)."""
        return theory.output_shape(image_shape(input_shape, self.in_channels), *self._window)

    def cost(
        self,
        input_shape: Sequence[int],
        direction: Direction = "forward",
        *,
        input_gradient: bool = True,
    ) -> Cost:
        """Parameters, MACs and bytes of one call; or of its backward pass, a first layer's too."""
        return theory.cost(
            image_shape(input_shape, self.in_channels),
            *self._window,
            self.bias is not None,
            direction=direction,
            input_gradient=input_gradient,
            itemsize=self.weight.dtype.itemsize,
        )

    def forward(self, input: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N M Ho Wo"]:
        """The convolution of ``input``."""
        if self.in_channels is None:
            ops.check_image(input, "conv2d")
            self.materialize(input.shape[-3])
        return self._conv_forward(input, *weight_and_bias(self))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        # torch.nn's own hook for layers that make their weight anew on every call.
        padding = self.padding
        if self.padding_mode != "zeros":
            input = ops.pad2d(
                input, padding, self.kernel_size, self.stride, self.dilation, self.padding_mode
            )
            padding = 0
        window = (self.stride, padding, self.dilation, self.groups)
        return ops.conv2d(input, weight, bias, *window, algorithm=self.algorithm)

    @property
    def _window(self) -> tuple[int, Pair, Pair, Padding, Pair, int]:
        return (
            self.out_channels,
            self.kernel_size,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        if self.in_channels is None and prefix + "weight" in state_dict:
            self.materialize(state_dict[prefix + "weight"].shape[1] * self.groups)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        text = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        text += f", stride={self.stride}"
        if self.padding != (0, 0):
            text += f", padding={self.padding!r}"
        if self.dilation != (1, 1):
            text += f", dilation={self.dilation}"
        if self.groups != 1:
            text += f", groups={self.groups}"
        if self.bias is None:
            text += ", bias=False"
        if self.padding_mode != "zeros":
            text += f", padding_mode={self.padding_mode!r}"
        if self.algorithm != "auto":
            text += f", algorithm={self.algorithm!r}"
        return text


class PointwiseConv2d(Conv2d):
    """A 1×1 convolution: the same matrix product over the channels at every pixel.

    Args:
        in_channels: C, at least 1; None takes it from the first input.
        out_channels: number of kernels, at least 1.
        stride: pixels; every other pixel is dropped at 2.
        groups: independent products; divides both numbers of channels.
        bias: add a number to each output channel.
        device: of the parameters.
        dtype: of the parameters.
        algorithm: as for ``Conv2d``.

    Shape:
        (N, C, H, W) to (N, out_channels, ceil(H / stride), ceil(W / stride)).

    Parameters:
        weight: (out_channels, C / groups, 1, 1) and bias: (out_channels,), as ``Conv2d``.

    Cost:
        N · H' · W' · out_channels · C / groups MACs: ``theory.conv2d.cost`` with one tap.

    Numerics:
        As ``Conv2d``.

    Raises:
        ValueError: as ``Conv2d``.
        TypeError: as ``Conv2d``.

    Differs from:
        ``torch.nn.Linear`` acts on the last axis, which in (N, C, H, W) is W.

    Source:
        Lin, Chen and Yan, "Network In Network" (2013), section 3.1.

    Example:
        >>> PointwiseConv2d(3, 8)(torch.zeros(1, 3, 5, 5)).shape
        torch.Size([1, 8, 5, 5])
    """

    def __init__(
        self,
        in_channels: int | None,
        out_channels: int,
        stride: int | Pair = 1,
        groups: int = 1,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        *,
        algorithm: str = "auto",
    ) -> None:
        super().__init__(
            in_channels,
            out_channels,
            kernel_size=1,
            stride=stride,
            groups=groups,
            bias=bias,
            device=device,
            dtype=dtype,
            algorithm=algorithm,
        )

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        return super().extra_repr().replace(f", kernel_size={self.kernel_size}", "")
