"""Squeeze and excitation: each channel weighed by what all channels show on average.

    y[n, c] = x[n, c] · gate(W₂ · f(W₁ · mean over pixels of x[n]))[c]

Source: Hu, Shen and Sun, "Squeeze-and-Excitation Networks" (2018), section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lamina import ops
from lamina.nn.children import is_plain
from lamina.nn.conv2d import PointwiseConv2d
from lamina.theory import squeeze_excite as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, ImageShape, image_shape
from lamina.theory.validation import one_of, positive_int

if TYPE_CHECKING:
    from jaxtyping import Float


class SqueezeExcite(torch.nn.Module):
    """Two small pointwise layers on the channel means, whose gate scales the channels.

    Args:
        in_channels: C, at least 1.
        squeeze_channels: S, channels between the two layers, at least 1.
        activation: between the two, a name of ``ops.ACTIVATIONS``.
        gate: after them; ``"sigmoid"``, or ``"hardsigmoid"`` in MobileNetV3.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        (N, C, H, W) to the same, or (C, H, W) to the same.

    Parameters:
        fc1.weight: (S, C, 1, 1), uniform in ±1/√C. fc1.bias: (S,), the same law.
        fc2.weight: (C, S, 1, 1), uniform in ±1/√S. fc2.bias: (C,), the same law.
        The names and shapes are those of ``torchvision.ops.SqueezeExcitation``.

    Cost:
        2 · N · C · S MACs and two passes over the image: ``theory.squeeze_excite.cost``.

    Numerics:
        Means in the input's dtype; the same in train and eval.

    Raises:
        ValueError: in the constructor, an argument out of its range; in a call, another rank or
            number of channels.
        TypeError: an integer image, or another dtype than the weights' outside of autocast.

    Differs from:
        torchvision, which takes classes for ``activation`` and ``scale_activation``.

    Source:
        Hu, Shen and Sun (2018), section 3; Howard et al., "MobileNetV3" (2019), section 5.3.

    Example:
        >>> SqueezeExcite(16, 4)(torch.zeros(2, 16, 7, 7)).shape
        torch.Size([2, 16, 7, 7])
    """

    def __init__(
        self,
        in_channels: int,
        squeeze_channels: int,
        activation: str = "relu",
        gate: str = "sigmoid",
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.activation = one_of(activation, "activation", ops.ACTIVATIONS)
        self.gate = one_of(gate, "gate", ops.ACTIVATIONS)
        self.in_channels = positive_int(in_channels, "in_channels")
        self.squeeze_channels = positive_int(squeeze_channels, "squeeze_channels")
        self.fc1 = PointwiseConv2d(in_channels, squeeze_channels, device=device, dtype=dtype)
        self.fc2 = PointwiseConv2d(squeeze_channels, in_channels, device=device, dtype=dtype)

    def output_shape(self, input_shape: Sequence[int]) -> ImageShape:
        """The input's shape, checked."""
        return theory.output_shape(image_shape(input_shape, self.in_channels))

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Parameters, MACs and bytes of one call; or of its backward pass."""
        return theory.cost(
            image_shape(input_shape, self.in_channels),
            self.squeeze_channels,
            self.activation,
            self.gate,
            direction=direction,
            itemsize=self.fc1.weight.dtype.itemsize,
        )

    def forward(self, input: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N C H W"]:
        """``input`` with every channel scaled by its gate."""
        if not (_is_matrix(self.fc1) and _is_matrix(self.fc2)):
            means = ops.global_avg_pool2d(input)
            hidden = ops.activation(self.fc1(means), self.activation)
            scale = ops.activation(self.fc2(hidden), self.gate)
            return input * scale.to(input.dtype)
        return ops.squeeze_excite(
            input,
            self.fc1.weight,
            self.fc1.bias,
            self.fc2.weight,
            self.fc2.bias,
            activation=self.activation,
            gate=self.gate,
        )

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        return (
            f"{self.in_channels}, {self.squeeze_channels}, activation={self.activation!r}, "
            f"gate={self.gate!r}"
        )


def _is_matrix(child: PointwiseConv2d) -> bool:
    """Whether its weight times the means is all that a child computes."""
    return is_plain(child, (PointwiseConv2d,)) and child.groups == 1
