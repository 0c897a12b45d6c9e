"""Small images go to PyTorch's pools and batch normalisation, large ones to the kernels."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from lamina import ops
from lamina.ops.runtime import native
from tests.ops.judge import LAYOUTS

pytestmark = [
    pytest.mark.usefixtures("small_calls"),
    pytest.mark.skipif(not native.kinds(), reason="no compiler"),
]

# By the side of a square image of 32 channels: below SMALL, between the two sizes, above both.
SIDES = {8: (True, True), 36: (False, True), 64: (False, False)}

OPS: dict[str, Callable[[Tensor], Tensor]] = {
    "max pool": lambda x: ops.max_pool2d(x, 2),
    "average pool": lambda x: ops.avg_pool2d(x, 2),
    "batch norm": lambda x: ops.batch_norm(x, None, None, training=True),
    "frozen batch norm": lambda x: ops.batch_norm(x, torch.ones(32), torch.ones(32)),
}


class _Names(TorchDispatchMode):
    """Collects the names of the ops that are called."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        self.names.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("kind", OPS)
def test_the_size_decides_who_computes(kind: str, side: int, layout: str) -> None:
    x = torch.randn(1, 32, side, side).to(memory_format=LAYOUTS[layout])
    with _Names() as called:
        y = OPS[kind](x)
    is_pytorchs = SIDES[side][LAYOUTS[layout] is torch.channels_last]
    assert any(name.startswith("lamina.") for name in called.names) != is_pytorchs
    y_large = OPS[kind](torch.cat([x] * 64))[:1]
    torch.testing.assert_close(y, y_large, rtol=1e-5, atol=1e-5)
    assert y.stride() == y_large.stride()


SEVERAL_OPS: dict[str, Callable[[Tensor], Tensor]] = {
    "max pool": lambda x: ops.max_pool2d(x, 3, 2, "same"),
    "average pool": lambda x: ops.avg_pool2d(x, 3, 2, "same", count_include_pad=False),
    "biased batch norm": lambda x: ops.batch_norm(
        x, torch.zeros(32), torch.ones(32), training=True, unbiased=False
    ),
}


@pytest.mark.parametrize("kind", SEVERAL_OPS)
def test_what_takes_pytorch_several_ops_stays_with_the_kernel(kind: str) -> None:
    with _Names() as called:
        SEVERAL_OPS[kind](torch.randn(1, 32, 8, 8))
    assert any(name.startswith("lamina.") for name in called.names)


@pytest.mark.parametrize("kind", OPS)
def test_a_graph_keeps_the_kernel(kind: str) -> None:
    """Its sizes may be symbols, and a change of the batch must not make another graph."""
    targets: list[str] = []

    def backend(graph: torch.fx.GraphModule, examples: list[Tensor]) -> Callable[..., object]:
        targets.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    torch._dynamo.reset()
    torch.compile(OPS[kind], backend=backend, dynamic=True)(torch.randn(2, 32, 8, 8))
    assert any(target.startswith("lamina.") for target in targets)
