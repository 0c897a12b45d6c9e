"""Kernels' calls on other memory, and where what lies between them is put."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lamina import ops
from lamina.ops.runtime import native
from lamina.ops.runtime.recording import (
    Memories,
    Memory,
    Recorder,
    arena,
    compiled,
    replay,
)

_lives = st.lists(
    st.tuples(st.integers(0, 9), st.integers(0, 9), st.integers(1, 5000)).map(
        lambda t: (min(t[:2]), max(t[:2]), t[2])
    ),
    max_size=12,
)


@given(_lives)
def test_what_lives_together_does_not_overlap(drawn: list[tuple[int, int, int]]) -> None:
    lives = dict(enumerate(drawn))
    offsets, size = arena(lives)
    for a, (first, last, bytes_) in lives.items():
        assert offsets[a] % 256 == 0 and offsets[a] + bytes_ <= size
        for b, (other_first, other_last, other_bytes) in lives.items():
            if a < b and first <= other_last and other_first <= last:
                assert offsets[a] + bytes_ <= offsets[b] or offsets[b] + other_bytes <= offsets[a]


def test_memories_tell_whose_an_address_is() -> None:
    memories = Memories([Memory(100, 200, "a"), Memory(200, 210, "b"), Memory(50, 50, "none")])
    found = [memories.find(at) for at in (99, 100, 199, 200, 209, 210, 50)]
    assert [f and f.base for f in found] == [None, "a", "a", "b", "b", None, None]
    with pytest.raises(ValueError, match="overlap"):
        Memories([Memory(0, 10, "a"), Memory(9, 12, "b")])


@pytest.mark.skipif(native.kernels is None, reason="there are no kernels to record")
class TestRecorder:
    def test_calls_run_again_on_other_memory(self) -> None:
        x, weight = torch.randn(1, 8, 12, 12), torch.randn(16, 8, 3, 3)

        def twice(x: torch.Tensor) -> torch.Tensor:
            y = ops.conv2d(x, weight[:8], algorithm="direct")
            return ops.conv2d(y, weight, padding=1, algorithm="direct")

        recorder = Recorder()
        with torch.no_grad():
            y, calls = recorder.record(lambda: twice(x))
        assert calls
        known = [Memory.of(x, "x"), Memory.of(weight, "w")]
        known += [Memory.of(t, t.data_ptr()) for t in recorder.allocated]
        run = compiled(calls, Memories(known), ["x", "w", y.data_ptr()])
        other = torch.randn_like(x)
        result = torch.empty_strided(y.shape, y.stride())
        run([other, weight, result])
        assert torch.equal(result, twice(other))

    @pytest.mark.parametrize(
        "function",
        [
            lambda x: x + 1,
            lambda x: x.contiguous(memory_format=torch.channels_last),
            lambda x: x.mul_(2),
            lambda x: ops.dropout(x, 0.5),
            lambda x: torch.rand_like(x),
            lambda x: native.kernels.roofline_sum(x, x.numel()),
        ],
    )
    def test_what_no_kernel_computes_is_told(self, function) -> None:
        _, calls = Recorder().record(lambda: function(torch.ones(2, 8, 16, 16)))
        assert calls is None

    def test_views_are_nobodys_work(self) -> None:
        x = torch.ones(2, 8, 16, 16)
        _, calls = Recorder().record(lambda: x[:, 1:3].permute(0, 2, 3, 1).unsqueeze(0))
        assert calls == []

    def test_an_error_ends_it(self) -> None:
        with pytest.raises(ZeroDivisionError):
            Recorder().record(lambda: 1 // 0)
        assert not native.kernels.is_recording()

    def test_unknown_memory_is_refused(self) -> None:
        weight = torch.ones(4, 8, 1, 1)
        assert replay(lambda x: ops.conv2d(x, weight), (torch.ones(1, 8, 40, 40),)) is None

    def test_too_few_tensors_are_refused(self) -> None:
        x = torch.ones(1, 8, 4, 4)
        _, calls = Recorder().record(lambda: native.kernels.activation_forward(1, x, 128, 0.0, x))
        run = compiled(calls, Memories([Memory.of(x, "x")]), ["x"])
        with pytest.raises(ValueError, match="a tensor for each base"):
            run([])
        with pytest.raises(TypeError):
            run([x.data_ptr()])
