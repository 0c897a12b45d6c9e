"""Arguments and images for hypothesis to draw from."""

from __future__ import annotations

import torch
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

few = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)

small = st.integers(1, 3)
pairs = st.one_of(small, st.tuples(small, small))
sides = st.tuples(st.integers(0, 2), st.integers(0, 2))
memory_formats = st.sampled_from([torch.contiguous_format, torch.channels_last])
dtypes = st.sampled_from([torch.float32, torch.float64])


@st.composite
def images(draw, channels: int, smallest: int = 7, batched: bool = False) -> torch.Tensor:
    """An image or a batch, of random size, dtype and layout; big enough for the windows drawn."""
    height, width = draw(st.integers(smallest, 13)), draw(st.integers(smallest, 13))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    shape = (draw(st.integers(1, 3)), channels, height, width)
    x = torch.randn(shape, generator=generator, dtype=torch.float64).to(draw(dtypes))
    if not batched and draw(st.booleans()):
        return x[0]
    return x.contiguous(memory_format=draw(memory_formats))


def same_sides(size: int, kernel_size: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """TensorFlow's rule, by trial: the least padding that gives ceil(size / stride) windows."""
    extent, windows, total = dilation * (kernel_size - 1) + 1, -(-size // stride), 0
    while size + total < (windows - 1) * stride + extent:
        total += 1
    return total // 2, total - total // 2
