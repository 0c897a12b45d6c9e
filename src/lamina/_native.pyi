"""
lamina's kernels. Called by lamina.ops alone, which checks what comes in.
"""

from collections.abc import Sequence

def isa() -> str: ...
def isas() -> dict[str, bool]: ...
def kinds() -> list[str]: ...
def compiler() -> str: ...
def thread_count() -> int: ...
def activation_forward(function: int, x: int, size: int, negative_slope: float, y: int) -> None: ...
def activation_forward_with_bits(
    function: int, x: int, size: int, negative_slope: float, y: int, bits: int
) -> None: ...
def activation_backward(function: int, saved: int, dy: int, size: int, dx: int) -> None: ...
def activation_backward_of_bits(
    function: int, bits: int, dy: int, size: int, negative_slope: float, dx: int
) -> None: ...
def batch_norm2d_training(
    x: int,
    outer: int,
    channels: int,
    inner: int,
    weight: int,
    bias: int,
    eps: float,
    activation: int,
    negative_slope: float,
    mean: int,
    variance: int,
    y: int,
) -> None: ...
def batch_norm2d_update(
    running_mean: int,
    running_variance: int,
    mean: int,
    variance: int,
    channels: int,
    share: float,
    variance_share: float,
) -> None: ...
def batch_norm2d_inference(
    x: int,
    outer: int,
    channels: int,
    inner: int,
    mean: int,
    variance: int,
    weight: int,
    bias: int,
    eps: float,
    activation: int,
    negative_slope: float,
    y: int,
) -> None: ...
def batch_norm2d_backward(
    x: int,
    dy: int,
    outer: int,
    channels: int,
    inner: int,
    mean: int,
    variance: int,
    weight: int,
    bias: int,
    eps: float,
    activation: int,
    negative_slope: float,
    batch_statistics: bool,
    gradient_weight: int,
    gradient_bias: int,
    dx: int,
) -> None: ...
def memory_is_supported() -> bool: ...
def memory_allocate(
    shape: Sequence[int], strides: Sequence[int], code: int, bits: int, bytes: int
) -> object: ...
def memory_empty_cache() -> int: ...
def memory_set_limit(bytes: int) -> None: ...
def memory_statistics() -> dict[str, int]: ...
def depthwise_conv2d_forward(
    x: int,
    weight: int,
    bias: int,
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
    y: int,
) -> None: ...
def depthwise_conv2d_backward(
    x: int,
    dy: int,
    weight: int,
    bias: int,
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
    gradient_x: int,
    gradient_weight: int,
    gradient_bias: int,
) -> None: ...
def conv2d_forward(
    algorithm: str,
    x: int,
    weight: int,
    weight_strides: Sequence[int],
    scale: int,
    shift: int,
    extents: Sequence[int],
    size: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding_before: Sequence[int],
    dilation: Sequence[int],
    activation: int,
    negative_slope: float,
    y: int,
) -> None: ...
def conv2d_input_gradient(
    algorithm: str,
    dy: int,
    weight: int,
    weight_strides: Sequence[int],
    extents: Sequence[int],
    size: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding_before: Sequence[int],
    dilation: Sequence[int],
    dx: int,
) -> None: ...
def conv2d_weight_gradient(
    algorithm: str,
    x: int,
    dy: int,
    extents: Sequence[int],
    size: Sequence[int],
    output_size: Sequence[int],
    kernel_size: Sequence[int],
    stride: Sequence[int],
    padding_before: Sequence[int],
    dilation: Sequence[int],
    gradient: int,
    gradient_strides: Sequence[int],
) -> None: ...
def to_channels_last(x: int, images: int, channels: int, pixels: int, y: int) -> None: ...
def from_channels_last(x: int, images: int, channels: int, pixels: int, y: int) -> None: ...
def dropout_flat(x: int, size: int, p: float, key: int, call: int, y: int) -> None: ...
def dropout_planar(
    x: int, images: int, channels: int, pixels: int, p: float, key: int, call: int, y: int
) -> None: ...
def dropout_scale(
    x: int, factors: int, images: int, channels: int, pixels: int, channels_last: bool, y: int
) -> None: ...
def pool2d_max(
    x: int,
    images: int,
    channels: int,
    rows: Sequence[int],
    columns: Sequence[int],
    channels_last: bool,
    y: int,
    places: int,
) -> None: ...
def pool2d_max_backward(
    dy: int,
    places: int,
    images: int,
    channels: int,
    rows: Sequence[int],
    columns: Sequence[int],
    channels_last: bool,
    dx: int,
) -> None: ...
def pool2d_average(
    x: int,
    images: int,
    channels: int,
    rows: Sequence[int],
    columns: Sequence[int],
    channels_last: bool,
    count_padding: bool,
    divisor: int,
    y: int,
) -> None: ...
def pool2d_average_backward(
    dy: int,
    images: int,
    channels: int,
    rows: Sequence[int],
    columns: Sequence[int],
    channels_last: bool,
    count_padding: bool,
    divisor: int,
    dx: int,
) -> None: ...
def pool2d_global_average(
    x: int, images: int, channels: int, pixels: int, channels_last: bool, y: int
) -> None: ...
def pool2d_global_average_backward(
    dy: int, images: int, channels: int, pixels: int, channels_last: bool, dx: int
) -> None: ...
def pool2d_global_max(
    x: int, images: int, channels: int, pixels: int, channels_last: bool, y: int
) -> None: ...
def pool2d_global_max_backward(
    x: int, y: int, dy: int, images: int, channels: int, pixels: int, channels_last: bool, dx: int
) -> None: ...
def roofline_multiply_add(rounds: int) -> tuple[int, float]: ...
def roofline_copy(x: int, size: int, y: int) -> None: ...
def roofline_sum(x: int, size: int) -> float: ...
def roofline_exchange(x: int, size: int, rounds: int) -> None: ...
def separable_conv2d_forward(
    x: int,
    weights: Sequence[int],
    parameters: Sequence[int],
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
    y: int,
) -> None: ...
