"""Pooling to a size: the maximum or the mean of H'×W' windows that cover the image, or of all.

    y[n, c, i, j] = max or mean of x[n, c, floor(i·H/H') : ceil((i+1)·H/H'), columns likewise]

Source: He et al., "Spatial Pyramid Pooling" (2014), section 2.2; Lin, Chen and Yan, "Network In
Network" (2013), section 3.2, for the global mean.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Tensor

from lamina import ops
from lamina.ops.pool2d.op import canonical_output_size
from lamina.theory import pool2d as theory
from lamina.theory.cost import Cost
from lamina.theory.pool2d import AdaptiveSize
from lamina.theory.shapes import Direction, ImageShape

if TYPE_CHECKING:
    from jaxtyping import Float


class _AdaptivePool(torch.nn.Module):
    """Shape and cost of windows that cover the image."""

    operation: ClassVar[theory.Operation]
    output_size: Any

    def __init__(self, output_size: AdaptiveSize, *options: bool) -> None:
        canonical_output_size(output_size)
        super().__init__(output_size, *options)

    def output_shape(self, input_shape: Sequence[int]) -> ImageShape:
        """(N, C, H', W') for an input of (N, C, H, W)."""
        return theory.adaptive_output_shape(input_shape, self.output_size)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Operations and bytes of one call; or of its backward pass."""
        return theory.adaptive_cost(
            input_shape, self.output_size, operation=self.operation, direction=direction
        )


class _GlobalPool(torch.nn.Module):
    """One window over the whole image."""

    operation: ClassVar[theory.Operation]

    def __init__(self, keepdims: bool = True) -> None:
        super().__init__()
        self.keepdims = keepdims

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """(N, C, 1, 1) or (N, C) for an input of (N, C, H, W)."""
        return theory.global_output_shape(input_shape, self.keepdims)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Operations and bytes of one call; or of its backward pass."""
        return theory.global_cost(input_shape, operation=self.operation, direction=direction)

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        return f"keepdims={self.keepdims}"


class AdaptiveAvgPool2d(_AdaptivePool, torch.nn.AdaptiveAvgPool2d):
    """The mean of H'×W' windows that together cover the image; ``torch.nn.AdaptiveAvgPool2d``.

    Args:
        output_size: (H', W') in pixels or one number, at least 1; None keeps the input's.

    Shape:
        (N, C, H, W) to (N, C, H', W'). Window i runs from floor(i · H / H') to
        ceil((i + 1) · H / H').

    Parameters:
        None.

    Cost:
        An addition per pixel and window: ``theory.pool2d.adaptive_cost``.

    Numerics:
        The sum, then one division.

    Raises:
        ValueError: a size below 1; in a call, another rank.
        TypeError: an integer image.

    Differs from:
        Keras's AdaptiveAveragePooling2D has no None.

    Source:
        ``torch.nn.AdaptiveAvgPool2d``.

    Example:
        >>> AdaptiveAvgPool2d((7, None))(torch.zeros(1, 8, 10, 13)).shape
        torch.Size([1, 8, 7, 13])
    """

    operation = "average"

    def forward(self, input: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N C Ho Wo"]:
        """The mean of every window."""
        return ops.adaptive_avg_pool2d(input, self.output_size)


class AdaptiveMaxPool2d(_AdaptivePool, torch.nn.AdaptiveMaxPool2d):
    """The largest value of H'×W' windows that cover the image; ``torch.nn.AdaptiveMaxPool2d``.

    Args:
        output_size: (H', W') in pixels or one number, at least 1; None keeps the input's.
        return_indices: also return where the maximum was: row · W + column, int64.

    Shape:
        As ``AdaptiveAvgPool2d``.

    Parameters:
        None.

    Cost:
        A comparison per pixel and window: ``theory.pool2d.adaptive_cost``.

    Numerics:
        Exact; NaN wins.

    Raises:
        ValueError: a size below 1; in a call, another rank.
        TypeError: a boolean or complex image; an integer one, if indices of windows of several
            sizes are asked for.

    Differs from:
        Keras's AdaptiveMaxPooling2D has neither None nor indices.

    Source:
        ``torch.nn.AdaptiveMaxPool2d``.

    Example:
        >>> AdaptiveMaxPool2d(2)(torch.arange(16.0).reshape(1, 4, 4))
        tensor([[[ 5.,  7.],
                 [13., 15.]]])
    """

    operation = "max"

    def __init__(self, output_size: AdaptiveSize, return_indices: bool = False) -> None:
        super().__init__(output_size, return_indices)

    def forward(
        self, input: Float[Tensor, "*N C H W"]
    ) -> Float[Tensor, "*N C Ho Wo"] | tuple[Tensor, Tensor]:
        """The maximum of every window; with ``return_indices`` also where it was."""
        return ops.adaptive_max_pool2d(input, self.output_size, self.return_indices)

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        return f"output_size={self.output_size}, return_indices={self.return_indices}"


class GlobalAvgPool2d(_GlobalPool):
    """The mean over all pixels of a channel.

    Args:
        keepdims: keep the two axes of length 1.

    Shape:
        (N, C, H, W) to (N, C, 1, 1), or to (N, C) without ``keepdims``.

    Parameters:
        None.

    Cost:
        An addition per pixel: ``theory.pool2d.global_cost``.

    Numerics:
        One sum, one division.

    Raises:
        ValueError: another rank, an image without pixels.
        TypeError: an integer image.

    Differs from:
        Keras's GlobalAveragePooling2D gives (N, C) unless asked. torch.nn has AdaptiveAvgPool2d(1).

    Source:
        Lin, Chen and Yan, "Network In Network" (2013), section 3.2.

    Example:
        >>> GlobalAvgPool2d(keepdims=False)(torch.ones(2, 8, 7, 7)).shape
        torch.Size([2, 8])
    """

    operation = "average"

    def forward(self, input: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N C *one"]:
        """The mean of every channel."""
        return ops.global_avg_pool2d(input, self.keepdims)


class GlobalMaxPool2d(_GlobalPool):
    """The largest value of a channel.

    Args:
        keepdims: keep the two axes of length 1.

    Shape:
        (N, C, H, W) to (N, C, 1, 1), or to (N, C) without ``keepdims``.

    Parameters:
        None.

    Cost:
        A comparison per pixel: ``theory.pool2d.global_cost``.

    Numerics:
        Exact; NaN wins. Equal maxima share the gradient, as in TensorFlow.

    Raises:
        ValueError: another rank, an image without pixels.

    Differs from:
        Keras's GlobalMaxPooling2D gives (N, C) unless asked. torch.nn's AdaptiveMaxPool2d(1) gives
        the whole gradient to the first of equal maxima.

    Source:
        Oquab et al., "Is object localization for free?" (2015), section 3.

    Example:
        >>> GlobalMaxPool2d()(torch.ones(2, 8, 7, 7)).shape
        torch.Size([2, 8, 1, 1])
    """

    operation = "max"

    def forward(self, input: Float[Tensor, "*N C H W"]) -> Float[Tensor, "*N C *one"]:
        """The maximum of every channel."""
        return ops.global_max_pool2d(input, self.keepdims)
