"""Dropout of elements, of channels and of whole residual branches, with a seed where one is wanted.

    y = x · keep / (1 − p),  keep = 0 with probability p, else 1

Source: Srivastava et al., "Dropout" (2014), section 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lamina import ops
from lamina.theory import dropout as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction
from lamina.theory.validation import non_negative_int, positive_int, rate

if TYPE_CHECKING:
    from jaxtyping import Float

NoiseShape = Sequence[int | None] | None


class Dropout(torch.nn.Dropout):
    """Zeroes elements at random in training and scales the rest; ``torch.nn.Dropout``, and more.

    Args:
        p: probability of a zero, in [0, 1]; on the CPU the nearest multiple of 1/65536.
        inplace: overwrite the input.
        noise_shape: shape of the mask, broadcast over the input: 1 to share one draw along an axis,
            None for the axis's own size. (None, 1, 1, 1) drops whole images.
        seed: key of a sequence of masks of this layer's own, at least 0; call number i gives the
            same mask in every run, whatever the thread count. None draws from torch's generator.

    Shape:
        Any, to the same.

    Parameters:
        None. seed: (2,), an int64 buffer that is not saved: the key and the number of calls.

    Cost:
        One pass over memory, 16 saved bytes in the place of a mask: ``theory.dropout.cost``.

    Numerics:
        Identity in eval. In training the mask depends on the seed alone and is made again for the
        backward pass; NaN stays NaN, even at p = 1.

    Raises:
        ValueError: p outside [0, 1] or NaN, a negative seed, a mask that does not fit the input.
        TypeError: an integer input in training.

    Differs from:
        torch.nn.Dropout, whose mask another generator draws; Keras's argument is called ``rate``
        and excludes 1.

    Source:
        Srivastava et al., "Dropout" (2014), section 4.

    Example:
        >>> layer = Dropout(0.5, seed=7)
        >>> sorted(set(layer(torch.ones(100)).tolist()))
        [0.0, 2.0]
        >>> layer.eval()(torch.ones(2))
        tensor([1., 1.])
    """

    seed: Tensor | None

    def __init__(
        self,
        p: float = 0.5,
        inplace: bool = False,
        *,
        noise_shape: NoiseShape = None,
        seed: int | None = None,
    ) -> None:
        super().__init__(rate(p, "p"), inplace)
        self.noise_shape = None if noise_shape is None else _checked_noise_shape(noise_shape)
        self.key = None if seed is None else non_negative_int(seed, "seed")
        self.register_buffer("seed", _seed(self.key), persistent=False)

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """The input's shape."""
        return theory.output_shape(input_shape)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Operations and bytes of one call in this mode; or of its backward pass."""
        return theory.cost(input_shape, self.p, training=self.training, direction=direction)

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """``input`` with some elements zero and the rest scaled; in eval ``input`` itself."""
        return ops.dropout(
            input,
            self.p,
            self.training,
            noise_shape=self.noise_shape,
            seed=_next_seed(self.seed, self.training),
            inplace=self.inplace,
        )

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        text = super().extra_repr()
        if self.noise_shape is not None:
            text += f", noise_shape={self.noise_shape}"
        return text if self.key is None else text + f", seed={self.key}"


class Dropout2d(torch.nn.Dropout2d):
    """Zeroes whole channels at random in training; ``torch.nn.Dropout2d``, and a seed.

    Args:
        p: probability that a channel is zeroed, in [0, 1].
        inplace: overwrite the input.
        seed: as for ``Dropout``.

    Shape:
        (N, C, H, W) to the same; as in PyTorch today (N, C, L) too.

    Parameters:
        None. seed: as ``Dropout``.

    Cost:
        ``theory.dropout.cost``.

    Numerics:
        As ``Dropout``.

    Raises:
        ValueError: p outside [0, 1] or NaN, a negative seed, another rank.
        TypeError: an integer input in training.

    Differs from:
        Keras's SpatialDropout2D, whose channels are the last axis.

    Source:
        Tompson et al., "Efficient Object Localization Using Convolutional Networks" (2015), 3.2.

    Example:
        >>> y = Dropout2d(0.5, seed=1)(torch.ones(1, 64, 3, 3))
        >>> sorted(set(y.sum((2, 3)).flatten().tolist()))
        [0.0, 18.0]
    """

    seed: Tensor | None

    def __init__(self, p: float = 0.5, inplace: bool = False, *, seed: int | None = None) -> None:
        super().__init__(rate(p, "p"), inplace)
        self.key = None if seed is None else non_negative_int(seed, "seed")
        self.register_buffer("seed", _seed(self.key), persistent=False)

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """The input's shape."""
        return theory.output_shape(input_shape)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Operations and bytes of one call in this mode; or of its backward pass."""
        return theory.cost(input_shape, self.p, training=self.training, direction=direction)

    def forward(self, input: Float[Tensor, "N C *rest"]) -> Float[Tensor, "N C *rest"]:
        """``input`` with some channels zero and the rest scaled; in eval ``input`` itself."""
        if input.dim() not in (3, 4):
            raise ValueError(f"Dropout2d takes (N, C, H, W), got shape {tuple(input.shape)}")
        return ops.dropout(
            input,
            self.p,
            self.training,
            noise_shape=(None, None) + (1,) * (input.dim() - 2),
            seed=_next_seed(self.seed, self.training),
            inplace=self.inplace,
        )

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        text = super().extra_repr()
        return text if self.key is None else text + f", seed={self.key}"


class DropPath(torch.nn.Module):
    """Stochastic depth: zeroes whole samples of a residual branch in training.

    Args:
        p: probability that a sample's branch is dropped, in [0, 1].
        seed: as for ``Dropout``.

    Shape:
        (N, ...) to the same.

    Parameters:
        None. seed: as ``Dropout``.

    Cost:
        ``theory.dropout.cost``.

    Numerics:
        As ``Dropout``.

    Raises:
        ValueError: p outside [0, 1] or NaN, a negative seed.
        TypeError: an integer input in training.

    Differs from:
        Keras, where it is Dropout with noise_shape (None, 1, 1, 1); torchvision's
        StochasticDepth(p, mode="row").

    Source:
        Huang et al., "Deep Networks with Stochastic Depth" (2016), section 3; scaled as in dropout.

    Example:
        >>> y = DropPath(0.5, seed=1)(torch.ones(64, 3))
        >>> sorted(set(y.sum(1).tolist()))
        [0.0, 6.0]
    """

    seed: Tensor | None

    def __init__(self, p: float = 0.5, *, seed: int | None = None) -> None:
        super().__init__()
        self.p = rate(p, "p")
        self.key = None if seed is None else non_negative_int(seed, "seed")
        self.register_buffer("seed", _seed(self.key), persistent=False)

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """The input's shape."""
        return theory.output_shape(input_shape)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Operations and bytes of one call in this mode; or of its backward pass."""
        return theory.cost(input_shape, self.p, training=self.training, direction=direction)

    def forward(self, input: Float[Tensor, "N C *rest"]) -> Float[Tensor, "N C *rest"]:
        """``input`` with some samples zero and the rest scaled; in eval ``input`` itself."""
        return ops.drop_path(
            input, self.p, self.training, seed=_next_seed(self.seed, self.training)
        )

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        return f"p={self.p}" if self.key is None else f"p={self.p}, seed={self.key}"


def _checked_noise_shape(noise_shape: Sequence[int | None]) -> tuple[int | None, ...]:
    if not isinstance(noise_shape, tuple | list):
        raise ValueError(f"noise_shape must be a tuple of sizes or None, got {noise_shape!r}")
    return tuple(
        None if size is None else positive_int(size, "noise_shape") for size in noise_shape
    )


def _seed(key: int | None) -> Tensor | None:
    """The key and how many masks it has given; not saved, as torch saves no generator either."""
    return None if key is None else torch.tensor([key, 0], dtype=torch.int64)


def _next_seed(seed: Tensor | None, training: bool) -> Tensor | None:
    """The seed of this call, None where it needs none."""
    return None if seed is None or not training else ops.next_seed(seed)
