"""Dropout: elements, channels or whole branches to zero at random, the others scaled up.

y = x · keep / (1 − p), keep = 1 with probability 1 − p

Nothing but the seed is saved for backward: the random numbers are counter-based and drawn again.

Source: Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting"
(2014), section 4; Tompson et al., "Efficient object localization" (2015), section 3.2 (whole
channels); Huang et al., "Deep networks with stochastic depth" (2016), section 3 (whole branches).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina.ops.runtime import boundary, layout, memory, native, philox
from lamina.ops.runtime.checks import check_floating
from lamina.ops.runtime.registration import Arguments, Gradients, register
from lamina.theory import dropout as theory


def dropout(
    x: Tensor,
    p: float = 0.5,
    training: bool = True,
    *,
    noise_shape: Sequence[int | None] | None = None,
    seed: Tensor | None = None,
    inplace: bool = False,
) -> Tensor:
    """Sets elements to zero with probability ``p`` and divides the others by 1 − p.

    An element's random number is that of its place, (n, h, w, c) for images: neither the memory
    format nor the number of threads changes the mask. NaN stays NaN.

    Args:
        x: any shape and memory format; the output has the same.
        p: probability of zero, in [0, 1]. Random numbers have 16 bits: the kernels take the nearest
            multiple of 1/65536, below 1 unless p is 1.
        training: else ``x`` itself is returned.
        noise_shape: the mask's shape, 1 where it is shared along an axis; None in the sequence
            takes the input's size. Default: a mask of x's shape.
        seed: int64 tensor on the CPU, (key, number of the call): the same two give the same mask.
            Default: drawn from torch's generator, which ``torch.manual_seed`` sets.
        inplace: overwrite ``x``.

    Returns:
        The shape of ``x``. For backward it keeps the seed, 16 bytes; with ``noise_shape`` also
        the small mask.

    Raises:
        TypeError: an integer input in training.
        ValueError: a ``noise_shape`` that does not broadcast to the input's shape.

    Example:
        >>> seed = torch.tensor([7, 0])
        >>> y = dropout(torch.ones(1000), 0.25, seed=seed)
        >>> torch.equal(y, dropout(torch.ones(1000), 0.25, seed=seed))
        True
        >>> sorted(set(y.tolist()))
        [0.0, 1.3333333730697632]
    """
    if not training or p == 0 or x.numel() == 0:
        return x
    check_floating(x, "dropout")
    if noise_shape is not None:
        mask = _mask(x, _resolve_noise_shape(x, noise_shape), p, seed)
        y = _scale(x, mask) if _is_per_channel(x, mask) else x * mask
    elif native.serves(plain := x.resolve_neg()):
        y = _dropout(plain, p, _draw_seed() if seed is None else seed)
    elif seed is None:
        return F.dropout(x, p, True, inplace)
    else:
        y = x * _mask(x, tuple(x.shape), p, seed)
    return x.copy_(y) if inplace else y


def drop_path(
    x: Tensor, p: float = 0.0, training: bool = True, *, seed: Tensor | None = None
) -> Tensor:
    """Stochastic depth: sets whole samples of a residual branch to zero, scales the others up.

    Args:
        x: (N, ...), the branch's output.
        p: probability of zero per sample, in [0, 1].
        training: else ``x`` itself is returned.
        seed: as in ``dropout``.

    Returns:
        The shape of ``x``; for backward it keeps N numbers.

    Example:
        >>> y = drop_path(torch.ones(4, 2), 0.5, seed=torch.tensor([1, 0]))
        >>> bool((y[:, 0] == y[:, 1]).all())
        True
    """
    return dropout(x, p, training, noise_shape=(None,) + (1,) * (x.dim() - 1), seed=seed)


def next_seed(seed: Tensor) -> Tensor:
    """The seed of this call, and the call number in ``seed`` counted up.

    Args:
        seed: int64 tensor (key, number of the call), changed in place.

    Returns:
        A copy of ``seed`` as it was.

    Example:
        >>> seed = torch.tensor([7, 0])
        >>> next_seed(seed).tolist(), next_seed(seed).tolist()
        ([7, 0], [7, 1])
    """
    is_compiled = torch.compiler.is_compiling() and not native.is_exporting()
    return _next_seed_op(seed) if is_compiled else _next_seed(seed)


def _next_seed(seed: Tensor) -> Tensor:
    current = seed.clone()
    seed[1] += 1
    return current


# One op for the compiler: it would make a plain copy anew in the backward pass, from the seed that
# has been counted up by then, and draw another mask.
_next_seed_op = torch.library.custom_op("lamina::next_seed", _next_seed, mutates_args=("seed",))
_next_seed_op.register_fake(torch.empty_like)


def _resolve_noise_shape(x: Tensor, noise_shape: Sequence[int | None]) -> tuple[int, ...]:
    shape = tuple(x.shape)
    if len(noise_shape) == len(shape):
        pairs = list(zip(noise_shape, shape, strict=True))
        # Lists, no generators: those take as long as drawing a small mask.
        # And comparisons, no `in`, which a compiler answers without a symbol's value.
        if False not in [noise is None or noise == 1 or noise == size for noise, size in pairs]:
            return tuple([size if noise is None else noise for noise, size in pairs])
    raise ValueError(
        f"noise_shape: must have 1, None or the input's size per axis of {shape}, "
        f"got {tuple(noise_shape)}"
    )


def _draw_seed() -> Tensor:
    return torch.randint(2**63 - 1, (2,), device="cpu")


def _mask(x: Tensor, shape: tuple[int, ...], p: float, seed: Tensor | None) -> Tensor:
    """0 or 1 / (1 − p), to multiply by: the same numbers on every device and in every dtype."""
    if x.is_meta:
        return x.new_empty(shape)
    ones = torch.ones(shape, dtype=torch.float32, device="cpu")
    if native.serves(ones):
        draw = _kernel if native.runs_directly((x,)) else _dropout
        mask: Tensor = draw(ones, p, _draw_seed() if seed is None else seed)
        return mask.to(x.device, x.dtype)
    if seed is None:
        return F.dropout(torch.ones(shape, dtype=x.dtype, device=x.device), p)
    if p == 1:
        return x.new_zeros(shape)
    # Of an image channels vary fastest, as in the kernel, which rounds p alike.
    order = (shape[0], *shape[2:], shape[1]) if len(shape) == 4 else shape
    _check_seed(seed)
    drawn = philox.numbers(seed, math.prod(shape)).view(order)
    keep = (drawn.movedim(3, 1) if len(shape) == 4 else drawn) >= min(int(p * 2**16 + 0.5), 65535)
    return (keep.to(ones.dtype) * (1 / (1 - p))).to(x.device, x.dtype)


# ---- the kernel ---------------------------------------------------------------------------------


def _kernel(x: Tensor, p: float, seed: Tensor) -> Tensor:
    # A number is that of its place: in images channels vary fastest, else the last axis does.
    channels_last = x.dim() == 4 and layout.memory_format(x) is torch.channels_last
    dense = boundary.image(x, "dropout: the input", channels_last)
    y = memory.empty(x.shape, dense, channels_last=channels_last)
    key, call = _numbers(seed)
    if x.dim() == 4 and not channels_last:
        images, channels, height, width = x.shape
        native.kernels.dropout_planar(dense, images, channels, height * width, p, key, call, y)
    else:
        native.kernels.dropout_flat(dense, x.numel(), p, key, call, y)
    return _in_order_of(x, y)


def _numbers(seed: Tensor) -> tuple[int, int]:
    """Key and call, as the kernels count."""
    _check_seed(seed)
    key, call = seed.tolist()
    return key % 2**64, call % 2**64


def _check_seed(seed: Tensor) -> None:
    if seed.shape != (2,):
        raise ValueError(
            f"dropout: seed must have shape (2,), the key and the call, got {tuple(seed.shape)}"
        )


def _in_order_of(x: Tensor, y: Tensor) -> Tensor:
    """``y`` with the strides that go with ``x`` element by element."""
    return boundary.laid_out(y, _fake_like(x, device="meta").stride())


def _fake_like(x: Tensor, device: str | None = None) -> Tensor:
    return torch.empty_like(x, memory_format=layout.memory_format(x), device=device)


def _save(ctx: Any, a: Arguments, output: Tensor) -> None:
    ctx.p = a.p
    ctx.save_for_backward(a.seed)


def _backward(ctx: Any, dy: Tensor) -> Gradients:
    (seed,) = ctx.saved_tensors
    return {"x": _dropout(dy, ctx.p, seed)}  # linear in x: the gradient is the same map


_dropout = register(
    "dropout(Tensor x, float p, Tensor seed) -> Tensor",
    _kernel,
    lambda a: _fake_like(a.x),
    save=_save,
    backward=_backward,
    cost=lambda a: theory.cost(a.x.shape, a.p),
    linear_in="x",
)


# ---- masks of whole channels and samples --------------------------------------------------------

_SMALLEST = 1 << 18  # elements; below, PyTorch's multiplication costs less


def _is_per_channel(x: Tensor, mask: Tensor) -> bool:
    """Whether the kernel pays and may serve; a compiler fuses the multiplication by itself."""
    return (
        native.sizes_are_known(x)
        and x.numel() >= _SMALLEST
        and x.dim() >= 2
        and mask.shape == (x.shape[0], mask.shape[1], *(1,) * (x.dim() - 2))
        and native.serves(x, mask)
        and native.runs_directly((x, mask))
    )


def _scale(x: Tensor, mask: Tensor) -> Tensor:
    if x.requires_grad and torch.is_grad_enabled():
        y: Tensor = _Scale.apply(x, mask)  # type: ignore[no-untyped-call]
        return y
    return _scale_kernel(x, mask)


def _scale_kernel(x: Tensor, mask: Tensor) -> Tensor:
    order = layout.memory_format(x)
    channels_last = order not in (torch.contiguous_format, torch.preserve_format)
    dense = boundary.image(x, "dropout: the input", channels_last)
    y = memory.empty(x.shape, dense, channels_last=channels_last)
    images, channels = x.shape[0], mask.shape[1]  # of one channel where samples are scaled
    shape = (images, channels, *(1,) * (x.dim() - 2))
    native.kernels.dropout_scale(
        dense,
        boundary.row_major(mask, "dropout: the mask", shape),
        images,
        channels,
        x.numel() // (images * channels),
        channels > 1 and channels_last,
        y,
    )
    return _in_order_of(x, y)


class _Scale(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, mask: Tensor) -> Tensor:
        ctx.save_for_backward(mask)
        return _scale_kernel(x, mask)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor, None]:
        (mask,) = ctx.saved_tensors
        directly = native.serves(dy) and native.runs_directly((dy,))
        if torch.is_grad_enabled() or not directly:
            return dy * mask, None
        return _scale_kernel(dy, mask), None
