"""A separable convolution is its two parts; fused, the tensor between them moves nowhere."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.theory import separable_conv2d
from lamina.theory.complexity import evaluate


def test_separable_parts_apart_and_fused():
    shape, middle = (2, 8, 10, 10), 2 * 16 * 5 * 5
    arguments = {"kernel_size": 3, "stride": 2, "padding": "same", "depth_multiplier": 2}
    apart = separable_conv2d.cost(shape, 24, **arguments)
    fused = separable_conv2d.cost(shape, 24, **arguments, keep_middle=False)
    assert apart.macs == fused.macs == middle * 9 + 2 * 24 * 5 * 5 * 16
    assert apart.parameters == 16 * 9 + 16 * 24 + 24
    assert apart.bytes_moved - fused.bytes_moved == 2 * 4 * middle
    assert fused.saved_bytes == 4 * 2 * 8 * 10 * 10
    back = separable_conv2d.cost(shape, 24, **arguments, direction="backward")
    back_fused = separable_conv2d.cost(
        shape, 24, **arguments, keep_middle=False, direction="backward"
    )
    assert back.macs == 2 * apart.macs
    assert back_fused.macs - back.macs == middle * 9
    # The gradients of weights are written, the input's gradient too; nothing of the middle.
    assert back_fused.bytes_written == 4 * (2 * 8 * 10 * 10 + apart.parameters)


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 3)
)
def test_complexity_is_the_cost(n, h, w, k, stride):
    cost = separable_conv2d.cost((n, 6, h, w), 4, k, stride, "same", depth_multiplier=3, bias=False)
    values = {"N": n, "H": h, "W": w, "K": k, "stride": stride}
    assert evaluate(separable_conv2d.complexity(), **values, C=6, M=4, D=3) == cost.flops
