"""A small network counted by hand, every figure exact.

Conv 3->16 (3x3, same, bias) on 3x32x32, batch norm, relu, max pool 2, depthwise 3x3 16, batch
norm, relu, pointwise 32, batch norm, relu, a 1x1 convolution 32->32 (bias) called twice, x + y,
a convolution 3x3 32->32 without bias, average pool 4, flatten, dropout, dense 512->10.
"""

from lamina.theory import activation, batch_norm2d, conv2d, dense, depthwise_conv2d, pool2d
from lamina.theory.cost import Cost

IMAGE, STEM, POOLED, WIDE = (1, 3, 32, 32), (1, 16, 32, 32), (1, 16, 16, 16), (1, 32, 16, 16)

MATRIX_CALLS = {
    "stem": lambda **pass_: conv2d.cost(IMAGE, 16, 3, padding="same", **pass_),
    "depthwise": lambda **pass_: depthwise_conv2d.cost(POOLED, 3, padding=1, bias=False, **pass_),
    "pointwise": lambda **pass_: conv2d.cost(POOLED, 32, 1, bias=False, **pass_),
    "shared#0": lambda **pass_: conv2d.cost(WIDE, 32, 1, **pass_),
    "shared#1": lambda **pass_: conv2d.cost(WIDE, 32, 1, **pass_),
    "functional": lambda **pass_: conv2d.cost(WIDE, 32, 3, padding=1, bias=False, **pass_),
    "dense": lambda **pass_: dense.cost((1, 512), 10, **pass_),
}


def test_macs():
    macs = {name: call().macs for name, call in MATRIX_CALLS.items()}
    assert macs == {
        "stem": 442_368,
        "depthwise": 36_864,
        "pointwise": 131_072,
        "shared#0": 262_144,
        "shared#1": 262_144,
        "functional": 2_359_296,
        "dense": 5_120,
    }
    assert sum(macs.values()) == 3_499_008


def test_forward_and_backward_flops_of_matrix_products():
    forward = sum((call() for call in MATRIX_CALLS.values()), Cost())
    backward = sum(
        (
            call(direction="backward", input_gradient=name != "stem")
            for name, call in MATRIX_CALLS.items()
        ),
        Cost(),
    )
    assert 2 * (forward.macs + backward.macs) == 20_109_312


def test_parameters():
    shared_once = [call() for name, call in MATRIX_CALLS.items() if name != "shared#1"]
    norms = [batch_norm2d.cost(shape) for shape in (STEM, POOLED, WIDE)]
    assert sum(part.parameters for part in shared_once + norms) == 16_634


def test_bias():
    assert sum(call().other_flops for call in MATRIX_CALLS.values()) == 32_778


def test_the_rest():
    shapes = (STEM, POOLED, WIDE)
    assert sum(batch_norm2d.cost(shape).other_flops for shape in shapes) == 57_344
    assert sum(activation.cost(shape, "relu").other_flops for shape in shapes) == 28_672
    assert pool2d.cost(STEM, 2, operation="max").other_flops == 16_384
    assert pool2d.cost(WIDE, 4, operation="average").other_flops == 8_192
