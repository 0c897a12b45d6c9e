"""The native module: one OpenMP runtime, every instruction set, fork, large tensors."""

import os
import shutil
from pathlib import Path

import pytest
import torch

import lamina
from lamina import ops
from lamina.ops.activation import FUNCTIONS
from lamina.ops.runtime import native
from tests.ops.judge import LAYOUTS
from tests.ops.processes import in_a_process

needs_kernel = pytest.mark.skipif(not native.kinds(), reason="no compiler")

ONE_STEP = """
import torch
from lamina import ops
from lamina.ops.runtime import native
torch.manual_seed(0)
x = torch.randn(3, 21, 39, 39, requires_grad=True)
y = ops.dropout(ops.batch_norm(x, None, None, training=True, activation="silu"), 0.5)
y.square().sum().backward()
print(native.instruction_set(), float(y.sum()), float(x.grad.abs().sum()))
"""


@needs_kernel
def test_what_python_names_is_in_the_order_of_the_kernels_numbers():
    assert list(native.ACTIVATIONS) == native.kernels.activations()
    assert list(FUNCTIONS) == native.kernels.functions()


@needs_kernel
def test_every_instruction_set_computes_the_same():
    results = {}
    for isa, runs_here in native.instruction_sets().items():
        if runs_here:
            finished = in_a_process(ONE_STEP, LAMINA_ISA=isa)
            assert finished.returncode == 0, finished.stderr
            name, *values = finished.stdout.split()
            assert name == isa
            results[isa] = torch.tensor([float(value) for value in values])
    for isa, values in results.items():
        torch.testing.assert_close(values, results["scalar"], rtol=1e-5, atol=1e-4, msg=isa)


@needs_kernel
def test_an_unknown_instruction_set_is_one_line():
    finished = in_a_process("import lamina.ops", LAMINA_ISA="v9")
    assert finished.returncode != 0
    last = finished.stderr.strip().splitlines()[-1]
    assert "LAMINA_ISA: must be one of scalar" in last and "got 'v9'" in last


def test_without_kernels_everything_still_runs():
    """As after an install that found no compiler."""
    source = "import sys; sys.modules['lamina._native'] = None\n" + ONE_STEP
    finished = in_a_process(source)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("None ")
    assert "native kernels" in finished.stderr and "PyTorch's ops" in finished.stderr


def test_sources_that_nobody_compiled_say_so_in_one_line(tmp_path):
    """A copy of the package without the module, found before any installed one."""
    package = Path(lamina.__file__).parent
    without = shutil.ignore_patterns("_native*.so", "_native*.dylib", "_native*.pyd", "__pycache__")
    shutil.copytree(package, tmp_path / "lamina", ignore=without)
    finished = in_a_process(
        "import sys\n"
        "sys.meta_path[:] = [f for f in sys.meta_path if 'editable' not in type(f).__module__]\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n" + ONE_STEP
    )
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("None ")
    warned = [line for line in finished.stderr.splitlines() if "RuntimeWarning" in line]
    assert len(warned) == 1
    assert (
        "lamina: native kernels not built: no C++ compiler was found when lamina was installed; "
        "every layer runs on PyTorch's ops"
    ) in warned[0]


@needs_kernel
def test_one_openmp_runtime():
    """In a process of its own: other tests import libraries that bring a runtime with them."""
    source = ONE_STEP + (
        "import os\n"
        "from threadpoolctl import threadpool_info\n"
        "pools = [pool for pool in threadpool_info() if pool['user_api'] == 'openmp']\n"
        "print(*{os.path.realpath(pool['filepath']) for pool in pools}, sep='\\n')\n"
    )
    finished = in_a_process(source)
    assert finished.returncode == 0, finished.stderr
    _, *runtimes = finished.stdout.splitlines()
    assert len(runtimes) == 1, runtimes


@needs_kernel
def test_torchs_threads_are_ours():
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            assert native.kernels.thread_count() == threads
    finally:
        torch.set_num_threads(before)


@needs_kernel
@pytest.mark.timeout(60)
@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_fork_after_use():
    x = torch.randn(8, 64, 40, 40)
    expected = ops.batch_norm(x, None, None, training=True)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        y = ops.batch_norm(x, None, None, training=True)
        torch.set_num_threads(1)  # PyTorch's own comparison would wait for the lost threads
        os.write(write, b"same" if torch.allclose(y, expected, atol=1e-5) else b"else")
        os._exit(0)
    os.close(write)
    assert os.read(read, 4) == b"same"
    assert os.waitpid(child, 0)[1] == 0


@needs_kernel
@pytest.mark.slow
def test_more_than_two_gibibytes():
    """64-bit indices: 2.2 GiB in one tensor, judged at its far end."""
    x = torch.randn(1, 64, 1, 1).expand(1, 64, 3000, 3000).contiguous()
    x[0, 63, -1, -1] = 5.0
    y = ops.batch_norm(x, torch.zeros(64), torch.ones(64), eps=1e-5)
    torch.testing.assert_close(y[0, 63, -1, -1], torch.tensor(5.0), rtol=1e-4, atol=0)
    torch.testing.assert_close(y[0, :, 0, 0], x[0, :, 0, 0], rtol=1e-4, atol=1e-6)


IMAGE_BY_IMAGE = {
    "max pool": lambda x: ops.max_pool2d(x, 2),
    "average pool": lambda x: ops.avg_pool2d(x, 3, 2, 1),
    "global average": lambda x: ops.global_avg_pool2d(x),
    "depthwise": lambda x: ops.depthwise_conv2d(x, torch.ones(x.shape[1], 1, 3, 3), padding=1),
    "relu": ops.relu,
    "frozen batch norm": lambda x: ops.batch_norm(x, torch.ones(64), torch.ones(64)),
}


@needs_kernel
@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", IMAGE_BY_IMAGE)
def test_the_last_of_more_than_two_gibibytes_is_as_if_alone(kind, layout):
    op = IMAGE_BY_IMAGE[kind]
    x = torch.zeros(9, 64, 1024, 1024).to(memory_format=LAYOUTS[layout])
    x[-1] = torch.randn(64, 1024, 1024)
    x.requires_grad_()
    alone = x.detach()[-1:].clone(memory_format=LAYOUTS[layout]).requires_grad_()
    y, expected = op(x), op(alone)
    torch.testing.assert_close(y[-1:], expected, rtol=1e-6, atol=1e-6)
    dy = torch.zeros_like(y)
    dy[-1] = torch.randn_like(y[-1])
    (dx,) = torch.autograd.grad(y, x, dy)
    (expected,) = torch.autograd.grad(expected, alone, dy[-1:].clone())
    torch.testing.assert_close(dx[-1:], expected, rtol=1e-6, atol=1e-6)
    assert not dx[0].any()


@needs_kernel
@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS)
def test_dropout_of_more_than_two_gibibytes_reaches_its_end(layout):
    x = torch.ones(9, 64, 1024, 1024).to(memory_format=LAYOUTS[layout])
    last = ops.dropout(x, 0.5)[-1]
    assert sorted(last.unique().tolist()) == [0.0, 2.0]
    assert float((last == 0).double().mean()) == pytest.approx(0.5, abs=1e-3)


def test_the_checked_in_stub_is_the_modules():
    if not native.kinds():
        pytest.skip("no compiler")
    lines = Path(native.kernels.__file__).with_name("_native.pyi").read_text().splitlines()
    declared = {line.split("(")[0][4:] for line in lines if line.startswith("def ")}
    declared |= {line.rstrip(":")[6:] for line in lines if line.startswith("class ")}
    present = {name for name in dir(native.kernels) if not name.startswith("_")}
    assert declared == present
