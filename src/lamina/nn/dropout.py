"""Dropout of elements, of channels and of whole residual branches, with a seed where one is wanted.

    y = x · keep / (1 − p),  keep = 0 with probability p, else 1

Source: Srivastava et al., "Dropout" (2014), section 4.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lamina import ops
from lamina.ops.runtime import torch_private
from lamina.theory import dropout as theory
from lamina.theory.cost import Cost
from lamina.theory.shapes import Direction
from lamina.theory.validation import non_negative_int, positive_int, rate

if TYPE_CHECKING:
    from jaxtyping import Float

NoiseShape = Sequence[int | None] | None

_MOST_MARKS = 4096


class _Seeded(torch.nn.Module):
    """What the three share: shape, cost, and a seed that is saved with the weights."""

    p: float
    key: int | None
    seed: Tensor | None
    _marks: dict[int, int]

    def output_shape(self, input_shape: Sequence[int]) -> tuple[int, ...]:
        """The input's shape."""
        return theory.output_shape(input_shape)

    def cost(self, input_shape: Sequence[int], direction: Direction = "forward") -> Cost:
        """Operations and bytes of one call in this mode; or of its backward pass."""
        return theory.cost(
            input_shape,
            self.p,
            training=self.training,
            direction=direction,
            seeded=self.key is not None,
        )

    def _set_seed(self, seed: int | None) -> None:
        self.key = None if seed is None else non_negative_int(seed, "seed")
        self.register_buffer("seed", None if self.key is None else _first_seed(self.key))
        self._marks = {}

    def _next_seed(self) -> Tensor | None:
        """The seed of this call, None where it needs none.

        Gradient checkpointing calls a layer a second time, in the backward pass, and wants the
        first call's mask. It brings back nothing but torch's random state: a number drawn from
        that in both calls says which of them belong together. It is drawn where checkpointing may
        be at work, without gradients or with hooks on what is saved.
        """
        if self.seed is None or not self.training:
            return None
        if torch.compiler.is_dynamo_compiling() and not torch.compiler.is_exporting():
            # Another tensor in the buffer's place: what a compiled backward pass computes anew, it
            # computes from this one.
            seed = self.seed
            self.seed = seed + torch.tensor([0, 1], device=seed.device)
            return seed
        if _is_traced():
            return ops.next_seed(self.seed)
        is_repeated = torch_private.runs_backward()
        if not (is_repeated or _may_be_repeated()):
            return ops.next_seed(self.seed)
        mark = int(torch.randint(2**63 - 1, (), device="cpu"))
        if is_repeated:
            if mark not in self._marks:
                raise RuntimeError(
                    f"{type(self).__name__}: the backward pass repeats a call whose mask is not "
                    "known any more; torch.utils.checkpoint needs preserve_rng_state=True"
                )
            repeated = self.seed.clone()
            repeated[1] = self._marks[mark]
            return repeated
        seed = ops.next_seed(self.seed)
        self._marks[mark] = int(seed[1])
        if len(self._marks) > _MOST_MARKS:
            del self._marks[next(iter(self._marks))]
        return seed

    def _apply(self, fn: Callable[..., Any], recurse: bool = True) -> _Seeded:
        before = self.seed
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        if before is not None and type(self.seed) is Tensor and not self.seed.is_meta:
            # to_empty leaves what was in memory, and a layer made on the meta device has nothing.
            self.seed.copy_(_first_seed(self.key or 0) if before.is_meta else before)
        return self

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        *others: list[str],
    ) -> None:
        super()._load_from_state_dict(
            state_dict, prefix, local_metadata, strict, missing_keys, *others
        )
        name = prefix + "seed"
        if name in missing_keys:  # weights of torch.nn: the count goes on
            missing_keys.remove(name)
        elif self.seed is not None and not self.seed.is_meta:
            self.key = int(self.seed[0])


class Dropout(_Seeded, torch.nn.Dropout):
    """Zeroes elements at random in training and scales the rest; ``torch.nn.Dropout``, and more.

    Args:
        p: probability of a zero, in [0, 1]; on the CPU the nearest multiple of 1/65536.
        inplace: overwrite the input.
        noise_shape: shape of the mask, broadcast over the input: 1 to share one draw along an axis,
            None for the axis's own size. (None, 1, 1, 1) drops whole images.
        seed: key of a sequence of masks of this layer's own, at least 0; call number i gives the
            same mask in every run, whatever the thread count, and a call that gradient
            checkpointing repeats gives its own again. None draws from torch's generator.

    Shape:
        Any, to the same.

    Parameters:
        None. With a seed: seed, (2,), an int64 buffer, the key and the number of calls. It is saved
        with the weights, so that a run that is resumed goes on; weights that come without it are
        taken as well.

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
        self._set_seed(seed)

    def forward(self, input: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """``input`` with some elements zero and the rest scaled; in eval ``input`` itself."""
        return ops.dropout(
            input,
            self.p,
            self.training,
            noise_shape=self.noise_shape,
            seed=self._next_seed(),
            inplace=self.inplace,
        )

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        text = super().extra_repr()
        if self.noise_shape is not None:
            text += f", noise_shape={self.noise_shape}"
        return text if self.key is None else text + f", seed={self.key}"


class Dropout2d(_Seeded, torch.nn.Dropout2d):
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

    def __init__(self, p: float = 0.5, inplace: bool = False, *, seed: int | None = None) -> None:
        super().__init__(rate(p, "p"), inplace)
        self._set_seed(seed)

    def forward(self, input: Float[Tensor, "N C *rest"]) -> Float[Tensor, "N C *rest"]:
        """``input`` with some channels zero and the rest scaled; in eval ``input`` itself."""
        if input.dim() not in (3, 4):
            raise ValueError(f"Dropout2d takes (N, C, H, W), got shape {tuple(input.shape)}")
        return ops.dropout(
            input,
            self.p,
            self.training,
            noise_shape=(None, None) + (1,) * (input.dim() - 2),
            seed=self._next_seed(),
            inplace=self.inplace,
        )

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        text = super().extra_repr()
        return text if self.key is None else text + f", seed={self.key}"


class DropPath(_Seeded):
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

    def __init__(self, p: float = 0.5, *, seed: int | None = None) -> None:
        super().__init__()
        self.p = rate(p, "p")
        self._set_seed(seed)

    def forward(self, input: Float[Tensor, "N C *rest"]) -> Float[Tensor, "N C *rest"]:
        """``input`` with some samples zero and the rest scaled; in eval ``input`` itself."""
        return ops.drop_path(input, self.p, self.training, seed=self._next_seed())

    def extra_repr(self) -> str:
        """The arguments, as they can be typed."""
        return f"p={self.p}" if self.key is None else f"p={self.p}, seed={self.key}"


def _checked_noise_shape(noise_shape: Sequence[int | None]) -> tuple[int | None, ...]:
    if not isinstance(noise_shape, tuple | list):
        raise ValueError(f"noise_shape must be a tuple of sizes or None, got {noise_shape!r}")
    return tuple(
        None if size is None else positive_int(size, "noise_shape") for size in noise_shape
    )


def _first_seed(key: int) -> Tensor:
    return torch.tensor([key, 0], dtype=torch.int64)


def _may_be_repeated() -> bool:
    return not torch.is_grad_enabled() or torch_private.watches_saved_tensors()


def _is_traced() -> bool:
    return (
        torch.compiler.is_compiling()
        or torch_private.dispatch_modes() > 0
        or torch_private.function_transform() is not None
    )
