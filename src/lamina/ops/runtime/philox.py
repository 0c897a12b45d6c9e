"""The random numbers of the kernels, in PyTorch's ops: the same for every device and program.

A number is that of its place in a stream, which a key and the number of a call name.

Source: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011), section 4.3;
kernels/common/philox.h.
"""

from __future__ import annotations

import torch
from torch import Tensor

_MULTIPLIERS = 0xD2511F53, 0xCD9E8D57
_WEYL = 0x9E3779B9, 0xBB67AE85
_ROUNDS = 7
_GROUP, _BLOCKS = 128, 16  # numbers and blocks of a group: four words a block, two numbers a word
_LOW = 0xFFFFFFFF


def numbers(seed: Tensor, count: int) -> Tensor:
    """The first numbers of a stream, of 16 bits each.

    Args:
        seed: int64, (key, number of the call).
        count: how many; may be a symbol of a tracer's.

    Returns:
        (count,), int64 from 0 to 65535, on the device of ``seed``.

    Example:
        >>> numbers(torch.tensor([7, 0]), 3).tolist()
        [32199, 19259, 11230]
    """
    blocks = (count + _GROUP - 1) // _GROUP * _BLOCKS
    index = torch.arange(blocks, device=seed.device)
    key, call = _halves(seed[0]), _halves(seed[1])
    block = (*_halves(index), *(half.expand_as(index) for half in call))
    for round_ in range(_ROUNDS):
        # A product fills 64 bits: signed or not, they are the same ones.
        low, high = (word * by for word, by in zip(block[::2], _MULTIPLIERS, strict=True))
        mine, other = ((half + round_ * step) & _LOW for half, step in zip(key, _WEYL, strict=True))
        block = (
            (high >> 32 & _LOW) ^ block[1] ^ mine,
            high & _LOW,
            (low >> 32 & _LOW) ^ block[3] ^ other,
            low & _LOW,
        )
    element = torch.arange(count, device=seed.device)
    group, place = element // _GROUP, element % _GROUP
    word = torch.cat(block)[place // 32 * blocks + group * _BLOCKS + place % _BLOCKS]
    return word >> (place // _BLOCKS % 2 * 16) & 0xFFFF


def _halves(x: Tensor) -> tuple[Tensor, Tensor]:
    return x & _LOW, x >> 32 & _LOW
