"""A depthwise convolution is a convolution of as many groups as channels."""

from hypothesis import given, settings
from hypothesis import strategies as st

from lamina.theory import conv2d, depthwise_conv2d
from lamina.theory.complexity import evaluate


def test_depthwise_is_a_grouped_convolution():
    shape = (2, 6, 9, 8)
    as_groups = conv2d.cost(shape, 12, (3, 2), 2, ((0, 1), (1, 0)), groups=6)
    assert depthwise_conv2d.cost(shape, (3, 2), 2, ((0, 1), (1, 0)), depth_multiplier=2) == (
        as_groups
    )
    assert as_groups.parameters == 12 * 3 * 2 + 12


@settings(max_examples=15, deadline=None)
@given(
    st.integers(1, 3), st.integers(1, 9), st.integers(1, 9), st.integers(1, 4), st.integers(1, 3)
)
def test_complexity_is_the_cost(n, h, w, k, stride):
    cost = depthwise_conv2d.cost((n, 6, h, w), k, stride, "same", depth_multiplier=3, bias=False)
    values = {"N": n, "H": h, "W": w, "K": k, "stride": stride}
    assert evaluate(depthwise_conv2d.complexity(), **values, C=6, D=3) == cost.flops
