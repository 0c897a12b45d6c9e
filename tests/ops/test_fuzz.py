"""Drawn calls of every op: odd memory, hooks, subsets of gradients, wrong arguments."""

from __future__ import annotations

import importlib
from random import Random

import pytest
import torch
from torch import Tensor

from tests.ops import calls
from tests.ops.calls import OPS, Call, Tensors

REFUSALS = (ValueError, TypeError, RuntimeError, IndexError)


@pytest.fixture(params=["kernels", "shipped sizes"], autouse=True)
def who_computes(request, monkeypatch):
    """Small calls go to the kernels, or as users have them to PyTorch's ops."""
    if request.param == "kernels":
        monkeypatch.setattr("lamina.theory.activation.FEWEST_ELEMENTS", 0)
        monkeypatch.setattr(importlib.import_module("lamina.ops.dropout"), "_SMALLEST", 0)
    else:
        request.getfixturevalue("small_calls")


def assert_close(ours: Tensor, truth: Tensor, what: str) -> None:
    assert ours.shape == truth.shape, f"{what}: shape"
    error = (ours.double() - truth).abs().max().item() if truth.numel() else 0.0
    scale = truth.abs().max().item() if truth.numel() else 0.0
    assert error <= 1e-4 * scale + 1e-5, f"{what}: off by {error:.3g} of {scale:.3g}"


def draw_tensors(call: Call, rng: Random) -> Tensors:
    """In odd memory, some of them requiring gradients, as leaves and as results."""
    drawn = {}
    for name, tensor in call.tensors.items():
        tensor = calls.in_memory(tensor, rng)
        if name == "variance":
            tensor = tensor if tensor.min() > 0 else call.tensors[name]
        if name not in call.constants and rng.random() < 0.6:
            tensor = tensor.detach().requires_grad_()
        drawn[name] = tensor
    return drawn


def in_double(tensors: Tensors) -> Tensors:
    return {
        name: tensor.detach().double().requires_grad_(tensor.requires_grad)
        for name, tensor in tensors.items()
    }


def hooks(rng: Random):
    """What becomes of saved tensors: kept, or brought back in other memory."""

    def unpack(packed):
        tensor, kind = packed
        if kind == "copied":
            return tensor.clone()
        if kind == "flattened":
            return tensor.reshape(-1).clone().view(tensor.shape)
        if kind == "strided" or not tensor.is_floating_point():
            return torch.stack([tensor, tensor], -1)[..., 0]
        if kind == "negated":
            return calls._negated(tensor, rng) if tensor.dtype is torch.float32 else tensor
        return calls._permuted(tensor, rng)

    kinds = ["copied", "flattened", "strided", "negated", "permuted"]
    pack = lambda tensor: (tensor.detach(), rng.choice(kinds))  # noqa: E731
    return torch.autograd.graph.saved_tensors_hooks(pack, unpack)


def second_order(y: Tensor, leaves: list[Tensor], dy: Tensor) -> list[Tensor | None]:
    first = torch.autograd.grad(y, leaves, dy, create_graph=True)
    total = sum((g.square() * 0.5).sum() for g in first if g.requires_grad)
    if not isinstance(total, Tensor):
        return [None] * len(leaves)
    return [*torch.autograd.grad(total, leaves, allow_unused=True)]


def judge(call: Call, rng: Random) -> None:
    ours, truths = draw_tensors(call, rng), {}
    truths = in_double(ours)
    before = {name: tensor.detach().clone() for name, tensor in ours.items()}
    with hooks(rng) if rng.random() < 0.5 else torch.enable_grad():
        y = call.ours(ours)
    truth = call.peer(truths)
    assert_close(y.detach(), truth.detach(), "output")
    wanted = [name for name, tensor in ours.items() if tensor.requires_grad]
    assert y.requires_grad == bool(wanted)
    if not wanted:
        return
    dy = calls.in_memory(torch.randn(y.shape), rng) if y.dim() else torch.randn(())
    leaves, exact = ([t[name] for name in wanted] for t in (ours, truths))
    order = rng.choice([1, 1, 2])
    take = torch.autograd.grad if order == 1 else second_order
    found, expected = take(y, leaves, dy), take(truth, exact, dy.double())
    assert len(found) == len(expected)
    for name, gradient, right in zip(wanted, found, expected, strict=True):
        if gradient is None or right is None:
            assert not (gradient is not None and gradient.any())
            assert not (right is not None and right.any())
        else:
            assert_close(gradient.detach(), right.detach(), f"gradient {order} of {name}")
    for name, tensor in ours.items():
        assert torch.equal(tensor.detach(), before[name]), f"{name} was changed"


@pytest.mark.parametrize("name", OPS)
def test_drawn_calls_are_right(name: str) -> None:
    sweep(name, judge, 12)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPS)
def test_many_drawn_calls_are_right(name: str) -> None:
    sweep(name, judge, 250, first=1000)


@pytest.mark.parametrize("name", OPS)
def test_wrong_arguments_raise(name: str) -> None:
    sweep(name, judge_refusal, 12)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPS)
def test_many_wrong_arguments_raise(name: str) -> None:
    sweep(name, judge_refusal, 120, first=1000)


def sweep(name: str, judge, count: int, first: int = 0) -> None:
    for seed in range(first, first + count):
        torch.manual_seed(seed)
        rng = Random(f"{name} {seed}")
        try:
            judge(OPS[name](rng), rng)
        except Exception as error:
            raise AssertionError(f"{name}, seed {seed}: {error}") from error


def judge_refusal(call: Call, rng: Random) -> None:
    """What PyTorch refuses, ours refuses; what it takes, ours takes with the same result."""
    name = rng.choice([*call.tensors])
    spoilt = {**call.tensors, name: spoil(call.tensors[name], rng)}
    try:
        expected = call.peer(spoilt)
    except REFUSALS:
        try:
            y = call.ours(spoilt)
        except REFUSALS:
            return
        # Another dtype is no reason for ours: integer maxima, a scale in half precision.
        expected = call.peer({of: tensor.double() for of, tensor in spoilt.items()})
        assert_close(y, expected, f"{name}, which PyTorch refuses")
        return
    try:
        y = call.ours(spoilt)
        if spoilt[name].is_meta:
            return  # PyTorch computes on nothing, in part
    except (ValueError, TypeError) as refusal:
        # Clearer than PyTorch, which broadcasts or pads; never another number.
        assert name in str(refusal) or "input" in str(refusal), refusal
        return
    assert_close(y.double(), expected.double(), name)


def spoil(tensor: Tensor, rng: Random) -> Tensor:
    wrong = [
        tensor.double(),
        tensor.half(),
        tensor.long(),
        tensor.to("meta"),
        tensor[..., None],
        tensor[0],
        torch.cat([tensor, tensor]),
        tensor.narrow(0, 0, tensor.shape[0] - 1),
        tensor.flatten(),
    ]
    return rng.choice(wrong)
