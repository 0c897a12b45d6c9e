"""A row for each error: what came, and the one line that says what is allowed."""

from __future__ import annotations

import math

import pytest
import torch

from lamina import nn

NAN = math.nan

CONSTRUCTORS = [
    (lambda: nn.Conv2d(0, 4, 3), "in_channels must be a positive integer, got 0"),
    (lambda: nn.Conv2d(-3, 4, 3), "in_channels must be a positive integer, got -3"),
    (lambda: nn.Conv2d(3.0, 4, 3), "in_channels must be a positive integer, got 3.0"),
    (lambda: nn.Conv2d(True, 4, 3), "in_channels must be a positive integer, got True"),
    (lambda: nn.Conv2d(3, 0, 3), "out_channels must be a positive integer, got 0"),
    (lambda: nn.Conv2d(3, 4, 0), "kernel_size must be a positive integer or a pair"),
    (lambda: nn.Conv2d(3, 4, (3, 3, 3)), r"kernel_size must be .* got \(3, 3, 3\)"),
    (lambda: nn.Conv2d(3, 4, 3, stride=0), "stride must be a positive integer"),
    (lambda: nn.Conv2d(3, 4, 3, dilation=(1, -1)), r"dilation must be .* got \(1, -1\)"),
    (lambda: nn.Conv2d(3, 4, 3, padding=-1), "padding must be a non-negative integer"),
    (lambda: nn.Conv2d(3, 4, 3, padding=((0, -1), (0, 0))), "padding must be a non-negative"),
    (lambda: nn.Conv2d(3, 4, 3, padding="full"), "'same' or 'valid', got 'full'"),
    (lambda: nn.Conv2d(3, 4, 3, groups=2), "groups must divide in_channels = 3, got 2"),
    (lambda: nn.Conv2d(4, 3, 3, groups=2), "groups must divide out_channels = 3, got 2"),
    (lambda: nn.Conv2d(4, 4, 3, groups=0), "groups must be a positive integer, got 0"),
    (lambda: nn.Conv2d(3, 4, 3, padding_mode="mirror"), "padding_mode must be one of 'zeros'"),
    (lambda: nn.PointwiseConv2d(3, 0), "out_channels must be a positive integer, got 0"),
    (lambda: nn.DepthwiseConv2d(0, 3), "in_channels must be a positive integer, got 0"),
    (lambda: nn.DepthwiseConv2d(3, 3, depth_multiplier=0), "depth_multiplier must be a positive"),
    (lambda: nn.DepthwiseConv2d(3, 3, padding=-2), "padding must be a non-negative integer"),
    (lambda: nn.SeparableConv2d(3, -1, 3), "out_channels must be a positive integer, got -1"),
    (lambda: nn.SeparableConv2d(3, 4, 3, stride=(2, 0)), r"stride must be .* got \(2, 0\)"),
    (lambda: nn.BatchNorm2d(0), "num_features must be a positive integer, got 0"),
    (lambda: nn.BatchNorm2d(3, eps=0), "eps must be a finite number above 0, got 0"),
    (lambda: nn.BatchNorm2d(3, eps=NAN), "eps must be a finite number above 0, got nan"),
    (lambda: nn.BatchNorm2d(3, momentum=NAN), r"momentum must be a number in \[0, 1\], got nan"),
    (lambda: nn.BatchNorm2d(3, momentum=1.5), r"momentum must be a number in \[0, 1\], got 1.5"),
    (lambda: nn.BatchNorm2d(3, running_variance="n"), "running_variance must be one of"),
    (lambda: nn.MaxPool2d(0), "kernel_size must be a positive integer"),
    (lambda: nn.MaxPool2d(2, stride=0), "stride must be a positive integer"),
    (lambda: nn.MaxPool2d(2, dilation=0), "dilation must be a positive integer"),
    (lambda: nn.MaxPool2d(3, padding=2), "padding must be at most half of the window"),
    (lambda: nn.MaxPool2d(3, padding=-1), "padding must be a non-negative integer"),
    (lambda: nn.AvgPool2d(2, padding=2), "padding must be at most half of the window"),
    (lambda: nn.AvgPool2d(2, divisor_override=0), "divisor_override must be a positive integer"),
    (lambda: nn.AdaptiveAvgPool2d(0), "output_size must be a positive integer, got 0"),
    (lambda: nn.AdaptiveMaxPool2d((1, 2, 3)), r"output_size must be .* got \(1, 2, 3\)"),
    (lambda: nn.Dropout(NAN), r"p must be a number in \[0, 1\], got nan"),
    (lambda: nn.Dropout(-0.1), r"p must be a number in \[0, 1\], got -0.1"),
    (lambda: nn.Dropout(1.1), r"p must be a number in \[0, 1\], got 1.1"),
    (lambda: nn.Dropout(0.5, seed=-1), "seed must be a non-negative integer, got -1"),
    (lambda: nn.Dropout(0.5, noise_shape=(0, 1)), "noise_shape must be a positive integer, got 0"),
    (lambda: nn.Dropout(0.5, noise_shape=3), "noise_shape must be a tuple of sizes or None"),
    (lambda: nn.Dropout2d(2), r"p must be a number in \[0, 1\], got 2"),
    (lambda: nn.DropPath("half"), r"p must be a number in \[0, 1\], got 'half'"),
    (lambda: nn.Linear(-1, 2), "in_features must be a non-negative integer, got -1"),
    (lambda: nn.Linear(2, 2.5), "out_features must be a non-negative integer, got 2.5"),
    (lambda: nn.Flatten(order="whc"), "order must be one of 'chw', 'hwc', got 'whc'"),
    (lambda: nn.Flatten(0, order="hwc"), r"order='hwc' flattens .* got start_dim=0"),
    (lambda: nn.LeakyReLU(NAN), "negative_slope must be a finite number, got nan"),
    (lambda: nn.ELU(math.inf), "alpha must be a finite number, got inf"),
    (lambda: nn.GELU("erf"), "approximate must be one of 'none', 'tanh', got 'erf'"),
    (lambda: nn.SqueezeExcite(0, 1), "in_channels must be a positive integer, got 0"),
    (lambda: nn.SqueezeExcite(4, 0), "squeeze_channels must be a positive integer, got 0"),
    (lambda: nn.SqueezeExcite(4, 1, gate="open"), "gate must be one of .* got 'open'"),
]


@pytest.mark.parametrize(("build", "message"), CONSTRUCTORS, ids=[text for _, text in CONSTRUCTORS])
def test_constructor_says_what_is_allowed(build, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        build()
    assert "\n" not in str(caught.value)


IMAGE_LAYERS = {
    "conv2d": lambda: nn.Conv2d(3, 4, 3),
    "depthwise_conv2d": lambda: nn.DepthwiseConv2d(3, 3),
    "separable_conv2d": lambda: nn.SeparableConv2d(3, 4, 3),
    "squeeze_excite": lambda: nn.SqueezeExcite(3, 2),
    "max_pool2d": lambda: nn.MaxPool2d(3),
    "avg_pool2d": lambda: nn.AvgPool2d(3),
    "adaptive_avg_pool2d": lambda: nn.AdaptiveAvgPool2d(1),
    "adaptive_max_pool2d": lambda: nn.AdaptiveMaxPool2d(1),
    "global_avg_pool2d": lambda: nn.GlobalAvgPool2d(),
    "global_max_pool2d": lambda: nn.GlobalMaxPool2d(),
}
every_image_layer = pytest.mark.parametrize(("op", "build"), IMAGE_LAYERS.items(), ids=IMAGE_LAYERS)


@every_image_layer
@pytest.mark.parametrize("shape", [(), (5,), (5, 5), (1, 1, 3, 5, 5)], ids=str)
def test_another_rank(op: str, build, shape) -> None:
    with pytest.raises(ValueError, match=f"{op}: the input must be .N, C, H, W.") as caught:
        build()(torch.zeros(shape))
    assert str(shape) in str(caught.value)


@every_image_layer
def test_an_image_without_pixels(op: str, build) -> None:
    with pytest.raises(ValueError, match="at least one pixel"):
        build()(torch.zeros(2, 3, 0, 5))


@every_image_layer
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool], ids=str)
def test_an_integer_image(op: str, build, dtype) -> None:
    x = torch.ones((1, 3, 5, 5), dtype=dtype)
    if "max" in op and (dtype != torch.bool or op == "global_max_pool2d"):
        assert build()(x).dtype == dtype
        return
    with pytest.raises(TypeError, match=f"must be floating-point.*, got {dtype}"):
        build()(x)


CONVOLUTIONS = ["conv2d", "depthwise_conv2d", "separable_conv2d"]


@pytest.mark.parametrize("op", [*CONVOLUTIONS, "squeeze_excite"])
@pytest.mark.parametrize("channels", [1, 4, 6])
def test_another_number_of_channels(op: str, channels: int) -> None:
    with pytest.raises(ValueError, match=f"the input must have 3 channels, got {channels}"):
        IMAGE_LAYERS[op]()(torch.zeros(1, channels, 5, 5))


@pytest.mark.parametrize("op", [*CONVOLUTIONS, "max_pool2d", "avg_pool2d"])
def test_a_kernel_larger_than_the_padded_image(op: str) -> None:
    with pytest.raises(ValueError, match="kernel_size must fit the padded input: height 3"):
        IMAGE_LAYERS[op]()(torch.zeros(1, 3, 2, 5))


@pytest.mark.parametrize("op", [*CONVOLUTIONS, "squeeze_excite"])
def test_two_dtypes_are_named(op: str) -> None:
    with pytest.raises(TypeError, match=r"torch.float64 and the weight is torch.float32"):
        IMAGE_LAYERS[op]()(torch.zeros(1, 3, 5, 5, dtype=torch.float64))


CALLS = [
    (lambda: nn.Linear(3, 2)(torch.zeros(2, 4)), ValueError, r"must be \(..., 3\), got shape"),
    (lambda: nn.Linear(3, 2)(torch.tensor(1.0)), ValueError, r"must be \(..., 3\), got shape \(\)"),
    (lambda: nn.Linear(3, 2)(torch.ones(3).long()), TypeError, "floating-point, got torch.int64"),
    (lambda: nn.Linear(3, 2)(torch.ones(3).double()), TypeError, "torch.float64 and the weight"),
    (lambda: nn.BatchNorm2d(3)(torch.zeros(2, 4, 5, 5)), ValueError, "must have 3 channels, got 4"),
    (lambda: nn.BatchNorm2d(3)(torch.zeros(2, 3, 5)), ValueError, "expected 4D input"),
    (lambda: nn.BatchNorm1d(3)(torch.zeros(2, 3, 5, 5)), ValueError, "expected 2D or 3D input"),
    (lambda: nn.BatchNorm2d(3)(torch.zeros(1, 3, 1, 1)), ValueError, "more than one value per ch"),
    (lambda: nn.BatchNorm2d(3)(torch.ones(2, 3, 5, 5).int()), TypeError, "got torch.int32"),
    (
        lambda: nn.BatchNorm2d(3)(torch.ones(2, 3, 5, 5).double()),
        TypeError,
        "input is torch.float64 and the layer is torch.float32",
    ),
    (lambda: nn.Dropout()(torch.ones(3).long()), TypeError, "floating-point, got torch.int64"),
    (lambda: nn.Dropout2d()(torch.ones(3, 3)), ValueError, r"\(N, C, H, W\), got shape \(3, 3\)"),
    (
        lambda: nn.Dropout(noise_shape=(None, 1))(torch.ones(2, 3, 4)),
        ValueError,
        r"noise_shape.*got \(None, 1\)",
    ),
    (
        lambda: nn.Dropout(noise_shape=(None, 2))(torch.ones(2, 3)),
        ValueError,
        r"noise_shape.*got \(None, 2\)",
    ),
    (lambda: nn.Flatten(order="hwc")(torch.ones(2, 3)), ValueError, r"got shape \(2, 3\)"),
]


@pytest.mark.parametrize(("call", "error", "message"), CALLS, ids=[row[2] for row in CALLS])
def test_call_says_what_is_allowed(call, error, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


PREDICTIONS = [
    (lambda: nn.Conv2d(3, 4, 3).output_shape((1, 2, 5, 5)), "must have 3 channels, got 2"),
    (
        lambda: nn.Conv2d(3, 4, 3).output_shape((3, 5, 5)),
        r"must be \(N, C, H, W\), got \(3, 5, 5\)",
    ),
    (lambda: nn.Conv2d(3, 4, 7).cost((1, 3, 5, 5)), "kernel_size must fit the padded input"),
    (lambda: nn.Linear(3, 4).cost((2, 5)), r"input_shape must be \(..., 3\), got \(2, 5\)"),
    (lambda: nn.BatchNorm2d(3).output_shape((2, 5, 4, 4)), "3"),
    (lambda: nn.MaxPool2d(9).output_shape((1, 3, 5, 5)), "kernel_size must fit the padded input"),
    (lambda: nn.ReLU().cost((1, 3), direction="up"), "direction"),
]


@pytest.mark.parametrize(("predict", "message"), PREDICTIONS, ids=[row[1] for row in PREDICTIONS])
def test_prediction_refuses_what_the_call_would(predict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        predict()


def test_in_place_change_of_a_saved_tensor_is_noticed() -> None:
    x = torch.randn(2, 3, 5, 5, requires_grad=True)
    hidden = x * 1
    y = nn.BatchNorm2d(3)(hidden)
    hidden.add_(1)
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        y.sum().backward()


def test_infinity_times_zero_is_nan_in_a_convolution() -> None:
    layer = nn.Conv2d(1, 1, 1, bias=False)
    torch.nn.init.zeros_(layer.weight)
    assert bool(layer(torch.full((1, 1, 2, 2), math.inf)).isnan().all())


def test_expanded_and_overlapping_inputs() -> None:
    overlapping = torch.arange(60.0).as_strided((2, 3, 4, 4), (4, 2, 3, 1))
    expanded = torch.randn(1, 3, 1, 4).expand(2, 3, 4, 4)
    for x in (overlapping, expanded, torch.randn(3, 3, 4, 4)[1:]):
        for layer in (nn.Conv2d(3, 2, 3), nn.BatchNorm2d(3), nn.MaxPool2d(2), nn.AvgPool2d(2)):
            torch.testing.assert_close(
                layer(x), layer(x.clone(memory_format=torch.contiguous_format))
            )


def test_one_layer_in_eight_threads() -> None:
    from concurrent.futures import ThreadPoolExecutor

    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2)).eval()
    images = [torch.randn(2, 3, 9, 9) for _ in range(16)]
    with torch.no_grad(), ThreadPoolExecutor(8) as pool:
        expected = [model(image) for image in images]
        for got, one in zip(pool.map(model, images), expected, strict=True):
            torch.testing.assert_close(got, one, rtol=1e-5, atol=1e-6)
