"""Every op's calls, drawn: shapes and options, the tensors in odd memory, and PyTorch's own op."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random

import torch
import torch.nn.functional as F
from torch import Tensor

from lamina import ops
from lamina.ops.runtime import native, registration

Tensors = dict[str, Tensor]


@dataclass(frozen=True)
class Call:
    """One call: the tensors by name, and the op as ours and as PyTorch's, in any dtype.

    Args:
        tensors: what it takes, float32.
        ours: of tensors by those names.
        peer: likewise.
        vectors: names of those with a number per channel.
        constants: names of those that have no gradient.
    """

    tensors: Tensors
    ours: Callable[[Tensors], Tensor]
    peer: Callable[[Tensors], Tensor]
    vectors: tuple[str, ...] = ()
    constants: tuple[str, ...] = ()


ACTIVATION = {None: lambda y: y, "silu": F.silu, "hardswish": F.hardswish}


def image(rng: Random, channels: int | None = None, least: int = 1) -> Tensor:
    """Grey, of one pixel, one to a batch: where strides leave the layout open, too."""
    channels = channels or rng.choice([1, 1, 2, 3, 8, 17])
    height, width = (rng.choice([least, least, least + 3, 9, 16]) for _ in range(2))
    batch = rng.choice([1, 2, 5])
    return torch.randn(batch, channels, max(height, least), max(width, least))


def vector(rng: Random, length: int) -> Tensor | None:
    return torch.randn(length) if rng.random() < 0.7 else None


def present(**tensors: Tensor | None) -> Tensors:
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def conv2d(rng: Random) -> Call:
    side = rng.choice([1, 1, 2, 3, 3, 5])
    groups = rng.choice([1, 1, 1, 2])
    channels = groups * rng.choice([1, 2, 3, 16])
    outputs = groups * rng.choice([1, 2, 5, 16])
    stride, padding = rng.choice([1, 1, 2]), rng.choice([0, side // 2])
    x = image(rng, channels, least=side)
    named = present(
        x=x if rng.random() < 0.8 else x[0],
        weight=torch.randn(outputs, channels // groups, side, side),
        bias=vector(rng, outputs),
    )
    algorithms = ["auto", "direct", "im2col", "onednn"] + ["fft"] * (stride == 1)
    winograd = side == 3 and groups == 1 and "winograd"
    algorithm = rng.choice([*algorithms, winograd or "direct"])
    activation = rng.choice([*ACTIVATION])
    return Call(
        named,
        lambda t: ops.conv2d(
            t["x"],
            t["weight"],
            t.get("bias"),
            stride,
            padding,
            groups=groups,
            algorithm=algorithm,
            activation=activation,
        ),
        lambda t: ACTIVATION[activation](
            F.conv2d(t["x"], t["weight"], t.get("bias"), stride, padding, groups=groups)
        ),
        vectors=("bias",),
    )


def finished_by_peer(z: Tensor, t: Tensors, activation: str | None) -> Tensor:
    """activation(scale · (z − mean) / √(variance + 0.1) + shift + addend)."""
    if "mean" in t:
        z = (z - t["mean"].view(-1, 1, 1)) * (t["variance"] + 0.1).rsqrt().view(-1, 1, 1)
    z = z * t["scale"].view(-1, 1, 1) if "scale" in t else z
    z = z + t["bias"].view(-1, 1, 1) if "bias" in t else z
    return ACTIVATION[activation](z + t["addend"] if "addend" in t else z)


def finished_call(rng: Random, name: str, case: Call, window: tuple, has_addend: bool) -> Call:
    """A convolution's registered op with what may follow a sum; its case has none of it."""
    outputs = case.tensors["weight"].shape[0]
    normalizes, activation = rng.random() < 0.5, rng.choice([*ACTIVATION])
    tensors = present(
        **case.tensors,
        scale=vector(rng, outputs),
        bias=vector(rng, outputs),
        mean=torch.randn(outputs) if normalizes else None,
        variance=torch.rand(outputs) + 0.5 if normalizes else None,
        addend=torch.randn_like(case.peer(case.tensors)) if has_addend else None,
    )
    names = ["scale", "bias", "mean", "variance"] + ["addend"] * (name == "conv2d")

    def peer(t: Tensors) -> Tensor:
        return finished_by_peer(case.peer(t), t, activation)

    def ours(t: Tensors) -> Tensor:
        if not native.serves(*t.values()) or t["x"].dim() != 4:
            return peer(t)  # the functions in front of the op would, too
        behind = (t.get(of) for of in names)
        y: Tensor = registration.OPS[name].function(
            t["x"], t["weight"], *behind, 0.1, *window, activation or "none", 0.01
        )
        return y

    return Call(tensors, ours, peer, vectors=("scale", "bias", "mean", "variance"))


def finished_conv2d(rng: Random) -> Call:
    side, stride = rng.choice([1, 3, 3]), rng.choice([1, 1, 2])
    padding, outputs = side // 2, rng.choice([1, 2, 16, 37])
    x = image(rng, least=side)
    algorithms = ["auto", "direct", "im2col", "onednn"] + ["fft"] * (stride == 1)
    algorithm = rng.choice([*algorithms, *["winograd"] * (side == 3)])
    case = Call(
        {"x": x, "weight": torch.randn(outputs, x.shape[1], side, side)},
        lambda t: t["x"],
        lambda t: F.conv2d(t["x"], t["weight"], None, stride, padding),
    )
    window = ([stride] * 2, [padding] * 4, [1, 1], 1, algorithm)
    return finished_call(rng, "conv2d", case, window, rng.random() < 0.6)


def finished_depthwise_conv2d(rng: Random) -> Call:
    side, stride = rng.choice([1, 3, 3, 5]), rng.choice([1, 1, 2])
    padding = side // 2
    x = image(rng, least=side)
    channels = x.shape[1]
    case = Call(
        {"x": x, "weight": torch.randn(channels * rng.choice([1, 1, 2]), 1, side, side)},
        lambda t: t["x"],
        lambda t: F.conv2d(t["x"], t["weight"], None, stride, padding, groups=channels),
    )
    window = ([stride] * 2, [padding] * 4, [1, 1])
    return finished_call(rng, "depthwise_conv2d", case, window, False)


def depthwise_conv2d(rng: Random) -> Call:
    side, multiplier = rng.choice([1, 3, 3, 5]), rng.choice([1, 1, 2])
    stride, padding = rng.choice([1, 1, 2]), rng.choice([0, side // 2])
    x = image(rng, least=side)
    channels = x.shape[1]
    activation = rng.choice([*ACTIVATION])
    return Call(
        present(
            x=x if rng.random() < 0.8 else x[0],
            weight=torch.randn(channels * multiplier, 1, side, side),
            bias=vector(rng, channels * multiplier),
        ),
        lambda t: ops.depthwise_conv2d(
            t["x"], t["weight"], t.get("bias"), stride, padding, activation=activation
        ),
        lambda t: ACTIVATION[activation](
            F.conv2d(t["x"], t["weight"], t.get("bias"), stride, padding, groups=channels)
        ),
        vectors=("bias",),
    )


def separable_conv2d(rng: Random) -> Call:
    stride, padding = rng.choice([1, 2]), rng.choice([0, 1])
    x = image(rng, least=3)
    channels, outputs = x.shape[1], rng.choice([1, 4, 9])
    return Call(
        present(
            x=x,
            depthwise=torch.randn(channels, 1, 3, 3),
            pointwise=torch.randn(outputs, channels, 1, 1),
            bias=vector(rng, outputs),
        ),
        lambda t: ops.separable_conv2d(
            t["x"], t["depthwise"], t["pointwise"], t.get("bias"), stride, padding
        ),
        lambda t: F.conv2d(
            F.conv2d(t["x"], t["depthwise"], None, stride, padding, groups=channels),
            t["pointwise"],
            t.get("bias"),
        ),
        vectors=("bias",),
    )


def separable_block(rng: Random) -> Call:
    x = image(rng, least=3)
    channels, middle, outputs = x.shape[1], rng.choice([1, 4, 8]), rng.choice([1, 5, 8])
    stride = rng.choice([1, 2])

    def ours(t: Tensors) -> Tensor:
        return ops.separable_block(
            t["x"],
            t["depthwise"],
            t["pointwise"],
            stride=stride,
            padding=1,
            expand_weight=t["expand"],
            expand=ops.Finish(t.get("scale"), t.get("shift"), "silu"),
            depthwise=ops.Finish(mean=t["mean"], variance=t["variance"], eps=1e-3),
            pointwise=ops.Finish(shift=t["bias"]),
        )

    def peer(t: Tensors) -> Tensor:
        z = F.conv2d(t["x"], t["expand"])
        z = z * t["scale"].view(-1, 1, 1) if "scale" in t else z
        z = z + t["shift"].view(-1, 1, 1) if "shift" in t else z
        z = F.conv2d(F.silu(z), t["depthwise"], None, stride, 1, groups=middle)
        z = F.batch_norm(z, t["mean"], t["variance"], eps=1e-3)
        return F.conv2d(z, t["pointwise"], t["bias"])

    return Call(
        present(
            x=x,
            expand=torch.randn(middle, channels, 1, 1),
            depthwise=torch.randn(middle, 1, 3, 3),
            pointwise=torch.randn(outputs, middle, 1, 1),
            scale=vector(rng, middle),
            shift=vector(rng, middle),
            mean=torch.randn(middle),
            variance=torch.rand(middle) + 0.5,
            bias=torch.randn(outputs),
        ),
        ours,
        peer,
        vectors=("scale", "shift", "mean", "variance", "bias"),
        constants=("mean", "variance"),
    )


def linear(rng: Random) -> Call:
    features, results = rng.choice([1, 3, 64, 256]), rng.choice([1, 5, 100])
    shape = rng.choice([(1,), (4,), (2, 3), (33,)])
    return Call(
        present(
            x=torch.randn(*shape, features),
            weight=torch.randn(results, features),
            bias=vector(rng, results),
        ),
        lambda t: ops.linear(t["x"], t["weight"], t.get("bias")),
        lambda t: F.linear(t["x"], t["weight"], t.get("bias")),
        vectors=("bias",),
    )


def batch_norm(rng: Random) -> Call:
    shape = rng.choice([(5, 3), (4, 3, 6), (2, 3, 2, 4, 5), None, None, None, None])
    x = image(rng, least=2) if shape is None else torch.randn(shape)
    channels = x.shape[1]
    training, activation = rng.random() < 0.5, rng.choice([*ACTIVATION])
    statistics = {} if training else {"mean": torch.randn(channels)}
    statistics |= {} if training else {"variance": torch.rand(channels) + 0.5}

    def normalize(function: Callable[..., Tensor], t: Tensors) -> Tensor:
        tensors = (t.get(name) for name in ("mean", "variance", "weight", "bias"))
        return function(t["x"], *tensors, training)

    def peer(t: Tensors) -> Tensor:
        # PyTorch's second derivative forgets a bias that has no weight beside it.
        weight = {} if "weight" in t or "bias" not in t else {"weight": torch.ones_like(t["bias"])}
        return ACTIVATION[activation](normalize(F.batch_norm, {**t, **weight}))

    return Call(
        present(x=x, weight=vector(rng, channels), bias=vector(rng, channels), **statistics),
        lambda t: normalize(lambda *a: ops.batch_norm(*a, activation=activation), t),
        peer,
        vectors=("weight", "bias", "mean", "variance"),
        constants=("mean", "variance"),
    )


def pool(ours: Callable[[Tensor], Tensor], peer: Callable[[Tensor], Tensor], x: Tensor) -> Call:
    return Call({"x": x}, lambda t: ours(t["x"]), lambda t: peer(t["x"]))


def max_pool2d(rng: Random) -> Call:
    side, stride = rng.choice([1, 2, 3]), rng.choice([1, 2])
    window = (side, stride, rng.choice([0, side // 2]))
    x = image(rng, least=3)
    x = x if rng.random() < 0.8 else x[0]
    return pool(lambda x: ops.max_pool2d(x, *window), lambda x: F.max_pool2d(x, *window), x)


def avg_pool2d(rng: Random) -> Call:
    side, stride = rng.choice([1, 2, 3]), rng.choice([1, 2])
    window = (side, stride, rng.choice([0, side // 2]))
    x = image(rng, least=3)
    x = x if rng.random() < 0.8 else x[0]
    return pool(lambda x: ops.avg_pool2d(x, *window), lambda x: F.avg_pool2d(x, *window), x)


def adaptive_avg_pool2d(rng: Random) -> Call:
    size, x = rng.choice([1, 1, 2, 3]), image(rng, least=3)
    return pool(
        lambda x: ops.adaptive_avg_pool2d(x, size), lambda x: F.adaptive_avg_pool2d(x, size), x
    )


def adaptive_max_pool2d(rng: Random) -> Call:
    size, x = rng.choice([1, 1, 2, 3]), image(rng, least=3)
    return pool(
        lambda x: ops.adaptive_max_pool2d(x, size), lambda x: F.adaptive_max_pool2d(x, size), x
    )


def global_max_pool2d(rng: Random) -> Call:
    return pool(ops.global_max_pool2d, lambda x: x.amax((-2, -1), keepdim=True), image(rng))


def activation(rng: Random) -> Call:
    name = rng.choice(["relu", "relu6", "silu", "hardswish", "hardsigmoid", "gelu", "tanh"])
    name = rng.choice([name, "sigmoid", "leaky_relu"])
    x = rng.choice([image(rng), torch.randn(7), torch.randn(2, 3, 2, 4, 5)])
    return pool(getattr(ops, name), getattr(F, name) if name != "hardsigmoid" else _hardsigmoid, x)


def _hardsigmoid(x: Tensor) -> Tensor:
    return (F.hardtanh(x, -3, 3) + 3) / 6  # PyTorch's own has no second derivative


def dropout(rng: Random) -> Call:
    x = rng.choice([image(rng), torch.randn(3, 40), torch.randn(2, 3, 2, 4, 5)])
    seed = torch.tensor([rng.randrange(2**40), rng.randrange(100)])
    whole_channels = rng.random() < 0.5

    def ours(x: Tensor) -> Tensor:
        noise_shape = (*x.shape[:2], *(1,) * (x.dim() - 2)) if whole_channels else None
        return ops.dropout(x, 0.4, noise_shape=noise_shape, seed=seed)

    # In the layout of x: PyTorch's own draws its mask so.
    return pool(ours, lambda x: x * torch.empty_like(x).copy_(ours(torch.ones(x.shape))), x)


def squeeze_excite(rng: Random) -> Call:
    x, hidden = image(rng), rng.choice([1, 3])
    channels = x.shape[1]
    return Call(
        {
            "x": x,
            "reduce": torch.randn(hidden, channels),
            "expand": torch.randn(channels, hidden),
            "bias": torch.randn(channels),
        },
        lambda t: ops.squeeze_excite(
            t["x"], t["reduce"], None, t["expand"], t["bias"], activation="silu"
        ),
        lambda t: (
            t["x"]
            * F.linear(
                F.silu(F.linear(t["x"].mean((2, 3)), t["reduce"].flatten(1))),
                t["expand"].flatten(1),
                t["bias"],
            ).sigmoid()[..., None, None]
        ),
    )


OPS: dict[str, Callable[[Random], Call]] = {
    draw.__name__: draw
    for draw in (
        conv2d,
        finished_conv2d,
        depthwise_conv2d,
        finished_depthwise_conv2d,
        separable_conv2d,
        separable_block,
        linear,
        batch_norm,
        max_pool2d,
        avg_pool2d,
        adaptive_avg_pool2d,
        adaptive_max_pool2d,
        global_max_pool2d,
        activation,
        dropout,
        squeeze_excite,
    )
}


# ---- memory -------------------------------------------------------------------------------------


def _expanded(x: Tensor, rng: Random) -> Tensor:
    axis = rng.randrange(x.dim())
    return x.narrow(axis, 0, 1).expand(x.shape)


def _negated(x: Tensor, rng: Random) -> Tensor:
    return torch.complex(torch.zeros_like(x), -x).conj().imag


def _sliced(x: Tensor, rng: Random) -> Tensor:
    return torch.stack([x, x + 1], -1)[..., 0]


def _offset(x: Tensor, rng: Random) -> Tensor:
    return torch.cat([torch.zeros(1), x.flatten()])[1:].view(x.shape)


def _permuted(x: Tensor, rng: Random) -> Tensor:
    """With its axes in another order in memory, channels innermost among them."""
    order = [*range(x.dim())]
    rng.shuffle(order)
    back = [order.index(axis) for axis in range(x.dim())]
    return x.permute(order).contiguous().permute(back)


def _channels_innermost(x: Tensor, rng: Random) -> Tensor:
    return x.movedim(-3, -1).contiguous().movedim(-1, -3) if x.dim() > 2 else x


def _sliced_channels_innermost(x: Tensor, rng: Random) -> Tensor:
    return _channels_innermost(torch.cat([x, x], -1), rng)[..., : x.shape[-1]]


LAYOUTS = {
    "row-major": lambda x, rng: x,
    "channels innermost": _channels_innermost,
    "sliced": _sliced,
    "sliced, channels innermost": _sliced_channels_innermost,
    "expanded": _expanded,
}
MEMORY = {**LAYOUTS, "negated": _negated, "offset": _offset, "permuted": _permuted}
"""Functions of a tensor and a generator: the tensor (or one like it) in other memory."""


def in_memory(x: Tensor, rng: Random, kinds: dict[str, Callable[..., Tensor]] = MEMORY) -> Tensor:
    return kinds[rng.choice([*kinds])](x, rng)
