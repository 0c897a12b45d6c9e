"""What a block takes at its peak in inference: fused, no tensor of its expansion."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lamina.ops.runtime import native

PEAK = Path("/proc/self/clear_refs")  # writing 5 forgets the highest resident size so far
pytestmark = [
    pytest.mark.skipif("separable_conv2d" not in native.kinds(), reason="no compiler"),
    pytest.mark.skipif(not PEAK.exists(), reason="this system does not tell a process's peak"),
]

PROGRAM = """
import json, sys, torch
from lamina import ops
from lamina.bench.cases import cases
shape, side = json.loads(sys.argv[1])
torch.set_num_threads(2)

def resident(field):
    for line in open("/proc/self/status"):
        if line.startswith(field):
            return int(line.split()[1]) << 10

(case,) = (c for c in cases("separable_conv2d")
           if c.name == "inverted residual, inference" and list(c.shape) == shape)
block = getattr(case, side)().eval().to(memory_format=torch.channels_last)

def finish(norm, activation):
    return ops.Finish(
        norm.weight, norm.bias, activation, norm.running_mean, norm.running_var, norm.eps
    )

def fused(x):
    return ops.separable_block(
        x, block.depthwise.weight, block.pointwise.weight,
        stride=block.depthwise.stride, padding=block.depthwise.padding,
        expand_weight=block.expand.weight, expand=finish(block.expand_norm, "relu6"),
        depthwise=finish(block.depthwise_norm, "relu6"),
        pointwise=finish(block.pointwise_norm, None), shortcut=block.shortcut,
    )

run = fused if side == "ours" else block
x = torch.randn(shape).to(memory_format=torch.channels_last)
with torch.no_grad():
    run(x[:1, :, :8, :8].contiguous(memory_format=torch.channels_last))  # threads, code
    before = resident("VmRSS")
    open("/proc/self/clear_refs", "w").write("5")
    y = run(x)
print(resident("VmHWM") - before)
"""


def grown(shape, side):
    """Bytes that a process's peak grows by in one call, its output included."""
    asked = json.dumps([shape, side])
    command = [sys.executable, "-c", PROGRAM, asked]
    # What was freed goes back at once, or a call may reuse pages of the call before it unseen.
    env = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "16384", "MALLOC_TRIM_THRESHOLD_": "0"}
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE, env=env).stdout)


@pytest.mark.parametrize(
    "shape",
    [
        (1, 64, 14, 14),
        (1, 96, 14, 14),
        (16, 96, 14, 14),
        (16, 32, 28, 28),
        (16, 24, 56, 56),
        (16, 16, 112, 112),
    ],
)
def test_an_inverted_residual_takes_two_fifths_at_most(shape):
    images, channels, height, width = shape
    weights = 4 * 2 * channels * 6 * channels  # packed once in a call, whatever the image's size
    torchs = grown(shape, "torchs")
    assert torchs >= 4 * images * 6 * channels * height * width  # it writes the expansion
    # What else a process does meanwhile only adds to its peak.
    assert any(grown(shape, "ours") - weights <= 0.4 * torchs for _ in range(3))
