"""Squeeze-and-excitation: each channel is scaled by a number found from all channels' means.

    z = mean over i, j of x[n, c, i, j]                    squeeze,  (N, C)
    h = activation(v z + a)                                (N, S)
    g = gate(w h + b)                                      excite,   (N, C)
    y[n, c, i, j] = x[n, c, i, j] * g[n, c]

    MACs = 2 * N * C * S,  other FLOPs = 2 * N * C * H * W + those of biases and activations

The MACs are few; the whole tensor is read for the means before it can be read again for the
product, so the block costs 2 reads and a write of x whatever S is. Backward, an element takes 2
operations for the gate's gradient (product, sum) and 2 for x's (dy * g + d_z / (H * W)); x is
read once, dy twice.

Source: Hu, Shen and Sun, "Squeeze-and-Excitation Networks" (2018), section 3; hard gate: Howard
et al., "Searching for MobileNetV3" (2019), section 5.3.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

from lamina.theory import activation as activations
from lamina.theory import conv2d
from lamina.theory.complexity import symbols
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction, ImageShape, check_direction, image_shape
from lamina.theory.validation import positive_int

if TYPE_CHECKING:
    import sympy


def output_shape(input_shape: Sequence[int]) -> ImageShape:
    """The input's.

    Raises:
        ValueError: another rank than (N, C, H, W).

    Example:
        >>> output_shape((8, 96, 14, 14))
        (8, 96, 14, 14)
    """
    return image_shape(input_shape)


def cost(
    input_shape: Sequence[int],
    squeeze_channels: int,
    activation: str = "relu",
    gate: str = "sigmoid",
    *,
    direction: Direction = "forward",
    itemsize: int = 4,
) -> Cost:
    """Two pointwise layers with bias on the means, and two passes over the image.

    Kept for backward: the input, the means, the squeezed tensor and the gate (each of the last
    two twice, before and after its activation, where the derivative needs the former).

    Args:
        input_shape: (N, C, H, W).
        squeeze_channels: channels S between the two layers.
        activation: after the first layer, a name of ``activation``.
        gate: after the second layer.
        direction: the forward or the backward pass.
        itemsize: bytes of an element.

    Raises:
        ValueError: another rank, no squeezed channel, an unknown activation or direction.

    Example:
        >>> cost((1, 96, 14, 14), squeeze_channels=24).macs == 2 * 96 * 24
        True
        >>> cost((1, 96, 14, 14), squeeze_channels=24).parameters == 2 * 96 * 24 + 96 + 24
        True
    """
    check_direction(direction)
    batch, channels, _, _ = image_shape(input_shape)
    squeezed = positive_int(squeeze_channels, "squeeze_channels")
    means, hidden = (batch, channels, 1, 1), (batch, squeezed, 1, 1)
    parts = [
        conv2d.cost(means, squeezed, 1, direction=direction),
        activations.cost(hidden, activation, direction=direction),
        conv2d.cost(hidden, channels, 1, direction=direction),
        activations.cost(means, gate, direction=direction),
    ]
    inner = sum(parts, Cost())
    parameters = 2 * channels * squeezed + channels + squeezed
    elements = prod(input_shape)
    if direction == "backward":
        return Cost(
            macs=inner.macs,
            other_flops=inner.other_flops + 4 * elements,
            bytes_read=itemsize * (3 * elements + parameters),
            bytes_written=itemsize * (elements + parameters),
        )
    kept = elements + batch * channels
    for name, size in ((activation, batch * squeezed), (gate, batch * channels)):
        kept += 2 * size if activations.activation_named(name).keeps == "input" else size
    return Cost(
        parameters=parameters,
        macs=inner.macs,
        other_flops=inner.other_flops + 2 * elements,
        bytes_read=itemsize * (2 * elements + parameters),
        bytes_written=itemsize * elements,
        saved_bytes=itemsize * kept,
    )


def complexity() -> sympy.Expr:
    """FLOPs of the forward pass without biases and activations.

    Example:
        >>> complexity()
        2*C*H*N*W + 4*C*N*S
    """
    s = symbols()
    return 2 * s.N * s.C * s.H * s.W + 4 * s.N * s.C * s.S
