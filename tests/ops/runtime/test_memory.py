"""The pool that outputs come from, and what tune_memory does to the process."""

import copy
import gc
import os
import pickle
import subprocess
import sys
import threading

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import lamina
from lamina import ops
from lamina.ops.runtime import memory
from tests.ops.judge import LAYOUTS

MIB = 1 << 20
LARGE = (4, 64, 64, 64)  # 4 MiB

needs_pool = pytest.mark.skipif(memory.statistics() is None, reason="no huge pages here")


@pytest.fixture(autouse=True)
def _own_pool():
    gc.collect()
    memory.empty_cache()
    limit = memory.statistics().limit if memory.statistics() else 0
    yield
    memory.set_limit(limit)


def large(shape=LARGE, **options) -> torch.Tensor:
    return memory.empty(shape, torch.zeros(1), **options)


@needs_pool
def test_a_freed_block_serves_the_next_tensor():
    first = large()
    place = first.data_ptr()
    del first
    before = memory.statistics()
    assert before.cached == 4 * MIB
    second = large((4 * 64, 64 * 64))
    after = memory.statistics()
    assert second.data_ptr() == place
    assert (after.hits, after.misses) == (before.hits + 1, before.misses)
    assert (after.cached, after.in_use) == (0, before.in_use + 4 * MIB)


@needs_pool
def test_two_tensors_never_share_memory():
    tensors = [large() for _ in range(3)]
    for value, tensor in enumerate(tensors):
        tensor.fill_(value)
    assert [tensor.unique().tolist() for tensor in tensors] == [[0], [1], [2]]


@needs_pool
def test_what_waits_is_limited_and_the_oldest_leaves_first():
    memory.set_limit(10 * MIB)
    old, young, youngest = large(), large(), large()
    places = {young.data_ptr(), youngest.data_ptr()}
    del old
    del young
    del youngest
    assert memory.statistics().cached == 8 * MIB
    assert {large().data_ptr(), large().data_ptr()} <= places


@needs_pool
def test_limit_zero_keeps_nothing():
    memory.set_limit(0)
    large()
    assert memory.statistics().cached == 0


@needs_pool
def test_empty_cache_returns_what_waits_and_leaves_what_lives():
    living = large().fill_(3.0)
    large()
    large((16, 64, 64, 64))
    assert lamina.empty_cache() == 20 * MIB
    assert memory.statistics().cached == 0
    assert living.eq(3).all()


def test_a_negative_limit_is_refused():
    with pytest.raises(ValueError, match="limit must be a number of bytes, 0 or more, got -1"):
        memory.set_limit(-1)


@given(
    shape=st.lists(st.integers(1, 60), min_size=4, max_size=4),
    layout=st.sampled_from(sorted(LAYOUTS)),
    dtype=st.sampled_from([torch.float32, torch.uint8, torch.int64, torch.float16]),
)
def test_shape_strides_and_size_are_pytorchs(shape, layout, dtype):
    ours = large(shape, channels_last=layout == "channels_last", dtype=dtype)
    torchs = torch.empty(shape, dtype=dtype, memory_format=LAYOUTS[layout])
    for tensor in (ours, memory.empty_like(torchs)):
        assert tensor.shape == torchs.shape
        assert tensor.stride() == torchs.stride()
        assert tensor.dtype == torchs.dtype
        assert tensor.untyped_storage().nbytes() == torchs.untyped_storage().nbytes()
        assert tensor._base is None
        assert tensor.storage_offset() == 0


@needs_pool
def test_small_tensors_are_pytorchs_own():
    before = memory.statistics()
    large((127, 127))
    assert memory.statistics() == before
    tensor = large((128, 128))
    assert memory.statistics().in_use == before.in_use + tensor.nbytes


@needs_pool
def test_a_tensor_from_the_pool_is_like_any_other():
    tensor = large().fill_(2.0)
    assert pickle.loads(pickle.dumps(tensor)).eq(2).all()
    assert copy.deepcopy(tensor).eq(2).all()
    assert tensor.resize_(3, 5).shape == (3, 5)
    assert tensor.share_memory_().is_shared()
    assert tensor.eq(2).all()
    assert tensor.numpy().sum() == 30


@needs_pool
def test_gradients_flow_through_outputs_from_the_pool():
    x = torch.randn(LARGE, requires_grad=True)
    y = ops.dropout(x, 0.5, seed=torch.tensor([1, 2]))
    assert y.grad_fn is not None
    y.mul_(2.0).sum().backward()
    assert torch.equal(x.grad != 0, y != 0)


@needs_pool
def test_threads_get_blocks_of_their_own():
    errors = []

    def work(value):
        for _ in range(50):
            tensor = large().fill_(value)
            if not tensor.eq(value).all():
                errors.append(value)

    threads = [threading.Thread(target=work, args=(value,)) for value in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert memory.statistics().cached <= 2 * 4 * 4 * MIB  # a thread holds two at most


@needs_pool
def test_a_view_outlives_its_tensor():
    view = large().fill_(5.0)[2:]
    other = large().fill_(7.0)
    assert view.eq(5).all()
    assert other.eq(7).all()


@needs_pool
def test_a_forked_child_has_tensors_of_its_own():
    tensor = large().fill_(1.0)
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)  # PyTorch's own ops would wait for threads that are not here
        tensor.fill_(2.0)
        right = large().fill_(3.0).eq(3).all() and tensor.eq(2).all()
        os._exit(0 if right else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert tensor.eq(1).all()


def test_a_tensor_may_outlive_the_interpreter():
    script = (
        "import builtins, torch\n"
        "from lamina.ops.runtime import memory\n"
        "builtins.kept = memory.empty((1 << 20,), torch.zeros(1)).fill_(1.0)\n"
        "torch.kept = builtins.kept[5:]\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_more_than_the_machine_has_is_pytorchs_error():
    with pytest.raises(RuntimeError, match=r"not enough memory|allocate"):
        large((1 << 50,))


def test_tune_memory_keeps_large_blocks_and_says_so():
    script = (
        "import resource, torch, lamina\n"
        "print(lamina.tune_memory())\n"
        "assert lamina.tune_memory() is lamina.tune_memory()\n"
        "faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt\n"
        "x = torch.ones(40 << 18)\n"
        "for _ in range(12): torch.relu(x)\n"
        "before = faults()\n"
        "for _ in range(5): torch.relu(x)\n"
        "print(faults() - before)\n"
        "lamina.empty_cache()\n"
        "print(torch.relu(x).sum().item())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    said, faults, total = done.stdout.splitlines()
    if "stays in the process" in said:
        assert int(faults) < 5 * 40 * MIB // 4096 / 2  # half of what fresh pages would cost
    assert float(total) == 40 << 18
