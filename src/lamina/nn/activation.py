"""Activations, element by element, and softmax; torch.nn's, each with its shape and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from lamina import ops
from lamina.theory import activation as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction
from lamina.theory.validation import finite, one_of

if TYPE_CHECKING:
    from jaxtyping import Float


class _Elementwise:
    """Shape and cost of all of them, which differ by the formula alone."""

    formula: ClassVar[str]

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """The input's shape."""
        return theory.output_shape(input_shape)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Operations and bytes of one call; or of its backward pass."""
        return theory.cost(input_shape, self.formula, direction=direction)


class ReLU(_Elementwise, torch.nn.ReLU):
    """max(x, 0); the slope at 0 is 0.

    Args:
        inplace: overwrite the input.

    Shape:
        Any, to the same; so for every activation here.

    Parameters:
        None; so for every activation here.

    Cost:
        One pass over memory: ``theory.activation.cost``; so for every activation here.

    Numerics:
        Exact; NaN stays NaN.

    Raises:
        Nothing.

    Differs from:
        Keras's ReLU has max_value, negative_slope and threshold.

    Source:
        Nair and Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines" (2010).

    Example:
        >>> ReLU()(torch.tensor([-1.0, 2.0]))
        tensor([0., 2.])
    """

    formula = "relu"

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """max(input, 0)."""
        return super().forward(input) if self.inplace else ops.relu(input)


class ReLU6(_Elementwise, torch.nn.ReLU6):
    """min(max(x, 0), 6).

    Args:
        inplace: overwrite the input.

    Source:
        Howard et al., "MobileNets" (2017).

    Example:
        >>> ReLU6()(torch.tensor([-1.0, 2.0, 9.0]))
        tensor([0., 2., 6.])
    """

    formula = "relu6"

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """min(max(input, 0), 6)."""
        return super().forward(input) if self.inplace else ops.relu6(input)


class LeakyReLU(_Elementwise, torch.nn.LeakyReLU):
    """Where positive x, elsewhere negative_slope · x.

    Args:
        negative_slope: a finite number.
        inplace: overwrite the input.

    Raises:
        ValueError: a slope that is no finite number.

    Differs from:
        Keras's slope is 0.3.

    Source:
        Maas, Hannun and Ng, "Rectifier Nonlinearities" (2013), section 2.

    Example:
        >>> LeakyReLU(0.5)(torch.tensor([-1.0, 2.0]))
        tensor([-0.5000,  2.0000])
    """

    formula = "leaky_relu"

    def __init__(self, negative_slope: float = 1e-2, inplace: bool = False) -> None:
        super().__init__(finite(negative_slope, "negative_slope"), inplace)

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """The input, its negative part times the slope."""
        return (
            super().forward(input) if self.inplace else ops.leaky_relu(input, self.negative_slope)
        )


class ELU(_Elementwise, torch.nn.ELU):
    """Where positive x, elsewhere alpha · (exp(x) − 1).

    Args:
        alpha: a finite number.
        inplace: overwrite the input.

    Raises:
        ValueError: an alpha that is no finite number.

    Source:
        Clevert, Unterthiner and Hochreiter, "Exponential Linear Units" (2015), section 3.

    Example:
        >>> ELU()(torch.tensor([-1.0, 2.0]))
        tensor([-0.6321,  2.0000])
    """

    formula = "elu"

    def __init__(self, alpha: float = 1.0, inplace: bool = False) -> None:
        super().__init__(finite(alpha, "alpha"), inplace)

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """The input, its negative part bent towards −alpha."""
        return super().forward(input) if self.inplace else ops.elu(input, self.alpha)


class SiLU(_Elementwise, torch.nn.SiLU):
    """Sigmoid-weighted, x · sigmoid(x); called swish too.

    Args:
        inplace: overwrite the input.

    Source:
        Elfwing, Uchibe and Doya, "Sigmoid-Weighted Linear Units" (2017), section 2.1.

    Example:
        >>> SiLU()(torch.tensor([0.0, 1.0]))
        tensor([0.0000, 0.7311])
    """

    formula = "silu"

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """The weighted input."""
        return super().forward(input) if self.inplace else ops.silu(input)


class Hardswish(_Elementwise, torch.nn.Hardswish):
    """x · relu6(x + 3) / 6, a piecewise SiLU.

    Args:
        inplace: overwrite the input.

    Source:
        Howard et al., "Searching for MobileNetV3" (2019), section 5.2.

    Example:
        >>> Hardswish()(torch.tensor([-3.0, 0.0, 3.0]))
        tensor([-0., 0., 3.])
    """

    formula = "hardswish"

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """The weighted input."""
        return super().forward(input) if self.inplace else ops.hardswish(input)


class Hardsigmoid(_Elementwise, torch.nn.Hardsigmoid):
    """relu6(x + 3) / 6, a piecewise sigmoid.

    Args:
        inplace: overwrite the input.

    Differs from:
        Keras 2, whose hard_sigmoid was 0.2 · x + 0.5, clipped; Keras 3 has this one.

    Source:
        Howard et al., "Searching for MobileNetV3" (2019), section 5.2.

    Example:
        >>> Hardsigmoid()(torch.tensor([-3.0, 0.0, 3.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """

    formula = "hardsigmoid"

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """relu6(input + 3) / 6."""
        return super().forward(input) if self.inplace else ops.hardsigmoid(input)


class GELU(_Elementwise, torch.nn.GELU):
    """x · Φ(x), Φ the distribution function of the normal law.

    Args:
        approximate: ``"none"``, or ``"tanh"`` for x/2 · (1 + tanh(√(2/π) · (x + 0.044715 · x³))).

    Raises:
        ValueError: another word.

    Source:
        Hendrycks and Gimpel, "Gaussian Error Linear Units" (2016), section 2.

    Example:
        >>> GELU()(torch.tensor([0.0, 1.0]))
        tensor([0.0000, 0.8413])
    """

    formula = "gelu"

    def __init__(self, approximate: str = "none") -> None:
        super().__init__(one_of(approximate, "approximate", ("none", "tanh")))

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """The weighted input."""
        return ops.gelu(input, self.approximate)


class Sigmoid(_Elementwise, torch.nn.Sigmoid):
    """1 / (1 + exp(−x)).

    Source:
        Rumelhart, Hinton and Williams, "Learning representations" (1986), equation 2.

    Example:
        >>> Sigmoid()(torch.tensor([0.0]))
        tensor([0.5000])
    """

    formula = "sigmoid"

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """1 / (1 + exp(−input))."""
        return ops.sigmoid(input)


class Tanh(_Elementwise, torch.nn.Tanh):
    """(exp(x) − exp(−x)) / (exp(x) + exp(−x)).

    Source:
        LeCun et al., "Efficient BackProp" (1998), section 4.4.

    Example:
        >>> Tanh()(torch.tensor([0.0]))
        tensor([0.])
    """

    formula = "tanh"

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """tanh(input)."""
        return ops.tanh(input)


class Softmax(_Elementwise, torch.nn.Softmax):
    """exp(x) / sum of exp(x) along ``dim``, shifted by the maximum so that nothing overflows.

    Args:
        dim: the axis that sums to 1; None lets torch.nn choose, with its warning.

    Differs from:
        Keras's Softmax, whose axis is −1 unless said.

    Source:
        Bridle, "Probabilistic Interpretation of Feedforward Network Outputs" (1990), section 3.

    Example:
        >>> Softmax(dim=-1)(torch.zeros(4))
        tensor([0.2500, 0.2500, 0.2500, 0.2500])
    """

    formula = "softmax"

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Positive numbers that sum to 1 along ``dim``."""
        return super().forward(input) if self.dim is None else ops.softmax(input, self.dim)
