"""PyTorch's own check of a custom op, on every op: schema, fake tensors, autograd, compilation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

import lamina  # noqa: F401 - registers the ops
from lamina.ops.runtime import native
from lamina.ops.runtime.registration import OPS

pytestmark = pytest.mark.skipif(not native.kinds(), reason="no compiler")

LAYOUTS = {"nchw": torch.contiguous_format, "channels_last": torch.channels_last}
Draw = Callable[..., torch.Tensor]

# Kernel size, stride, padding, dilation, output size of a pool over 9×11 pixels.
WINDOW = [3, 3], [2, 2], [1, 0, 0, 1], [1, 1], [4, 5]
CONVOLUTION = [1, 1], [1, 0, 2, 1], [1, 1], 1, "winograd"
DEPTHWISE = [2, 1], [0, 1, 1, 2], [1, 2], "silu", 0.01

# An op's arguments: `image` draws what may have either layout, `vector` what has none; both
# require gradients where the op has them.
SAMPLES: dict[str, Callable[[Draw, Draw, bool], tuple[Any, ...]]] = {
    "avg_pool2d": lambda image, _, last: (image(2, 20, 9, 11), *WINDOW, False, 0),
    "avg_pool2d_backward": lambda image, _, last: (
        *(image(2, 20, 4, 5), [9, 11], *WINDOW, True, 0, last),
    ),
    "batch_norm_backward": lambda image, vector, last: (
        *(image(4, 3, 5, 5), image(4, 3, 5, 5), vector(3), vector(3).abs(), vector(3), vector(3)),
        *(1e-5, "relu", 0.01, True),
    ),
    "batch_norm_inference": lambda image, vector, last: (
        *(image(4, 3, 5, 5), vector(3).detach(), vector(3).detach().abs(), vector(3), vector(3)),
        *(1e-5, "silu", 0.01),
    ),
    "batch_norm_training": lambda image, vector, last: (
        *(image(4, 3, 5, 5), vector(3), vector(3), 1e-5, "relu", 0.01),
    ),
    "conv2d": lambda image, vector, last: (
        *(image(2, 3, 5, 6), vector(4, 3, 3, 3), vector(4), vector(4), vector(4)),
        *(vector(4).square(), image(2, 4, 4, 7), 1e-3, *CONVOLUTION, "silu", 0.01),
    ),
    "conv2d_input_gradient": lambda image, vector, last: (
        *(image(2, 3, 5, 6), image(2, 4, 4, 7), vector(4, 3, 3, 3), *CONVOLUTION),
    ),
    "conv2d_weight_gradient": lambda image, vector, last: (
        *(image(2, 3, 5, 6), image(2, 4, 4, 7), vector(4, 3, 3, 3), *CONVOLUTION),
    ),
    "depthwise_conv2d": lambda image, vector, last: (
        *(image(2, 6, 8, 8), vector(12, 1, 3, 3), None, vector(12), None, None, 0.0, *DEPTHWISE),
    ),
    "depthwise_conv2d_backward": lambda image, vector, last: (
        *(image(2, 6, 8, 8), image(2, 12, 4, 7), vector(12, 1, 3, 3), vector(12), *DEPTHWISE),
        [True, True, True],
    ),
    "dropout": lambda image, _, last: (image(4, 3, 5, 5), 0.3, torch.tensor([22, 0])),
    "global_avg_pool2d": lambda image, _, last: (image(2, 20, 9, 11),),
    "global_avg_pool2d_backward": lambda image, _, last: (image(2, 20, 1, 1), [9, 11], last),
    "global_max_pool2d": lambda image, _, last: (image(2, 20, 9, 11),),
    "global_max_pool2d_backward": lambda image, _, last: (
        *(x := image(2, 20, 9, 11), x.amax((2, 3), keepdim=True), image(2, 20, 1, 1)),
    ),
    "linear": lambda _, vector, last: (vector(5, 7), vector(3, 7), vector(3)),
    "linear_input_gradient": lambda _, vector, last: (vector(5, 3), vector(3, 7)),
    "linear_weight_gradient": lambda _, vector, last: (vector(5, 7), vector(5, 3), vector(3, 7)),
    "max_pool2d": lambda image, _, last: (image(2, 20, 9, 11), *WINDOW),
    "max_pool2d_backward": lambda image, _, last: (
        image(2, 20, 4, 5),
        torch.ops.lamina.max_pool2d(image(2, 20, 9, 11), *WINDOW)[1],
        *([9, 11], *WINDOW, last),
    ),
    "max_pool2d_inference": lambda image, _, last: (image(2, 20, 9, 11), *WINDOW),
    "separable_block": lambda image, vector, last: (
        *(image(2, 4, 8, 8), vector(8, 1, 3, 3), vector(5, 8, 1, 1), vector(8, 4, 1, 1)),
        *(vector(8), vector(8), vector(8), vector(8).square()),
        *(None, vector(8), None, None, vector(5), None, vector(5), vector(5).square()),
        *([1e-5, 0.0, 1e-3], [2, 1], [0, 1, 1, 2], [1, 1], ["relu6", "silu", "none"], False),
    ),
    "next_seed": lambda *_: (torch.tensor([3, 7]),),
}
NOT_DIFFERENTIABLE = {name for name, op in OPS.items() if not op.is_differentiable}


def drawing(memory_format: torch.memory_format, requires_grad: bool) -> Draw:
    def draw(*shape: int) -> torch.Tensor:
        x = torch.randn(shape)
        x = x.contiguous(memory_format=memory_format) if x.dim() == 4 else x
        return x.requires_grad_(requires_grad)

    return draw


def sample(name: str, layout: str, requires_grad: bool) -> tuple[Any, ...]:
    image = drawing(LAYOUTS[layout], requires_grad)
    vector = drawing(torch.contiguous_format, requires_grad)
    return SAMPLES[name](image, vector, layout == "channels_last")


def test_no_op_escapes() -> None:
    names = torch._C._dispatch_get_all_op_names()
    assert {name[8:] for name in names if name.startswith("lamina::")} == {*SAMPLES}


@pytest.mark.filterwarnings("error:.*autograd kernel was not registered")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", SAMPLES)
def test_opcheck(name: str, layout: str) -> None:
    arguments = sample(name, layout, requires_grad=name not in NOT_DIFFERENTIABLE)
    # Winograd's sums round more than the plain ones that differentiate it again.
    torch.library.opcheck(getattr(torch.ops.lamina, name).default, arguments, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", sorted(NOT_DIFFERENTIABLE))
def test_a_gradient_that_cannot_be_differentiated_says_so(name: str) -> None:
    """PyTorch would warn and return no gradient."""
    y = getattr(torch.ops.lamina, name)(*sample(name, "nchw", requires_grad=True))
    y = y[0] if isinstance(y, tuple) else y
    with pytest.raises(RuntimeError, match=f"lamina::{name} is a gradient, and has no formula"):
        y.sum().backward()
