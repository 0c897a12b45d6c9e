"""One function per kind: the kernel where it serves, PyTorch's own op where it does not."""

from lamina.ops.activation import (
    ACTIVATIONS,
    activation,
    elu,
    gelu,
    hardsigmoid,
    hardswish,
    identity,
    leaky_relu,
    relu,
    relu6,
    sigmoid,
    silu,
    softmax,
    tanh,
)
from lamina.ops.batch_norm2d.op import batch_norm
from lamina.ops.conv2d.op import conv2d
from lamina.ops.dense import linear
from lamina.ops.depthwise_conv2d import depthwise_conv2d
from lamina.ops.dropout import drop_path, dropout, next_seed
from lamina.ops.finish import Finish
from lamina.ops.padding import PADDING_MODES, border, pad2d, torch_padding
from lamina.ops.pool2d.op import (
    adaptive_avg_pool2d,
    adaptive_max_pool2d,
    avg_pool2d,
    global_avg_pool2d,
    global_max_pool2d,
    max_pool2d,
)
from lamina.ops.runtime.checks import check_floating, check_image
from lamina.ops.runtime.numerics import get_numerics, set_numerics
from lamina.ops.separable_conv2d import separable_block, separable_conv2d
from lamina.ops.squeeze_excite import squeeze_excite

__all__ = [
    "ACTIVATIONS",
    "PADDING_MODES",
    "Finish",
    "activation",
    "adaptive_avg_pool2d",
    "adaptive_max_pool2d",
    "avg_pool2d",
    "batch_norm",
    "border",
    "check_floating",
    "check_image",
    "conv2d",
    "depthwise_conv2d",
    "drop_path",
    "dropout",
    "elu",
    "gelu",
    "get_numerics",
    "global_avg_pool2d",
    "global_max_pool2d",
    "hardsigmoid",
    "hardswish",
    "identity",
    "leaky_relu",
    "linear",
    "max_pool2d",
    "next_seed",
    "pad2d",
    "relu",
    "relu6",
    "separable_block",
    "separable_conv2d",
    "set_numerics",
    "sigmoid",
    "silu",
    "softmax",
    "squeeze_excite",
    "tanh",
    "torch_padding",
]
