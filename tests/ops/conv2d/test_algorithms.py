"""Every algorithm of a convolution against float64, each within the bound that is stated for it."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lamina import ops
from lamina.ops.runtime import native
from lamina.theory import conv2d as theory
from lamina.theory import shapes
from lamina.theory.conv2d_algorithms import fft_size
from lamina.theory.numerics import fft_error_bound, winograd_error_bound
from tests.ops.judge import LAYOUTS, assert_as_good_as_torch

pytestmark = pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")

SUMS = ("direct", "im2col", "onednn")
EVERY = (*SUMS, "winograd", "fft")
NAMES = ("output", "dx", "dweight", "dbias")
NOTHING = (None, None, None, None, None, 0.0)
"""That follows a sum: no scale, shift, mean, variance or addend; eps."""


def results(convolve, x: Tensor, weight: Tensor, bias: Tensor, dy: Tensor) -> tuple[Tensor, ...]:
    """Output and gradients, in the precision of ``x``; layouts are the inputs'."""
    leaves = tuple(t.detach().requires_grad_() for t in (x, weight, bias))
    y = convolve(*leaves)
    return y, *torch.autograd.grad(y, leaves, dy.to(y.dtype))


def by_torch(x: Tensor, weight: Tensor, bias: Tensor, window: dict) -> Tensor:
    (top, bottom), (left, right) = window["padding"]
    rest = {name: window[name] for name in ("stride", "dilation", "groups")}
    return F.conv2d(F.pad(x, (left, right, top, bottom)), weight, bias, **rest)


def all_results(algorithm, x, weight, window):
    """Ours, PyTorch's in float32, and float64's."""
    bias = torch.randn(weight.shape[0])
    dy = torch.randn_like(by_torch(x, weight, bias, window))
    return dy, (
        results(
            lambda *leaves: ops.conv2d(*leaves, **window, algorithm=algorithm), x, weight, bias, dy
        ),
        results(lambda *leaves: by_torch(*leaves, window), x, weight, bias, dy),
        results(
            lambda *leaves: by_torch(*leaves, window),
            *(t.double() for t in (x, weight, bias)), dy.double(),
        ),
    )  # fmt: skip


small, amounts = st.integers(1, 5), st.integers(0, 3)
strides, dilations = st.integers(1, 3), st.integers(1, 2)


@st.composite
def convolutions(draw, stride=strides, kernel=small, dilation=dilations):
    """Image, weight and window; any memory of both, any padding, so that one window fits."""
    groups = draw(st.sampled_from([1, 1, 2, 3]))
    inputs, outputs = groups * draw(st.integers(1, 20)), groups * draw(st.integers(1, 20))
    taps, steps = (draw(kernel), draw(kernel)), (draw(dilation), draw(dilation))
    padding = tuple((draw(amounts), draw(amounts)) for _ in range(2))
    size = [
        max(draw(st.integers(1, 14)), step * (tap - 1) + 1 - sum(sides))
        for tap, step, sides in zip(taps, steps, padding, strict=True)
    ]
    torch.manual_seed(draw(st.integers(0, 99)))
    forms = [LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))] for _ in range(2)]
    x = torch.randn(draw(st.integers(1, 3)), inputs, *size).to(memory_format=forms[0])
    weight = torch.randn(outputs, inputs // groups, *taps).to(memory_format=forms[1])
    window = {"stride": (draw(stride), draw(stride)), "padding": padding, "dilation": steps}
    return x, weight, window | {"groups": groups}


@pytest.mark.parametrize("algorithm", SUMS)
@given(case=convolutions())
def test_sums_are_as_good_as_pytorchs(algorithm, case):
    _, (ours, torchs, exact) = all_results(algorithm, *case)
    for name, got, theirs, truth in zip(NAMES, ours, torchs, exact, strict=True):
        assert got.shape == truth.shape, name
        assert_as_good_as_torch(got, theirs, truth, name, rounding=8.0)


@given(case=convolutions(stride=st.just(1)))
def test_fourier_within_its_bound(case):
    x, weight, window = case
    dy, (ours, _, exact) = all_results("fft", *case)
    problem = theory.problem(x.shape, weight.shape[0], weight.shape[2:], **window)
    points, groups = fft_size(problem)[0] * fft_size(problem)[1], window["groups"]
    pixels, taps = dy.shape[2] * dy.shape[3], weight.shape[2] * weight.shape[3]

    def norms(tensor, axes):
        return tensor.double().square().sum(axes).sqrt()

    planes, kernels, out = (norms(t, (2, 3)) for t in (x, weight, dy))
    by_group = planes.unflatten(1, (groups, -1))
    of_output, of_group = kernels.unflatten(0, (groups, -1)), out.unflatten(1, (groups, -1))
    bounds = (
        (taps, weight.shape[1], torch.einsum("ngc,gmc->ngm", by_group, of_output)),
        (taps, weight.shape[0] // groups, torch.einsum("ngm,gmc->ngc", of_group, of_output)),
        (pixels, x.shape[0], torch.einsum("ngc,ngm->gmc", by_group, of_group)),
    )
    bias = 1e-6 * exact[0].abs().max().item()
    for name, got, truth, (count, terms, magnitude) in zip(
        NAMES, ours, exact, bounds, strict=False
    ):
        bound = fft_error_bound(max(points, 2), count, terms, magnitude.max().item())
        assert (got.double() - truth).abs().max() <= bound + bias, name


# Winograd's variants: the theory's name, the kernel's side, the stride.
VARIANTS = [
    ("winograd_4x4", 3, 1),
    ("winograd_2x2", 3, 1),
    ("winograd_2x2", 5, 1),
    ("winograd_4x4", 3, 2),
    ("winograd_2x2", 3, 2),
]


def assert_winograd_within_its_bound(name, x, weight, padding, stride, dy=None):
    window = ((stride, stride), (*padding[0], *padding[1]), (1, 1), 1, name)
    tile, taps = int(name[-1]), weight.shape[2]
    if dy is None:
        dy = torch.randn(theory.output_shape(x.shape, weight.shape[0], taps, stride, padding))
    op = torch.ops.lamina
    y = op.conv2d(x, weight, *NOTHING, *window, "none", 0.0)
    dx = op.conv2d_input_gradient(x, dy, weight, *window)
    dweight = op.conv2d_weight_gradient(x, dy, weight, *window)
    sides = {"stride": stride, "padding": padding, "dilation": 1, "groups": 1}
    leaves = tuple(t.double().requires_grad_() for t in (x, weight))
    exact = by_torch(*leaves, None, sides)
    truths = (exact, *torch.autograd.grad(exact, leaves, dy.double()))
    tiles = dy.shape[0] * -(-dy.shape[2] // tile) * -(-dy.shape[3] // tile)
    peaks = {"x": x, "w": weight, "dy": dy}
    peaks = {key: value.abs().max().item() for key, value in peaks.items()}
    passes = (
        ("forward", x.shape[1], peaks["x"], peaks["w"], y, truths[0]),
        ("input_gradient", weight.shape[0], peaks["dy"], peaks["w"], dx, truths[1]),
        ("weight_gradient", tiles, peaks["x"], peaks["dy"], dweight, truths[2]),
    )
    for pass_, terms, largest, other, got, truth in passes:
        bound = winograd_error_bound(tile, terms, largest, other, taps, stride=stride, pass_=pass_)
        assert got.shape == truth.shape, pass_
        assert (got.double() - truth).abs().max() <= bound, f"{name} {pass_}"


@pytest.mark.parametrize(("name", "kernel", "stride"), VARIANTS)
@given(case=convolutions(stride=st.just(1), kernel=st.just(1), dilation=st.just(1)))
def test_winograd_within_its_bound(name, kernel, stride, case):
    x, weight, window = case
    weight = torch.randn(weight.shape[0], x.shape[1], kernel, kernel)
    padding = tuple(
        (before + max(0, kernel - size - before - after), after)
        for (before, after), size in zip(window["padding"], x.shape[2:], strict=True)
    )
    assert_winograd_within_its_bound(name, x, weight, padding, stride)


@pytest.mark.parametrize(("name", "kernel", "stride"), VARIANTS)
@pytest.mark.parametrize("channels", [40, 190])  # a thread's own tiles; and of a large weight
def test_winograd_of_many_tiles(name, kernel, stride, channels):
    x = torch.randn(2, channels, 43, 45).to(memory_format=torch.channels_last)
    weight = torch.randn(channels - 7, channels, kernel, kernel)
    padding = ((kernel // 2,) * 2,) * 2
    assert_winograd_within_its_bound(name, x, weight, padding, stride)


@pytest.mark.parametrize(("name", "kernel", "stride"), VARIANTS)
@pytest.mark.parametrize("spread", [1e3, 1e6])
def test_winograd_over_a_large_dynamic_range(name, kernel, stride, spread):
    """A huge value beside small ones: the digits that the tile loses are those of the bound."""
    x = torch.randn(2, 20, 16, 16) * 10.0 ** torch.randint(-6, 1, (2, 20, 16, 16)) * spread
    x[..., 5, 5] = spread
    weight = torch.randn(24, 20, kernel, kernel) * 10.0 ** torch.randint(-4, 3, (24, 20, 1, 1))
    shape = (2, 24, 16 // stride, 16 // stride)
    dy = torch.randn(shape) * 10.0 ** torch.randint(-4, 3, shape)
    sides = ((kernel // 2,) * 2,) * 2
    assert_winograd_within_its_bound(name, x, weight, sides, stride, dy)
    signs = torch.where(torch.rand(2, 20, 16, 16) < 0.5, -1.0, 1.0)  # every term at its largest
    assert_winograd_within_its_bound(name, signs * spread, weight.sign(), sides, stride, dy.sign())


@pytest.mark.parametrize("padding", [0, 1, 2, ((0, 1), (0, 1)), ((1, 0), (0, 1)), ((5, 0), (3, 6))])
@pytest.mark.parametrize("size", [(9, 9), (12, 7), (29, 30)])
def test_winograd_of_stride_2_by_any_padding(padding, size):
    """The input's gradient has tiles that begin at an even pixel or at an odd one."""
    x, weight = torch.randn(2, 3, *size), torch.randn(5, 3, 3, 3)
    sides = shapes.resolve_padding(padding, (3, 3), size, (2, 2), (1, 1))
    for name in ("winograd_4x4", "winograd_2x2"):
        assert_winograd_within_its_bound(name, x, weight, sides, 2)


AGREES = """
import torch
torch.manual_seed(0)
op = torch.ops.lamina
import lamina.ops
for name, kernel, stride in (
    ("direct", 3, 1), ("direct", 5, 2), ("direct", 1, 1), ("winograd_4x4", 3, 1),
    ("winograd_2x2", 3, 1), ("winograd_2x2", 5, 1), ("winograd_4x4", 3, 2),
    ("winograd_2x2", 3, 2), ("im2col", 3, 2), ("fft", 3, 1),
):
    x, w = torch.randn(2, 19, 11, 9), torch.randn(35, 19, kernel, kernel)
    window = ((stride,) * 2, (2, 1, 1, 2), (1, 1), 1)
    y, e = (op.conv2d(x, w, *[None] * 5, 0.0, *window, a, "none", 0.0) for a in (name, "onednn"))
    dy = torch.randn_like(e)
    pairs = [(y, e)]
    for gradient in (op.conv2d_input_gradient, op.conv2d_weight_gradient):
        pairs.append(tuple(gradient(x, dy, w, *window, a) for a in (name, "onednn")))
    for got, expected in pairs:
        assert (got - expected).abs().max() <= 1e-4 * expected.abs().max(), (name, kernel)
"""


@pytest.mark.parametrize("isa", [isa for isa, runs in native.instruction_sets().items() if runs])
def test_every_instruction_set(isa):
    subprocess.run(
        [sys.executable, "-c", AGREES], env={**os.environ, "LAMINA_ISA": isa}, check=True
    )


@pytest.mark.parametrize(
    ("algorithm", "stride"), [*((name, 1) for name in EVERY), ("direct", 2), ("winograd", 2)]
)
@pytest.mark.parametrize("activation", [*native.ACTIVATIONS[1:], None])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_fused_activation_is_the_one_after(algorithm, stride, activation, layout):
    x = torch.randn(2, 5, 8, 7).to(memory_format=LAYOUTS[layout])
    weight, bias = torch.randn(6, 5, 3, 3), torch.randn(6)
    call = {"stride": stride, "padding": 1, "algorithm": algorithm}
    with torch.no_grad():
        fused = ops.conv2d(x, weight, bias, **call, activation=activation)
        plain = ops.conv2d(x, weight, bias, **call)
        after = plain if activation is None else ops.activation(plain, activation)
    assert fused.stride() == plain.stride()
    torch.testing.assert_close(fused, after, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("algorithm", [*EVERY, "auto"])
def test_no_image_and_one_pixel(algorithm):
    weight = torch.randn(4, 3, 3, 3, requires_grad=True)
    for shape in ((0, 3, 5, 5), (1, 3, 1, 1), (2, 3, 1, 6)):
        x = torch.randn(shape, requires_grad=True)
        y = ops.conv2d(x, weight, padding=1, algorithm=algorithm)
        expected = F.conv2d(x, weight, padding=1)
        torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
        ours, theirs = (torch.autograd.grad(z.sum(), (x, weight)) for z in (y, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["direct", "winograd_4x4", "winograd_2x2"])
def test_more_than_two_gibibytes(name):
    """Elements past 2^31 bytes: the last image's results are those of that image alone."""
    x = torch.zeros(9, 64, 1024, 1024).to(memory_format=torch.channels_last)
    assert x.nbytes > 2**31
    x[-1, :, -40:, -40:] = torch.randn(64, 40, 40)
    weight = torch.randn(8, 64, 3, 3)
    window = ((1, 1), (1, 1, 1, 1), (1, 1), 1, name, "none", 0.0)
    y = torch.ops.lamina.conv2d(x, weight, *NOTHING, *window)
    corner = F.conv2d(x[-1:, :, -40:, -40:], weight, padding=1)
    torch.testing.assert_close(y[-1:, :, -38:, -38:], corner[..., 2:, 2:], rtol=1e-3, atol=1e-3)
    assert not y[:-1].any()
