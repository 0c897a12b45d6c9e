"""What follows a convolution's sum, by every algorithm, against float64."""

from __future__ import annotations

import importlib
from itertools import cycle, product
from typing import NamedTuple

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lamina import ops
from lamina.ops.finish import Finish, apply_finish, cost_of_finish, operations
from lamina.ops.runtime import native
from lamina.ops.runtime.registration import OPS
from tests.ops.judge import LAYOUTS, assert_as_good_as_torch

pytestmark = pytest.mark.skipif("conv2d" not in native.kinds(), reason="no compiler")

EPS, SLOPE = 0.1, 0.2
ALGORITHMS = ("auto", "direct", "im2col", "fft", "onednn", "winograd_4x4", "winograd_2x2")
SUBSETS = [*product([False, True], repeat=4)]
"""Which of scale, shift, mean with variance, and addend there are."""


class Case(NamedTuple):
    """A convolution; groups of -1 for a depthwise one."""

    x: Tensor
    weight: Tensor
    stride: int = 1
    padding: int = 0
    groups: int = 1
    algorithm: str = "auto"

    def ours(self, behind: tuple[Tensor | None, ...], activation: str) -> Tensor:
        op = torch.ops.lamina
        window = ([self.stride] * 2, [self.padding] * 4, [1, 1])
        options = (activation, SLOPE)
        if self.groups < 0:
            assert behind[4] is None
            return op.depthwise_conv2d(*self[:2], *behind[:4], EPS, *window, *options)
        window = (*window, self.groups, self.algorithm)
        return op.conv2d(*self[:2], *behind, EPS, *window, *options)

    def by_torch(self, behind: tuple[Tensor | None, ...], activation: str) -> Tensor:
        groups = self.x.shape[1] if self.groups < 0 else self.groups
        z = F.conv2d(self.x, self.weight, None, self.stride, self.padding, 1, groups)
        scale, shift, mean, variance, addend = (
            t.view(-1, 1, 1) if t is not None and t.dim() == 1 else t for t in behind
        )
        z = z if mean is None else (z - mean) / (variance + EPS).sqrt()
        z = z if scale is None else z * scale
        z = z if shift is None else z + shift
        z = z if addend is None else z + addend
        if activation == "leaky_relu":
            return F.leaky_relu(z, SLOPE)
        return z if activation == "none" else getattr(F, activation)(z)

    def double(self) -> Case:
        return self._replace(x=self.x.double(), weight=self.weight.double())


def drawn(case: Case, subset: tuple[bool, ...], layout: str) -> tuple[Tensor | None, ...]:
    """Scale, shift, mean, variance and addend; those that the subset has."""
    has_scale, has_shift, normalizes, adds = subset
    result = case.by_torch((None,) * 5, "none")
    channels = result.shape[1]
    addend = torch.randn(result.shape).to(memory_format=LAYOUTS[layout])
    return (
        torch.randn(channels) if has_scale else None,
        torch.randn(channels) if has_shift else None,
        torch.randn(channels) if normalizes else None,
        torch.rand(channels) + 0.1 if normalizes else None,
        addend if adds and case.groups > 0 else None,
    )


def in_double(tensors: tuple[Tensor | None, ...]) -> tuple[Tensor | None, ...]:
    return tuple(None if t is None else t.double() for t in tensors)


def check(case: Case, subset: tuple[bool, ...], activation: str, layout: str) -> None:
    behind = drawn(case, subset, layout)
    ours = case.ours(behind, activation)
    truth = case.double().by_torch(in_double(behind), activation)
    what = f"{case.algorithm} {subset} {activation}"
    assert ours.shape == truth.shape
    plain = case.ours((None,) * 5, "none")
    assert ours.stride() == plain.stride(), what
    if "winograd" in case.algorithm:
        # Of the sums; scales are at most some tens of times larger.
        assert (ours - truth).abs().max() <= 1e-3 * max(1.0, truth.abs().max().item()), what
    else:
        assert_as_good_as_torch(ours, case.by_torch(behind, activation), truth, what, rounding=64)


def convolution(algorithm: str, layout: str, taps: int = 3) -> Case:
    x = torch.randn(2, 5, 9, 7).to(memory_format=LAYOUTS[layout])
    return Case(x, torch.randn(37, 5, taps, taps), 1, taps // 2, 1, algorithm)


CASES = {
    **{name: lambda layout, name=name: convolution(name, layout) for name in ALGORITHMS},
    "pointwise": lambda layout: convolution("direct", layout, 1),
    "pixels": lambda layout: Case(torch.randn(3, 40, 1, 1), torch.randn(41, 40, 1, 1)),
    "grey": lambda layout: Case(
        torch.randn(2, 3, 9, 7), torch.randn(1, 3, 3, 3), 2, 1, 1, "direct"
    ),
    "groups": lambda layout: Case(
        torch.randn(2, 6, 9, 7).to(memory_format=LAYOUTS[layout]),
        *(torch.randn(10, 3, 3, 3), 2, 1, 2, "direct"),
    ),
    "depthwise": lambda layout: Case(
        torch.randn(2, 19, 9, 7).to(memory_format=LAYOUTS[layout]),
        *(torch.randn(38, 1, 3, 3), 1, 1, -1),
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CASES)
def test_every_subset_with_every_activation(name, layout):
    case = CASES[name](layout)
    layouts = cycle(LAYOUTS)
    for subset, activation in product(SUBSETS, native.ACTIVATIONS):
        check(case, subset, activation, next(layouts))


@st.composite
def cases(draw) -> Case:
    algorithm = draw(st.sampled_from([*ALGORITHMS, "depthwise"]))
    winograd, depthwise = algorithm.startswith("winograd"), algorithm == "depthwise"
    taps = 3 if winograd else draw(st.sampled_from([1, 1, 2, 3, 5]))
    stride = 1 if algorithm == "fft" else draw(st.integers(1, 2))
    padding = draw(st.integers(0, taps - 1))
    least = max(1, taps - 2 * padding)
    size = [draw(st.integers(least, least + 20)) for _ in range(2)]
    groups = 1 if winograd or draw(st.booleans()) else 2
    inputs, outputs = groups * draw(st.integers(1, 20)), groups * draw(st.integers(1, 40))
    torch.manual_seed(draw(st.integers(0, 99)))
    x = torch.randn(draw(st.integers(1, 3)), inputs, *size)
    weight = torch.randn(outputs, inputs // groups, taps, taps)
    if depthwise:
        weight = torch.randn(inputs * draw(st.integers(1, 3)), 1, taps, taps)
    x, weight = (
        t.to(memory_format=LAYOUTS[draw(st.sampled_from(sorted(LAYOUTS)))]) for t in (x, weight)
    )
    return Case(x, weight, stride, padding, -1 if depthwise else groups, algorithm)


@given(
    case=cases(),
    subset=st.sampled_from(SUBSETS),
    activation=st.sampled_from(native.ACTIVATIONS),
    layout=st.sampled_from(sorted(LAYOUTS)),
)
def test_drawn_shapes(case, subset, activation, layout):
    check(case, subset, activation, layout)


def gradients(y: Tensor, leaves: list[Tensor], dy: Tensor, order: int) -> tuple[Tensor, ...]:
    first = torch.autograd.grad(y, leaves, dy, create_graph=order == 2)
    if order == 1:
        return first
    total = torch.stack([g.square().sum() for g in first]).sum()
    return torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)


@pytest.mark.parametrize("order", [1, 2])
@pytest.mark.parametrize("name", CASES)
def test_gradients_of_every_tensor(name, order):
    """Of a graph that was traced without gradients and is differentiated all the same."""
    pairs = [*product(SUBSETS, native.ACTIVATIONS)]
    for subset, activation in pairs if order == 1 else pairs[::7]:
        torch.manual_seed(SUBSETS.index(subset))
        case = CASES[name]("nchw")
        behind = drawn(case, subset, "channels_last")
        found = []
        for number in (torch.float32, torch.float64):
            tensors = [
                None if t is None else t.to(number, copy=True).requires_grad_()
                for t in (case.x, case.weight, *behind)
            ]
            own = case._replace(x=tensors[0], weight=tensors[1])
            run = own.ours if number is torch.float32 else own.by_torch
            y = run(tuple(tensors[2:]), activation)
            dy = torch.linspace(-1, 1, y.numel(), dtype=number).view(y.shape)
            found.append(gradients(y, [t for t in tensors if t is not None], dy, order))
        for number, (got, truth) in enumerate(zip(*found, strict=True)):
            error = (got - truth).abs().max().item()
            scale = max(1.0, truth.abs().max().item())
            assert error <= 2e-3 * scale, f"{number} of {subset} {activation}: {error}"


def test_a_bias_alone_is_the_kernels_gradient(monkeypatch):
    """Nothing else is: no activation, no scale, nothing added."""

    def refuse(*_):
        raise AssertionError("PyTorch's ops")

    op = importlib.import_module("lamina.ops.conv2d.op")
    monkeypatch.setattr(op, "differentiable_gradients", refuse)
    case = convolution("direct", "nchw")
    x, shift = case.x.requires_grad_(), torch.randn(37, requires_grad=True)
    y = case._replace(x=x).ours((None, shift, None, None, None), "none")
    torch.autograd.grad(y.sum(), (x, shift))
    y = case._replace(x=x).ours((None, shift, None, None, None), "relu")
    with pytest.raises(AssertionError, match="PyTorch's ops"):
        torch.autograd.grad(y.sum(), (x, shift))


@pytest.mark.parametrize("algorithm", ["direct", "im2col"])
def test_what_does_not_fit_is_refused(algorithm):
    case, vector = convolution(algorithm, "nchw"), torch.ones(37)
    for at in range(4):
        behind: list[Tensor | None] = [vector, vector, vector, vector, None]
        behind[at] = torch.ones(1)  # PyTorch's ops would broadcast it
        with pytest.raises(ValueError, match=r"conv2d: .* must have shape"):
            case.ours(tuple(behind), "relu")
    for wrong in (torch.ones(2, 37, 1, 1), torch.ones(37, 9, 7)):
        with pytest.raises(ValueError, match="the addend must have shape"):
            case.ours((None, None, None, None, wrong), "relu")
    with pytest.raises(TypeError, match="the addend must be float32"):
        case.ours((None, None, None, None, torch.ones(2, 37, 9, 7).double()), "relu")
    for lonely in ((None, None, vector, None, None), (None, None, None, vector, None)):
        with pytest.raises(ValueError, match="mean and variance come together"):
            case.ours(lonely, "relu")


def test_statistics_are_read_in_every_call():
    case, variance = convolution("direct", "nchw"), torch.ones(37)
    before = case.ours((None, None, torch.zeros(37), variance, None), "none")
    variance.mul_(100)
    after = case.ours((None, None, torch.zeros(37), variance, None), "none")
    torch.testing.assert_close(after * (100 + EPS) ** 0.5, before * (1 + EPS) ** 0.5)


@pytest.mark.parametrize("name", ["conv2d", "depthwise_conv2d"])
def test_the_books_have_every_operation(name):
    """Those of the sum, and one for each of what follows; an activation has its own number."""
    op, vector = OPS[name], torch.ones(6)
    image = torch.ones(2, 6, 5, 5)
    inputs = 1 if name == "depthwise_conv2d" else 6
    options = ([1, 1], [1, 1, 1, 1], [1, 1])
    options += (1, "direct") if name == "conv2d" else ()

    def cost(activation, *behind):
        weight = torch.ones(6, inputs, 3, 3)
        return op.cost(op.named((image, weight, *behind, EPS, *options, activation, SLOPE)))

    none = (None,) * (5 if name == "conv2d" else 4)
    plain = cost("none", *none)
    biased = cost("none", None, vector, *none[2:])
    assert biased.parameters - plain.parameters == 6
    assert biased.other_flops - plain.other_flops == image.numel()
    addend = (image,) if name == "conv2d" else ()
    all_of_it = cost("relu", vector, vector, vector, vector, *addend)
    finish = Finish(vector, vector, "relu", vector, vector, EPS, *addend)
    assert operations(finish) == 3 + len(addend)
    assert all_of_it == plain + cost_of_finish(finish, image.numel())
    assert all_of_it.bytes_read - plain.bytes_read == 4 * (24 + len(addend) * image.numel())


def test_a_block_takes_an_addend_and_another_slope():
    """Its kernel has neither: the block is then one layer after the other."""
    x, depthwise, pointwise = (
        torch.randn(2, 4, 6, 6),
        torch.randn(4, 1, 3, 3),
        torch.randn(5, 4, 1, 1),
    )
    addend = torch.randn(2, 5, 6, 6)
    last = Finish(activation="leaky_relu", addend=addend, negative_slope=SLOPE)
    with torch.no_grad():
        y = ops.separable_block(x, depthwise, pointwise, padding=1, pointwise=last)
    z = F.conv2d(F.conv2d(x, depthwise, None, 1, 1, 1, 4), pointwise)
    expected = F.leaky_relu(z + addend, SLOPE)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", native.ACTIVATIONS)
def test_in_place_is_the_same_in_its_own_memory(activation):
    z, vector = torch.randn(2, 5, 4, 3), torch.rand(5) + 0.5
    name = None if activation == "none" else activation
    finish = Finish(vector, vector, name, vector, vector, EPS, torch.randn(2, 5, 4, 3), SLOPE)
    expected = apply_finish(z, finish)
    assert apply_finish(z, finish, in_place=True).data_ptr() == z.data_ptr()
    torch.testing.assert_close(z, expected)
