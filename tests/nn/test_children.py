"""Layers made of others: whatever is done to a child is done to what they compute."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch.nn.utils import parametrizations, prune

from lamina import models, nn
from lamina.nn.children import is_plain

Change = Callable[[torch.nn.Module, str], None]


class Halved(torch.nn.Module):
    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        return weight / 2


class Adapter(torch.nn.Module):
    """What a low-rank adapter does: the layer it wraps, and a little more."""

    def __init__(self, base: torch.nn.Module) -> None:
        super().__init__()
        self.base = base

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) * 1.5


class Twice(torch.Tensor):
    """A weight of its own type, which convolves in its own way."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        result = super().__torch_function__(func, types, args, kwargs)
        return result * 2 if "conv" in func.__name__ else result


def replaced_forward(parent: torch.nn.Module, name: str) -> None:
    child = getattr(parent, name)
    child.forward = lambda x: type(child).forward(child, x) * 3


def adapted(parent: torch.nn.Module, name: str) -> None:
    setattr(parent, name, Adapter(getattr(parent, name)))


def subclass_weight(parent: torch.nn.Module, name: str) -> None:
    child = getattr(parent, name)
    child.weight = torch.nn.Parameter(child.weight.detach().as_subclass(Twice))


def plain_torch(parent: torch.nn.Module, name: str) -> None:
    child = getattr(parent, name)
    theirs = torch.nn.Conv2d(
        child.in_channels,
        child.out_channels,
        child.kernel_size,
        child.stride,
        child.padding,
        child.dilation,
        child.groups,
    )
    theirs.weight = torch.nn.Parameter(child.weight.detach() * 4)
    setattr(parent, name, theirs)


CHANGES: dict[str, Change] = {
    "pruned": lambda parent, name: prune.l1_unstructured(getattr(parent, name), "weight", 0.5),
    "weight_norm": lambda parent, name: torch.nn.utils.weight_norm(getattr(parent, name)),
    "weight_norm_parametrized": lambda parent, name: parametrizations.weight_norm(
        getattr(parent, name)
    ),
    "spectral_norm": lambda parent, name: torch.nn.utils.spectral_norm(getattr(parent, name)),
    "spectral_norm_parametrized": lambda parent, name: parametrizations.spectral_norm(
        getattr(parent, name)
    ),
    "parametrized": lambda parent, name: torch.nn.utils.parametrize.register_parametrization(
        getattr(parent, name), "weight", Halved()
    ),
    "hook": lambda parent, name: getattr(parent, name).register_forward_hook(
        lambda module, args, output: output * 2
    ),
    "pre_hook": lambda parent, name: getattr(parent, name).register_forward_pre_hook(
        lambda module, args: (args[0] * 2,)
    ),
    "backward_hook": lambda parent, name: getattr(parent, name).register_full_backward_hook(
        lambda module, inner, outer: tuple(g if g is None else g * 2 for g in inner)
    ),
    "backward_pre_hook": lambda parent, name: getattr(parent, name).register_full_backward_pre_hook(
        lambda module, outer: tuple(g * 2 for g in outer)
    ),
    "replaced_forward": replaced_forward,
    "adapted": adapted,
    "subclass_weight": subclass_weight,
    "plain_torch": plain_torch,
}

COMPOSITES: dict[str, tuple[Callable[[], torch.nn.Module], Callable, tuple[str, ...]]] = {
    "SqueezeExcite": (
        lambda: nn.SqueezeExcite(4, 4),
        lambda block, x: x * torch.sigmoid(block.fc2(torch.relu(block.fc1(x.mean((2, 3), True))))),
        ("fc1", "fc2"),
    ),
    "SeparableConv2d": (
        lambda: nn.SeparableConv2d(4, 4, 3, padding=1),
        lambda block, x: block.pointwise(block.depthwise(x)),
        ("depthwise", "pointwise"),
    ),
    "SeparableBlock": (
        lambda: nn.SeparableBlock(4, 4, padding=1, expansion=2, shortcut=True).eval(),
        lambda block, x: x + torch.nn.Sequential(*block.children())(x),
        ("expand", "depthwise", "pointwise"),
    ),
    "InvertedResidual": (
        lambda: models.mobilenet_v2.InvertedResidual(4, 4, 1, 1).eval(),
        lambda block, x: x + block.conv(x),
        ("conv.0.0", "conv.1"),
    ),
    "models.SeparableBlock": (
        lambda: models.mobilenet_v1.SeparableBlock(4, 4, 1).eval(),
        lambda block, x: torch.nn.Sequential(*block)(x),
        ("conv_dw", "conv_pw"),
    ),
}

PLACES = [(name, child) for name, (_, _, children) in COMPOSITES.items() for child in children]


def step(block: torch.nn.Module, call: Callable, x: torch.Tensor) -> dict[str, torch.Tensor]:
    x = x.clone().requires_grad_()
    y = call(x)
    y.square().sum().backward()
    gradients = {name: p.grad for name, p in block.named_parameters() if p.grad is not None}
    block.zero_grad()
    return {"output": y.detach(), "input": x.grad, **gradients}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize(("name", "child"), PLACES, ids=lambda value: value)
def test_what_is_done_to_a_child_counts(name: str, child: str, change: str) -> None:
    make, by_calls, _ = COMPOSITES[name]
    block, x = make().eval(), torch.randn(2, 4, 6, 5)
    unchanged = step(block, block, x)
    path, _, last = child.rpartition(".")
    CHANGES[change](block.get_submodule(path), last)
    found, expected = step(block, block, x), step(block, lambda x: by_calls(block, x), x)
    assert found.keys() == expected.keys()
    for key in expected:
        torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-5)
    if "weight_norm" not in change:  # which starts with the weight that it finds
        assert not torch.equal(found["input"], unchanged["input"])
    with torch.no_grad():
        torch.testing.assert_close(block(x), by_calls(block, x), rtol=1e-4, atol=1e-5)
    repr(block)


def test_what_is_plain_and_what_is_not() -> None:
    kinds = (nn.Conv2d,)
    assert is_plain(nn.Conv2d(3, 4, 3), kinds)
    assert not is_plain(torch.nn.Conv2d(3, 4, 3), kinds)
    for name, change in CHANGES.items():
        parent = torch.nn.Module()
        parent.child = nn.Conv2d(3, 4, 3)
        change(parent, "child")
        assert not is_plain(parent.child, kinds), name


def test_a_child_with_more_to_do_is_called() -> None:
    x = torch.randn(2, 4, 6, 5)
    layer = nn.SeparableConv2d(4, 4, 3, padding=1)
    layer.depthwise = nn.DepthwiseConv2d(4, 3, padding=1)  # with a bias
    torch.testing.assert_close(layer(x), layer.pointwise(layer.depthwise(x)))
    layer.pointwise = nn.Conv2d(4, 6, 3, stride=2)
    torch.testing.assert_close(layer(x), layer.pointwise(layer.depthwise(x)))
    gate = nn.SqueezeExcite(4, 4)
    gate.fc1 = nn.PointwiseConv2d(4, 4, groups=2)
    means = x.mean((2, 3), True)
    torch.testing.assert_close(gate(x), x * torch.sigmoid(gate.fc2(torch.relu(gate.fc1(means)))))


def test_a_hook_on_a_sequential_inside_runs() -> None:
    block = models.mobilenet_v2.InvertedResidual(4, 4, 1, 2).eval()
    seen = []
    block.conv[0].register_forward_hook(lambda *_: seen.append("inner"))
    with torch.no_grad():
        block(torch.randn(1, 4, 5, 5))
        block.conv.register_forward_hook(lambda *_: seen.append("outer"))
        block(torch.randn(1, 4, 5, 5))
    assert seen == ["inner", "inner", "outer"]
