"""
lamina's kernels. Called by lamina.ops alone, which checks shapes and densities.
"""

from collections.abc import Sequence

import torch

def isa() -> str: ...
def isas() -> dict[str, bool]: ...
def kinds() -> list[str]: ...
def compiler() -> str: ...
def thread_count() -> int: ...
def activations() -> list[str]: ...
def functions() -> list[str]: ...
def activation_forward(
    function: int, x: torch.Tensor, size: int, negative_slope: float, y: torch.Tensor
) -> None: ...
def activation_forward_with_bits(
    function: int,
    x: torch.Tensor,
    size: int,
    negative_slope: float,
    y: torch.Tensor,
    bits: torch.Tensor,
) -> None: ...
def activation_backward(
    function: int, saved: torch.Tensor, dy: torch.Tensor, size: int, dx: torch.Tensor
) -> None: ...
def activation_backward_of_bits(
    function: int,
    bits: torch.Tensor,
    dy: torch.Tensor,
    size: int,
    negative_slope: float,
    dx: torch.Tensor,
) -> None: ...
def batch_norm2d_training(
    x: torch.Tensor,
    outer: int,
    channels: int,
    inner: int,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    activation: int,
    negative_slope: float,
    mean: torch.Tensor,
    variance: torch.Tensor,
    y: torch.Tensor,
) -> None: ...
def batch_norm2d_update(
    running_mean: torch.Tensor,
    running_variance: torch.Tensor,
    mean: torch.Tensor,
    variance: torch.Tensor,
    channels: int,
    share: float,
    variance_share: float,
) -> None: ...
def batch_norm2d_inference(
    x: torch.Tensor,
    outer: int,
    channels: int,
    inner: int,
    mean: torch.Tensor,
    variance: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    activation: int,
    negative_slope: float,
    y: torch.Tensor,
) -> None: ...
def batch_norm2d_backward(
    x: torch.Tensor,
    dy: torch.Tensor,
    outer: int,
    channels: int,
    inner: int,
    mean: torch.Tensor,
    variance: torch.Tensor,
    weight: torch.Tensor | None,
    bias: torch.Tensor | None,
    eps: float,
    activation: int,
    negative_slope: float,
    batch_statistics: bool,
    gradient_weight: torch.Tensor,
    gradient_bias: torch.Tensor,
    dx: torch.Tensor,
) -> None: ...
def memory_is_supported() -> bool: ...
def memory_allocate(
    shape: Sequence[int], strides: Sequence[int], code: int, bits: int, bytes: int
) -> object: ...
def memory_empty_cache() -> int: ...
def memory_set_limit(bytes: int) -> None: ...
def memory_statistics() -> dict[str, int]: ...
def depthwise_conv2d_forward(
    x: torch.Tensor,
    weight: torch.Tensor,
    scale: torch.Tensor | None,
    shift: torch.Tensor | None,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    eps: float,
    extents: Sequence[int],
    size: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding_before: Sequence[int],
    dilation: Sequence[int],
    channels_last: bool,
    activation: int,
    negative_slope: float,
    y: torch.Tensor,
) -> None: ...
def depthwise_conv2d_backward(
    x: torch.Tensor,
    dy: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    extents: Sequence[int],
    size: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding_before: Sequence[int],
    dilation: Sequence[int],
    channels_last: bool,
    activation: int,
    negative_slope: float,
    gradient_x: torch.Tensor | None,
    gradient_weight: torch.Tensor | None,
    gradient_bias: torch.Tensor | None,
) -> None: ...
def conv2d_forward(
    algorithm: str,
    x: torch.Tensor,
    weight: torch.Tensor,
    weight_strides: Sequence[int],
    scale: torch.Tensor | None,
    shift: torch.Tensor | None,
    mean: torch.Tensor | None,
    variance: torch.Tensor | None,
    addend: torch.Tensor | None,
    eps: float,
    extents: Sequence[int],
    size: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding_before: Sequence[int],
    dilation: Sequence[int],
    activation: int,
    negative_slope: float,
    y: torch.Tensor,
) -> None: ...
def conv2d_input_gradient(
    algorithm: str,
    dy: torch.Tensor,
    weight: torch.Tensor,
    weight_strides: Sequence[int],
    extents: Sequence[int],
    size: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding_before: Sequence[int],
    dilation: Sequence[int],
    dx: torch.Tensor,
) -> None: ...
def conv2d_weight_gradient(
    algorithm: str,
    x: torch.Tensor,
    dy: torch.Tensor,
    extents: Sequence[int],
    size: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding_before: Sequence[int],
    dilation: Sequence[int],
    gradient: torch.Tensor,
    gradient_strides: Sequence[int],
) -> None: ...
def to_channels_last(
    x: torch.Tensor, images: int, channels: int, pixels: int, y: torch.Tensor
) -> None: ...
def from_channels_last(
    x: torch.Tensor, images: int, channels: int, pixels: int, y: torch.Tensor
) -> None: ...
def dropout_flat(
    x: torch.Tensor, size: int, p: float, key: int, call: int, y: torch.Tensor
) -> None: ...
def dropout_planar(
    x: torch.Tensor,
    images: int,
    channels: int,
    pixels: int,
    p: float,
    key: int,
    call: int,
    y: torch.Tensor,
) -> None: ...
def dropout_scale(
    x: torch.Tensor,
    factors: torch.Tensor,
    images: int,
    channels: int,
    pixels: int,
    channels_last: bool,
    y: torch.Tensor,
) -> None: ...
def pool2d_max(
    x: torch.Tensor,
    images: int,
    channels: int,
    rows: Sequence[int],
    columns: Sequence[int],
    channels_last: bool,
    y: torch.Tensor,
    places: torch.Tensor | None,
) -> None: ...
def pool2d_max_backward(
    dy: torch.Tensor,
    places: torch.Tensor,
    images: int,
    channels: int,
    rows: Sequence[int],
    columns: Sequence[int],
    channels_last: bool,
    dx: torch.Tensor,
) -> None: ...
def pool2d_average(
    x: torch.Tensor,
    images: int,
    channels: int,
    rows: Sequence[int],
    columns: Sequence[int],
    channels_last: bool,
    count_padding: bool,
    divisor: int,
    y: torch.Tensor,
) -> None: ...
def pool2d_average_backward(
    dy: torch.Tensor,
    images: int,
    channels: int,
    rows: Sequence[int],
    columns: Sequence[int],
    channels_last: bool,
    count_padding: bool,
    divisor: int,
    dx: torch.Tensor,
) -> None: ...
def pool2d_global_average(
    x: torch.Tensor, images: int, channels: int, pixels: int, channels_last: bool, y: torch.Tensor
) -> None: ...
def pool2d_global_average_backward(
    dy: torch.Tensor, images: int, channels: int, pixels: int, channels_last: bool, dx: torch.Tensor
) -> None: ...
def pool2d_global_max(
    x: torch.Tensor, images: int, channels: int, pixels: int, channels_last: bool, y: torch.Tensor
) -> None: ...
def pool2d_global_max_backward(
    x: torch.Tensor,
    y: torch.Tensor,
    dy: torch.Tensor,
    images: int,
    channels: int,
    pixels: int,
    channels_last: bool,
    dx: torch.Tensor,
) -> None: ...

class RecordedCall:
    @property
    def addresses(self) -> list[int]: ...

class Program:
    def __init__(
        self, calls: Sequence[RecordedCall], places: Sequence[tuple[int, int]], arena_bytes: int
    ) -> None: ...
    def run(self, tensors: Sequence[torch.Tensor]) -> None: ...

def recording_begin() -> None: ...
def is_recording() -> bool: ...
def recording_end() -> list[RecordedCall] | None: ...
def lanes() -> int: ...
def roofline_multiply_add(rounds: int) -> tuple[int, float]: ...
def roofline_copy(x: torch.Tensor, size: int, y: torch.Tensor) -> None: ...
def roofline_sum(x: torch.Tensor, size: int) -> float: ...
def roofline_exchange(x: torch.Tensor, size: int, rounds: int) -> None: ...
def separable_conv2d_forward(
    x: torch.Tensor,
    weights: Sequence[torch.Tensor | None],
    vectors: Sequence[torch.Tensor | None],
    eps: Sequence[float],
    extents: Sequence[int],
    size: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding_before: Sequence[int],
    dilation: Sequence[int],
    shortcut: bool,
    activations: Sequence[int],
    negative_slope: float,
    y: torch.Tensor,
) -> None: ...
