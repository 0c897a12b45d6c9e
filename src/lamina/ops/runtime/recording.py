"""What ops compute as a list of kernels' calls, which runs again without Python between them.

The bindings write down the kernels that a `Recorder`'s ops call. The recorder sees what PyTorch
does meanwhile: memory that it hands out and views of it are part of the list, and anything that it
computes itself is an obstacle. A `Program` is such a list on other memory: what its own calls alone
read lies in one arena, planned ahead.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from lamina.ops.runtime import native
from lamina.ops.runtime.registration import OPS
from lamina.ops.runtime.torch_private import TorchDispatchMode

__all__ = ["Calls", "Memories", "Memory", "Recorder", "arena", "compiled", "replay"]

Calls = list[Any]
"""Of kernels, in order: the bindings' RecordedCall."""

_ALLOCATIONS = frozenset(
    f"aten::{name}"
    for name in ("empty", "empty_like", "empty_strided", "new_empty", "new_empty_strided")
)


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Runs functions and writes down the kernels' calls.

    ``allocated`` are the tensors whose memory was asked for meanwhile; they live as long as it
    does, so that no two have one address.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.allocated: list[Tensor] = []
        self._obstacle = False

    def record(self, function: Callable[[], Any]) -> tuple[Any, Calls | None]:
        """A function's result, and its kernels' calls; None where others computed as well."""
        self._obstacle = False
        native.kernels.recording_begin()
        try:
            with native.kernels_for_small(), self:
                result = function()
        finally:
            calls = native.kernels.recording_end()
        return result, None if self._obstacle else calls

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Lets a call through, and looks at what it is."""
        if func.namespace == "lamina":
            with self:
                return OPS[func.__name__.partition(".")[0]].kernel(*args)
        result = func(*args, **(kwargs or {}))
        if func._schema.name in _ALLOCATIONS:
            self.allocated.append(result)
        elif not _is_view(func, args, result):
            self._obstacle = True
        return result


def _is_view(func: Any, args: tuple[Any, ...], result: Any) -> bool:
    """Whether a call has computed nothing: its result is its first argument's memory."""
    returns = func._schema.returns
    if not returns or any(r.alias_info is None or r.alias_info.is_write for r in returns):
        return False
    results = result if isinstance(result, list | tuple) else (result,)
    storage = args[0].untyped_storage().data_ptr() if isinstance(args[0], Tensor) else None
    return all(isinstance(r, Tensor) and r.untyped_storage().data_ptr() == storage for r in results)


@dataclass(frozen=True)
class Memory:
    """Addresses from ``start`` to ``end``, those of a tensor's elements."""

    start: int
    end: int
    base: Any
    """Whose they are."""

    @staticmethod
    def of(tensor: Tensor, base: Any) -> Memory:
        """The extent of a strided tensor."""
        start = tensor.data_ptr()
        last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        bytes_ = 0 if tensor.numel() == 0 else (last + 1) * tensor.element_size()
        return Memory(start, start + bytes_, base)


class Memories:
    """Finds whose memory an address is in.

    Args:
        memories: of which none overlap.

    Raises:
        ValueError: two overlap.
    """

    def __init__(self, memories: Iterable[Memory]) -> None:
        self._sorted = sorted((m for m in memories if m.end > m.start), key=lambda m: m.start)
        self._starts = [m.start for m in self._sorted]
        for one, next_ in zip(self._sorted, self._sorted[1:], strict=False):
            if next_.start < one.end:
                raise ValueError("memories overlap")

    def find(self, address: int) -> Memory | None:
        """The one that an address is in; None for unknown memory."""
        at = bisect_right(self._starts, address) - 1
        if at < 0 or address >= self._sorted[at].end:
            return None
        return self._sorted[at]


def compiled(
    calls: Calls, memories: Memories, external: Sequence[Any]
) -> Callable[[Sequence[Tensor]], None]:
    """Calls as one function of tensors.

    Args:
        calls: that were recorded.
        memories: that should hold every address of theirs.
        external: whose tensors the function takes, in its order; what is in none of these lies in
            an arena of the function's own.

    Raises:
        ValueError: an address is in none of the memories.
    """
    addresses = [call.addresses for call in calls]
    first: dict[Memory, int] = {}
    last: dict[Memory, int] = {}
    found: list[tuple[Memory, int]] = []
    for at, of_call in enumerate(addresses):
        for address in of_call:
            memory = memories.find(address)
            if memory is None:
                raise ValueError(f"unknown memory at {address:#x}")
            found.append((memory, address - memory.start))
            first.setdefault(memory, at)
            last[memory] = at
    base_of = {base: at + 1 for at, base in enumerate(external)}
    inner = [memory for memory in first if memory.base not in base_of]
    offsets, size = arena({m: (first[m], last[m], m.end - m.start) for m in inner})
    places = [
        (0, offsets[memory] + offset) if memory in offsets else (base_of[memory.base], offset)
        for memory, offset in found
    ]
    program = native.kernels.Program(calls, places, size)
    run: Callable[[Sequence[Tensor]], None] = program.run
    return run


def replay(function: Callable[..., Any], arguments: Sequence[Any]) -> Callable[[], None] | None:
    """What a function's kernels do with these arguments; None where others compute as well.

    Example:
        >>> import torch
        >>> replay(torch.add, (torch.ones(2), 1)) is None
        True
    """
    recorder = Recorder()
    _, calls = recorder.record(lambda: function(*arguments))
    if calls is None:
        return None
    tensors = [value for value in arguments if isinstance(value, Tensor)]
    given = [Memory.of(tensor, at) for at, tensor in enumerate(tensors)]
    made = [Memory.of(tensor, None) for tensor in recorder.allocated]
    try:
        run = compiled(calls, Memories((*given, *made)), range(len(tensors)))
    except ValueError:
        return None
    return lambda: run(tensors)


Key = TypeVar("Key", bound=Hashable)

_ALIGNMENT = 256  # bytes


def arena(lives: dict[Key, tuple[int, int, int]]) -> tuple[dict[Key, int], int]:
    """Where each of some buffers lies, so that none that live together overlap; and the whole size.

    The largest first, each in the lowest place that is free while it lives.

    Args:
        lives: first and last moment, both included, and bytes of each.

    Source: Pisarchyk and Lee, "Efficient Memory Management for Deep Neural Net Inference" (2020),
    section 4.

    Example:
        >>> arena({"a": (0, 1, 512), "b": (1, 2, 256), "c": (2, 3, 512)})
        ({'a': 0, 'c': 0, 'b': 512}, 768)
    """
    offsets: dict[Key, int] = {}
    size = 0
    for key in sorted(lives, key=lambda key: -lives[key][2]):
        first, last, bytes_ = lives[key]
        taken = sorted(
            (offsets[other], offsets[other] + lives[other][2])
            for other in offsets
            if lives[other][0] <= last and first <= lives[other][1]
        )
        offset = 0
        for begin, end in taken:
            if offset + bytes_ <= begin:
                break
            offset = max(offset, -(-end // _ALIGNMENT) * _ALIGNMENT)
        offsets[key] = offset
        size = max(size, offset + bytes_)
    return offsets, size
