"""What a kernel reads: tensors whose sizes were checked, in memory as the kernel goes through it.

The kernels get addresses, and believe what they are told about the rest. So every tensor that one
reads passes through a function of this room, whatever came in: parameters of any strides, saved
tensors that a hook brought back in other memory, gradients that are expanded. What is already as a
kernel wants it is returned itself. The bindings refuse what is no plain memory of the right type.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lamina.ops.runtime import layout

__all__ = ["as_in", "flat", "image", "laid_out", "of_shape", "plain", "row_major", "vector"]

# In one look at the type: the dtype, the device, and that no bit says to negate or conjugate it.
_TYPES = {
    torch.float32: torch.FloatTensor,
    torch.uint8: torch.ByteTensor,
    torch.int32: torch.IntTensor,
}


def plain(x: Tensor, what: str, dtype: torch.dtype = torch.float32) -> Tensor:
    """``x`` in plain memory of the CPU: itself, or a copy where a bit says to negate it.

    Args:
        x: what a kernel is to read.
        what: op and argument, for the message.
        dtype: that the kernel reads.

    Raises:
        TypeError: another dtype, another device, or no strided memory.

    Example:
        >>> x = torch.ones(2)
        >>> plain(x, "relu: the input") is x
        True
    """
    if isinstance(x, _TYPES[dtype]):
        return x
    if x.dtype is dtype and x.is_cpu and x.layout is torch.strided and not x.is_nested:
        return torch.empty(x.shape, dtype=dtype).copy_(x)
    came = f"{x.dtype} on {x.device} in {x.layout} memory"
    raise TypeError(f"{what} must be {dtype} on the CPU, got {came}".replace("torch.", ""))


def of_shape(x: Tensor, what: str, shape: Sequence[int]) -> Tensor:
    """``x`` itself.

    Raises:
        ValueError: another shape.
    """
    if x.shape != shape:
        raise ValueError(f"{what} must have shape {tuple(shape)}, got {tuple(x.shape)}")
    return x


def row_major(
    x: Tensor, what: str, shape: Sequence[int], dtype: torch.dtype = torch.float32
) -> Tensor:
    """``x`` with its last axis innermost in dense memory.

    Raises:
        TypeError: as ``plain``.
        ValueError: another shape.

    Example:
        >>> row_major(torch.ones(2, 1).expand(2, 3), "linear: weight", (2, 3)).stride()
        (3, 1)
    """
    return of_shape(plain(x, what, dtype), what, shape).contiguous()


def vector(x: Tensor | None, what: str, length: int) -> Tensor | None:
    """A number per channel, side by side in memory; None where there is none.

    Raises:
        TypeError: as ``plain``.
        ValueError: another rank or length.

    Example:
        >>> vector(torch.ones(4), "conv2d: bias", 8)
        Traceback (most recent call last):
        ...
        ValueError: conv2d: bias must have shape (8,), got (4,)
    """
    return None if x is None else row_major(x, what, (length,))


def image(
    x: Tensor,
    what: str,
    channels_last: bool,
    shape: Sequence[int] | None = None,
    dtype: torch.dtype = torch.float32,
) -> Tensor:
    """A batch of images (N, C, ...), dense in the layout asked for.

    Raises:
        TypeError: as ``plain``.
        ValueError: another shape than asked for.

    Example:
        >>> image(torch.ones(2, 3, 4, 4), "avg_pool2d: the input", True).stride()
        (48, 1, 12, 3)
    """
    x = plain(x, what, dtype)
    if shape is not None:
        of_shape(x, what, shape)
    return x.contiguous(memory_format=layout.format_of(x.dim(), channels_last))


def flat(x: Tensor, what: str) -> Tensor:
    """``x`` in one dense block in the order of ``memory.empty_like(x)``, whatever that is.

    Raises:
        TypeError: as ``plain``.

    Example:
        >>> flat(torch.ones(4, 6)[:, ::2], "relu: the input").stride()
        (3, 1)
    """
    x = plain(x, what)
    return x if layout.memory_format(x) is not torch.preserve_format else x.clone()


def as_in(x: Tensor, what: str, shape: Sequence[int], strides: tuple[int, ...]) -> Tensor:
    """``x`` with the strides of a dense tensor of this shape.

    Raises:
        TypeError: as ``plain``.
        ValueError: another shape.

    Example:
        >>> as_in(torch.ones(2, 3), "relu: the gradient", (2, 3), (1, 2)).stride()
        (1, 2)
    """
    return laid_out(of_shape(plain(x, what), what, shape), strides)


def laid_out(x: Tensor, strides: tuple[int, ...]) -> Tensor:
    """A result with the strides of a dense tensor of its shape, and no view of another tensor.

    What autograd does not know to have a gradient, it lets no view of be changed in place.

    Example:
        >>> laid_out(torch.ones(2, 3), (1, 2)).stride()
        (1, 2)
    """
    if x.stride() == strides:
        return x.data if x._is_view() else x
    return torch.empty_strided(x.shape, strides, dtype=x.dtype, device=x.device).copy_(x)
