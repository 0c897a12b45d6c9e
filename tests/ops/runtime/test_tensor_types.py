"""Tensor types that our ops do not know get PyTorch's; kernels refuse what slips through."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
import torch.autograd.forward_ad as forward_ad
import torch.nn as tnn
from torch import Tensor
from torch.utils._pytree import tree_map

from lamina import nn, ops
from lamina.ops.runtime import boundary, native

needs_kernels = pytest.mark.skipif(not native.kinds(), reason="no compiler")


class Watched(Tensor):
    """Sees every function of PyTorch's."""

    seen: ClassVar[list[str]] = []

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        cls.seen.append(getattr(func, "__name__", str(func)))
        return super().__torch_function__(func, types, args, kwargs or {})


class Wrapped(Tensor):
    """Without memory of its own, as quantised and distributed weights are."""

    inner: Tensor

    @staticmethod
    def __new__(cls, inner):
        wrapped = Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)
        wrapped.inner = inner
        return wrapped

    def __init__(self, inner):
        pass

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        assert not str(func).startswith("lamina"), f"{func} is not known here"
        plain = tree_map(lambda x: x.inner if isinstance(x, cls) else x, (args, kwargs or {}))
        result = func(*plain[0], **plain[1])
        return tree_map(lambda x: cls(x) if isinstance(x, Tensor) else x, result)


LAYERS = {
    "conv2d": (lambda n: n.Conv2d(8, 4, 3), (2, 8, 20, 20)),
    "depthwise": (lambda n: n.Conv2d(8, 8, 3, groups=8), (2, 8, 20, 20)),
    "linear": (lambda n: n.Linear(64, 256), (4, 64)),
    "batch norm": (lambda n: n.BatchNorm2d(8).eval(), (32, 8, 20, 20)),
    "max pool": (lambda n: n.MaxPool2d(2), (32, 8, 20, 20)),
    "global average": (lambda n: n.AdaptiveAvgPool2d(1), (32, 8, 20, 20)),
    "relu": (lambda n: n.ReLU(), (32, 8, 40, 40)),
    "silu": (lambda n: n.SiLU(), (32, 8, 40, 40)),
}


@pytest.mark.parametrize("parameters", [False, True], ids=["input", "parameters"])
@pytest.mark.parametrize("kind", LAYERS)
def test_a_wrapper_gets_pytorchs_ops(kind: str, parameters: bool) -> None:
    make, shape = LAYERS[kind]
    layer, peer = make(nn), make(tnn)
    layer.load_state_dict(peer.state_dict())
    x = torch.randn(shape)
    expected = peer(x)
    if parameters:
        state = dict(layer.named_parameters())
        wrapped = {name: Wrapped(tensor.detach()) for name, tensor in state.items()}
        y = torch.func.functional_call(layer, wrapped, (x,))
    else:
        y = layer(Wrapped(x))
    y = y.inner if isinstance(y, Wrapped) else y
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", LAYERS)
def test_who_watches_functions_sees_pytorchs(kind: str) -> None:
    make, shape = LAYERS[kind]
    Watched.seen.clear()
    y = make(nn)(torch.randn(shape).as_subclass(Watched))
    assert isinstance(y, Watched)
    assert not any("lamina" in name for name in Watched.seen)


def test_a_nested_tensor_is_pytorchs() -> None:
    nested = torch.nested.nested_tensor([torch.randn(3, 64), torch.randn(5, 64)])
    layer = nn.Linear(64, 32)
    for part, row in zip(layer(nested).unbind(), nested.unbind(), strict=True):
        torch.testing.assert_close(part, torch.nn.functional.linear(row, layer.weight, layer.bias))
    assert [part.shape for part in ops.relu(nested).unbind()] == [(3, 64), (5, 64)]


@pytest.mark.parametrize(
    "strange",
    [
        lambda x: x.to_sparse(),
        lambda x: x.to_mkldnn(),
        lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.quint8),
        lambda x: x.to("meta"),
        lambda x: torch.complex(x, x).conj().imag,
        lambda x: x.as_subclass(Watched),
        lambda x: x.double(),
        lambda x: torch._efficientzerotensor(x.shape),
    ],
)
def test_kernels_do_not_serve(strange) -> None:
    assert not native.serves(strange(torch.randn(4, 4)))


@needs_kernels
@pytest.mark.parametrize(
    "strange",
    [
        lambda x: x.double(),
        lambda x: x.to("meta"),
        lambda x: x.to_sparse(),
        lambda x: x._neg_view(),
    ],
)
def test_the_bindings_refuse_what_is_no_plain_memory(strange) -> None:
    x = torch.randn(4, 4)
    with pytest.raises(TypeError, match="incompatible function arguments"):
        native.kernels.roofline_sum(strange(x), 16)


@needs_kernels
def test_a_missing_tensor_is_refused() -> None:
    with pytest.raises(TypeError):
        native.kernels.roofline_sum(None, 16)


def test_a_refusal_says_what_came() -> None:
    with pytest.raises(TypeError, match="weight must be float32 on the CPU, got float64 on cpu"):
        boundary.plain(torch.ones(2, dtype=torch.float64), "conv2d: weight")
    with pytest.raises(ValueError, match=r"bias must have shape \(4,\), got \(3,\)"):
        ops.conv2d(torch.ones(1, 2, 3, 3), torch.ones(4, 2, 1, 1), torch.ones(3))
    with pytest.raises(ValueError, match="multiple of 2 out_channels for 2 groups"):
        ops.conv2d(torch.ones(1, 4, 3, 3), torch.ones(5, 2, 1, 1), groups=2)
    with pytest.raises(ValueError, match=r"running_mean must have shape \(64,\), got \(8,\)"):
        ops.batch_norm(torch.ones(1, 64, 90, 90), torch.ones(8), torch.ones(64))
    with pytest.raises(ValueError, match="running_mean is None"):
        ops.batch_norm(torch.ones(1, 64, 9, 9), None, torch.ones(64))


@needs_kernels
@pytest.mark.parametrize("length", [3, 5])
def test_the_ops_themselves_check(length: int) -> None:
    """The dispatcher gives them to whoever asks."""
    image, short = torch.randn(2, 4, 6, 6), torch.randn(length)
    lamina = torch.ops.lamina
    window = [1, 1], [0, 0, 0, 0], [1, 1]
    for call in (
        lambda: lamina.batch_norm_training(image, short, None, 1e-5, "none", 0.0),
        lambda: lamina.batch_norm_inference(image, short, short, None, None, 1e-5, "none", 0.0),
        lambda: lamina.conv2d(
            *(image, torch.randn(4, 4, 1, 1), None, short, None, None, None, 0.0),
            *(*window, 1, "direct", "none", 0.0),
        ),
        lambda: lamina.depthwise_conv2d(
            *(image, torch.randn(4, 1, 1, 1), None, short, None, None, 0.0, *window, "none", 0.0)
        ),
        lambda: lamina.global_avg_pool2d_backward(image, [6, 6], False),
        lambda: lamina.max_pool2d_backward(
            *(image, image.byte()[:1], [6, 6], [1, 1], [1, 1], [0] * 4, [1, 1], [6, 6], False)
        ),
    ):
        with pytest.raises(ValueError, match="must have shape"):
            call()


# ---- forward mode -------------------------------------------------------------------------------

RECORDED = {
    "conv2d": (lambda x, w, b: ops.conv2d(x, w, b, algorithm="direct"), ((4, 8, 3, 3), (4,))),
    "im2col": (lambda x, w, b: ops.conv2d(x, w, b, algorithm="im2col"), ((4, 8, 3, 3), (4,))),
    "depthwise": (
        lambda x, w, b: ops.depthwise_conv2d(x, w, b, activation="silu"),
        ((8, 1, 3, 3), (8,)),
    ),
    "batch norm": (lambda x, w: ops.batch_norm(x, None, None, w, training=True), ((8,),)),
    "dropout": (lambda x: ops.dropout(x, 0.5, seed=torch.tensor([3, 1])), ()),
    "max pool": (lambda x: ops.max_pool2d(x, 2), ()),
    "average pool": (lambda x: ops.avg_pool2d(x, 2), ()),
    "global average": (ops.global_avg_pool2d, ()),
    "global maximum": (ops.global_max_pool2d, ()),
    "relu": (ops.relu, ()),
    "sigmoid": (ops.sigmoid, ()),
}


@pytest.mark.parametrize("create_graph", [False, True])
@pytest.mark.parametrize("kind", RECORDED)
def test_the_tangent_of_an_incoming_gradient(kind: str, create_graph: bool, monkeypatch) -> None:
    """The forward pass was recorded before forward mode began."""
    monkeypatch.setattr("lamina.theory.activation.FEWEST_ELEMENTS", 0)
    op, shapes = RECORDED[kind]
    leaves = [torch.randn(s, requires_grad=True) for s in ((4, 8, 10, 10), *shapes)]
    y = op(*leaves)
    dy, tangent = torch.randn_like(y), torch.randn_like(y)
    expected = torch.autograd.grad(y, leaves, tangent, retain_graph=True)
    with forward_ad.dual_level():
        dual = forward_ad.make_dual(dy, tangent)
        found = torch.autograd.grad(y, leaves, dual, create_graph=create_graph)
        tangents = [forward_ad.unpack_dual(gradient).tangent for gradient in found]
    torch.testing.assert_close(tangents, [*expected], rtol=1e-4, atol=1e-4)


@needs_kernels
def test_a_tangent_that_no_kernel_can_push_is_refused() -> None:
    with forward_ad.dual_level():
        image = forward_ad.make_dual(torch.randn(2, 3, 4, 4), torch.randn(2, 3, 4, 4))
        from lamina.ops.pool2d import over_image

        with pytest.raises(RuntimeError, match="no forward-mode derivative by x"):
            over_image.global_max(image)
