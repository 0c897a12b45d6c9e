"""What one call of an operator costs, for every operator there is.

Each ends up as one of

- *costed*: it has a formula in ``operators``, ``transforms`` or ``per_element``, or PyTorch tags it
  as pointwise or as a reduction;
- *free*: a view, a query, an allocation, or data moved without arithmetic;
- *uncounted*: anything else, named in the report and never silently nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor

from lamina.inspector.count.memory import bytes_of
from lamina.inspector.count.native import native_cost
from lamina.inspector.count.operators import (
    FORMULAS,
    Formula,
    Operator,
    Value,
    per_input,
    per_output,
    trains,
)
from lamina.inspector.count.per_element import PER_ELEMENT
from lamina.inspector.count.transforms import TRANSFORMS
from lamina.theory.cost import Cost

__all__ = ["Status", "cost_of"]

Status = Literal["costed", "free", "uncounted"]

_FORMULAS = {**FORMULAS, **TRANSFORMS, **PER_ELEMENT}

# Data moved or made without arithmetic.
_MOVES_TEXT = """
cat stack copy_ _to_copy contiguous fill fill_ zero_ zeros zeros_like ones ones_like full
full_like empty empty_like empty_strided new_empty new_empty_strided new_zeros new_ones new_full
arange linspace eye scalar_tensor rand rand_like randn randn_like randint randperm uniform_
normal_ index index_select index_put index_put_ _index_put_impl_ gather scatter scatter_
masked_select nonzero embedding constant_pad_nd reflection_pad1d reflection_pad2d
reflection_pad3d replication_pad1d replication_pad2d replication_pad3d flip roll repeat
pixel_shuffle pixel_unshuffle channel_shuffle _unsafe_view _reshape_copy resize_ set_ promote_types
unsafe_split unsafe_chunk split_with_sizes_copy select_backward slice_backward tril triu
select_scatter slice_scatter as_strided_scatter diagonal_backward unfold_backward im2col sort
topk argsort tril_indices triu_indices one_hot bucketize searchsorted repeat_interleave
reflection_pad1d_backward reflection_pad2d_backward reflection_pad3d_backward
replication_pad1d_backward replication_pad2d_backward replication_pad3d_backward
_local_scalar_dense lift_fresh_copy max_unpool2d max_unpool3d masked_scatter masked_scatter_backward
take put index_copy index_fill index_fill_ index_copy_ diag_embed diagonal_scatter block_diag
complex rot90 resize_as_ tril_ triu_ narrow_copy _chunk_cat _unsafe_masked_index _unique _unique2
unique_dim unique_consecutive nonzero_static isin kthvalue median nanmedian mode histc logspace
randint_like exponential_ geometric_ cauchy_ log_normal_ normal multinomial empty_permuted
_efficientzerotensor
"""
_MOVES = frozenset(_MOVES_TEXT.split())

_ALLOCATIONS = frozenset(["empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided",
                          "empty_permuted", "_efficientzerotensor"])  # fmt: skip
_PICKS = frozenset(["index", "index_select", "gather", "embedding", "take"])

# Arguments whose shape is asked for, or that are overwritten, without being read.
_UNREAD = {
    "copy_": 0, "fill_": 0, "zero_": 0, "uniform_": 0, "normal_": 0, "bernoulli_": 0,
    "zeros_like": 0, "ones_like": 0, "full_like": 0, "new_zeros": 0, "new_ones": 0, "new_full": 0,
    "rand_like": 0, "randn_like": 0, "avg_pool2d_backward": 1, "avg_pool3d_backward": 1,
    "max_pool2d_with_indices_backward": 1, "max_pool3d_with_indices_backward": 1,
    "_adaptive_avg_pool2d_backward": 1, "_adaptive_avg_pool3d_backward": 1,
    "adaptive_max_pool2d_backward": 1, "adaptive_max_pool3d_backward": 1,
}  # fmt: skip

_READ_TWICE = {
    "native_batch_norm": (0,), "_native_batch_norm_legit": (0,), "cudnn_batch_norm": (0,),
    "native_batch_norm_backward": (0, 1), "cudnn_batch_norm_backward": (0, 1),
}  # fmt: skip


@cache
def _lookup(func: Operator) -> tuple[Status, Formula | None]:
    packet = str(func.overloadpacket)
    if packet in _FORMULAS:
        return "costed", _FORMULAS[packet]
    namespace, _, name = packet.partition(".")
    if namespace in ("prim", "profiler") or name.startswith("sym_"):
        return "free", None
    returns = func._schema.returns
    if (
        _moves(func)
        or torch.Tag.inplace_view in func.tags
        or any(r.alias_info is not None and not r.alias_info.is_write for r in returns)
    ):
        return "free", None
    if torch.Tag.pointwise in func.tags:
        return "costed", per_output(1)
    if torch.Tag.reduction in func.tags:
        return "costed", per_input(1)
    return "uncounted", None


def _moves(func: Operator) -> bool:
    name = str(func.overloadpacket).partition(".")[2]
    return name in _MOVES or torch.Tag.view_copy in func.tags


def cost_of(func: Operator, args: Sequence[Any], out: Value) -> tuple[Status, Cost]:
    """How one call of an operator is booked, and its arithmetic and traffic."""
    if func.namespace == "lamina":
        native = native_cost(func, args)
        if native is not None:
            return "costed", replace(native, parameters=0, buffers=0, saved_bytes=0)
    status, function = _lookup(func)
    macs, other = 0, 0
    if function is not None and _computes_floats(args, out):
        macs, other = function(args, out)
    read, written = _traffic(func, status, args, out)
    return status, Cost(macs=macs, other_flops=other, bytes_read=read, bytes_written=written)


def _computes_floats(args: Sequence[Any], out: Value) -> bool:
    # Counters, indices and shapes are integers: no floating-point operation.
    return any(
        tensor.is_floating_point() or tensor.is_complex() for tensor in _tensors([out, *args])
    )


def _traffic(func: Operator, status: Status, args: Sequence[Any], out: Value) -> tuple[int, int]:
    """Bytes that one call has to read and to write: every operand once, every result once.

    A view moves nothing; picking rows of a table reads the rows, not the table; statistics of a
    batch have to be complete before the batch is read again.
    """
    packet = str(func.overloadpacket)
    name = packet.partition(".")[2]
    if name in _ALLOCATIONS or (status == "free" and not _moves(func)):
        return 0, 0
    written = sum(bytes_of(tensor) for tensor in _tensors(out))
    if name in _PICKS:
        return written + sum(bytes_of(tensor) for tensor in _tensors(args[1:])), written
    unread = _UNREAD.get(name)
    operands = {id(t): t for i, arg in enumerate(args) if i != unread for t in _tensors(arg)}
    again = [args[i] for i in _READ_TWICE.get(name, ()) if trains(name, args)]
    return sum(bytes_of(tensor) for tensor in [*operands.values(), *again]), written


def _tensors(value: object) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, list | tuple):
        return [tensor for item in value for tensor in _tensors(item)]
    return []
