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


def assert_close(ours: Tensor, truth: Tensor, what: str, torchs: Tensor | None = None) -> None:
    """Within the rounding of its type, or twice of PyTorch's own error where that is larger."""
    assert ours.shape == truth.shape, f"{what}: shape"
    if not truth.numel():
        return
    error, scale = distance(ours, truth), truth.abs().max().item()
    precision = 1e-4 if ours.dtype in (torch.float32, torch.float64) else 2e-2
    allowed = precision * scale + 1e-5
    if torchs is not None and not error <= allowed:
        allowed += 2 * distance(torchs, truth)
    assert error <= allowed, f"{what}: off by {error:.3g} of {scale:.3g}"


def distance(x: Tensor, truth: Tensor) -> float:
    """The largest; infinite where only one is no number."""
    return (x.double() - truth.double()).abs().nan_to_num(torch.inf).max().item()


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


def as_leaves(tensors: Tensors, dtype: torch.dtype) -> Tensors:
    return {
        name: tensor.detach().to(dtype, copy=True).requires_grad_(tensor.requires_grad)
        for name, tensor in tensors.items()
    }


def hooks(rng: Random, results: list[Tensor]):
    """What becomes of saved tensors: kept, or brought back in other memory.

    Vectors come back strided, single images in odd memory, to ops of ours alone, which `results`
    tells in time: PyTorch's batch normalisation is wrong for them.
    """

    def unpack(packed):
        tensor, kind = packed
        if kind == "copied":
            return tensor.clone()
        if kind == "flattened":
            return tensor.reshape(-1).clone().view(tensor.shape)
        for_ours = any("lamina" in type(y.grad_fn).__name__ for y in results)
        if not for_ours and (tensor.dim() == 1 or tensor.shape[0] == 1):
            return tensor.clone()
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


def gradients(y: Tensor, tensors: Tensors, dy: Tensor, order: int) -> dict[str, Tensor | None]:
    wanted = {name: tensor for name, tensor in tensors.items() if tensor.requires_grad}
    take = torch.autograd.grad if order == 1 else second_order
    return dict(zip(wanted, take(y, [*wanted.values()], dy), strict=True))


def judge(call: Call, rng: Random) -> None:
    ours = draw_tensors(call, rng)
    before = {name: tensor.detach().clone() for name, tensor in ours.items()}
    results: list[Tensor] = []
    with hooks(rng, results) if rng.random() < 0.5 else torch.enable_grad():
        y = call.ours(ours)
    results.append(y)
    # A view of what was made without gradients could not be changed in place.
    assert y._base is None or y._base.requires_grad == y.requires_grad
    truths, peers = (as_leaves(ours, dtype) for dtype in (torch.float64, torch.float32))
    truth, peer = call.peer(truths), call.peer(peers)
    assert_close(y.detach(), truth.detach(), "output", peer.detach())
    wants = any(tensor.requires_grad for tensor in ours.values())
    assert y.requires_grad == wants
    if not wants:
        return
    dy, order = calls.in_memory(torch.randn(y.shape), rng), rng.choice([1, 1, 2])
    found = gradients(y, ours, dy, order)
    try:
        expected = gradients(truth, truths, dy.double(), order)
        torchs = gradients(peer, peers, dy, order)
    except RuntimeError:
        assert order == 2  # of which PyTorch has not all
        return
    for name, gradient in found.items():
        zero = torch.zeros_like(truths[name])
        gradient, right, theirs = (
            zero if g is None else g.detach() for g in (gradient, expected[name], torchs[name])
        )
        assert_close(gradient, right, f"gradient {order} of {name}", theirs)
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
        coarse = torch.float16 if torch.float16 in {t.dtype for t in spoilt.values()} else y.dtype
        assert_close(y.to(coarse), expected, f"{name}, which PyTorch refuses")
        return
    try:
        y = call.ours(spoilt)
        if spoilt[name].is_meta:
            return  # PyTorch computes on nothing, in part
    except REFUSALS as refusal:
        # Clearer than PyTorch, which broadcasts or pads; never another number. Of two tensors that
        # do not fit either may be named.
        assert any(of in str(refusal) for of in (*spoilt, "input", "bias")), refusal
        return
    assert_close(y, expected, name)


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
