"""The dense layer, and the flattening that comes before it.

    y[..., o] = bias[o] + sum over i of weight[o, i] · x[..., i]

Source: Rumelhart, Hinton and Williams, "Learning representations" (1986), equation 1.
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
from lamina.theory import dense as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction
from lamina.theory.validation import non_negative_int, one_of

if TYPE_CHECKING:
    from jaxtyping import Float, Shaped


class Linear(torch.nn.Linear):
    """The last axis times a matrix; ``torch.nn.Linear``, and a size that can wait.

    Args:
        in_features: length of the last axis, at least 0; None takes it from the first input.
        out_features: number of outputs, at least 0.
        bias: add a number to each output.
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        (..., in_features) to (..., out_features).

    Parameters:
        weight: (out_features, in_features), uniform in ±1/√in_features.
        bias: (out_features,), the same law. Without a size both are uninitialised until the first
            call, which has to be an eager one, or the first ``load_state_dict``.

    Cost:
        (product of the other axes) · in_features · out_features MACs: ``theory.dense.cost``.

    Numerics:
        float32 sums in PyTorch's (the BLAS's) order; the same in train and eval.

    Raises:
        ValueError: in the constructor, a negative size; in a call, another last axis.
        TypeError: an integer input, or another dtype than the weight's outside of autocast.

    Differs from:
        Keras's Dense: weight (in, out), glorot_uniform, zero bias.

    Source:
        ``torch.nn.Linear``.

    Example:
        >>> Linear(3, 2)(torch.zeros(5, 3)).shape
        torch.Size([5, 2])
        >>> Linear(None, 2)
        Linear(in_features=None, out_features=2, bias=True)
    """

    in_features: int | None  # type: ignore[assignment]
    weight: Parameter
    bias: Parameter | None  # type: ignore[assignment]
    qconfig = refused_qconfig

    def __init__(
        self,
        in_features: int | None,
        out_features: int,
        bias: bool = True,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__(
            1 if in_features is None else non_negative_int(in_features, "in_features"),
            non_negative_int(out_features, "out_features"),
            bias,
            "meta" if in_features is None else device,
            dtype,
        )
        if in_features is None:
            self.in_features = None
            lazy.postpone(self, device, dtype)

    def materialize(self, in_features: int) -> None:
        """Give a layer without a size its parameters, drawn by their laws."""
        self.in_features = in_features
        weight_shape = (self.out_features, in_features)
        lazy.materialize(self, weight=weight_shape, bias=(self.out_features,))
        self.reset_parameters()

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """(..., out_features) for an input of (..., in_features)."""
        return theory.output_shape(self._checked(input_shape), self.out_features)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Parameters, MACs and bytes of one call; or of its backward pass."""
        return theory.cost(
            self._checked(input_shape),
            self.out_features,
            self.bias is not None,
            direction=direction,
            itemsize=self.weight.dtype.itemsize,
        )

    def forward(self, input: Float[Tensor, "*rest C"]) -> Float[Tensor, "*rest M"]:
        """The product of ``input`` and the transposed weight, plus the bias."""
        if self.in_features is None:
            self.materialize(input.shape[-1])
        return ops.linear(input, *weight_and_bias(self))

    def _checked(self, input_shape: Sequence[int]) -> Sequence[int]:
        if self.in_features is not None and tuple(input_shape)[-1:] != (self.in_features,):
            raise ValueError(
                f"input_shape must be (..., {self.in_features}), got {tuple(input_shape)}"
            )
        return input_shape

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *args: Any, **kwargs: Any
    ) -> None:
        if self.in_features is None and prefix + "weight" in state_dict:
            self.materialize(state_dict[prefix + "weight"].shape[1])
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)


class Flatten(torch.nn.Flatten):
    """A range of axes as one; ``torch.nn.Flatten``, and Keras's order of the pixels.

    Args:
        start_dim: first axis.
        end_dim: last axis, included.
        order: ``"chw"`` as the axes stand; ``"hwc"``, for (N, C, H, W) alone and from axis 1 to the
            last, puts the channel innermost as Keras does, so that the rows of a Keras dense weight
            fit without being permuted.

    Shape:
        (N, C, H, W) to (N, C·H·W).

    Parameters:
        None.

    Cost:
        Nothing where the order is the one in memory, else one copy: ``theory.dense.flatten_cost``.

    Numerics:
        Exact.

    Raises:
        ValueError: an unknown order; ``"hwc"`` with other axes, or for an input of another rank.

    Differs from:
        Keras's Flatten, whose order is always that of (H, W, C).

    Source:
        ``torch.nn.Flatten``.

    Example:
        >>> x = torch.arange(8).reshape(1, 2, 2, 2)
        >>> Flatten()(x).tolist(), Flatten(order="hwc")(x).tolist()
        ([[0, 1, 2, 3, 4, 5, 6, 7]], [[0, 4, 1, 5, 2, 6, 3, 7]])
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1, *, order: str = "chw") -> None:
        super().__init__(start_dim, end_dim)
        self.order = one_of(order, "order", ("chw", "hwc"))
        if order == "hwc" and (start_dim, end_dim) not in ((1, -1), (1, 3)):
            raise ValueError(
                f"order='hwc' flattens (N, C, H, W) from axis 1 to -1, "
                f"got start_dim={start_dim}, end_dim={end_dim}"
            )

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """The shape with the axes from ``start_dim`` to ``end_dim`` as one."""
        return theory.flatten_output_shape(input_shape, self.start_dim, self.end_dim)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Bytes moved by one call on a tensor in NCHW order; the same backward."""
        del direction
        return theory.flatten_cost(input_shape, copies=self.order == "hwc")

    def forward(self, input: Shaped[Tensor, "*any"]) -> Shaped[Tensor, "*any"]:
        """``input`` with the axes from ``start_dim`` to ``end_dim`` as one."""
        if self.order == "chw":
            return super().forward(input)
        if input.dim() != 4:
            raise ValueError(
                f"Flatten(order='hwc') takes (N, C, H, W), got shape {tuple(input.shape)}"
            )
        return input.permute(0, 2, 3, 1).flatten(1)

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        order = "" if self.order == "chw" else f", order={self.order!r}"
        return super().extra_repr() + order
