"""Operators of ATen that cost so many operations per element, of their result or of their input."""

from __future__ import annotations

from lamina.inspector.count.operators import Formula, per_input, per_output
from lamina.theory.activation import activation_named

__all__ = ["PER_ELEMENT"]

PER_ELEMENT: dict[str, Formula] = {}

# The activations of ATen under the names that the theory has for them.
for _aten, _name in {
    "relu": "relu", "relu6": "relu6", "hardtanh": "relu6", "leaky_relu": "leaky_relu", "elu": "elu",
    "hardsigmoid": "hardsigmoid", "hardswish": "hardswish", "sigmoid": "sigmoid", "tanh": "tanh",
    "silu": "silu", "gelu": "gelu", "_softmax": "softmax", "_log_softmax": "softmax",
    "_safe_softmax": "softmax",
}.items():  # fmt: skip
    _forward, _backward, *_ = activation_named(_name)
    for _suffix, _operations in (("", _forward), ("_", _forward), ("_backward", _backward)):
        PER_ELEMENT[f"aten.{_aten}{_suffix}"] = per_output(_operations)
    PER_ELEMENT[f"aten.{_aten}_backward_data"] = per_output(_backward)

# Operations per element of the result, where PyTorch's tag "pointwise" would say one or is absent.
_PER_OUTPUT = {
    "clone": 0, "copy": 0, "masked_fill": 0, "masked_fill_": 0, "where": 1, "clamp": 2, "clamp_": 2,
    "threshold_backward": 1, "softplus": 3, "softplus_backward": 4, "log_sigmoid_forward": 4,
    "log_sigmoid_backward": 5, "mish": 5, "mish_backward": 8, "_prelu_kernel": 2,
    "_prelu_kernel_backward": 4, "addcmul": 3, "addcdiv": 3, "lerp": 3, "native_dropout": 2,
    "native_dropout_backward": 2, "bernoulli": 1, "bernoulli_": 1, "upsample_nearest1d": 0,
    "upsample_nearest2d": 0, "upsample_nearest3d": 0, "upsample_linear1d": 3,
    "upsample_bilinear2d": 7, "upsample_bicubic2d": 35, "upsample_trilinear3d": 15,
    "_upsample_nearest_exact1d": 0, "_upsample_nearest_exact2d": 0, "_upsample_nearest_exact3d": 0,
    "grid_sampler_2d": 14, "grid_sampler_3d": 30, "embedding_dense_backward": 0, "renorm": 3,
    "rsub": 1, "floor_divide": 1, "linalg_cross": 3, "hardshrink_backward": 1,
    "softshrink_backward": 1, "rrelu_with_noise": 2, "rrelu_with_noise_backward": 1,
    "glu": 4, "glu_backward": 4, "polar": 4,
}  # fmt: skip

# Operations per element of the first argument: each is read once and reduced, scanned or scattered.
_PER_INPUT = {
    "native_layer_norm": 7, "native_group_norm": 7, "native_layer_norm_backward": 11,
    "native_group_norm_backward": 11, "_fused_rms_norm": 4, "_fused_rms_norm_backward": 8,
    "_adaptive_avg_pool2d": 1, "_adaptive_avg_pool3d": 1, "adaptive_max_pool2d": 1,
    "adaptive_max_pool3d": 1, "_adaptive_avg_pool2d_backward": 1,
    "_adaptive_avg_pool3d_backward": 1,
    "adaptive_max_pool2d_backward": 1, "adaptive_max_pool3d_backward": 1,
    "max_pool2d_with_indices_backward": 1, "max_pool3d_with_indices_backward": 1, "var": 4,
    "std": 4, "var_mean": 4, "std_mean": 4, "linalg_vector_norm": 2, "norm": 2, "logsumexp": 4,
    "cumsum": 1, "cumprod": 1, "nll_loss_forward": 0, "nll_loss_backward": 0,
    "nll_loss2d_forward": 0, "nll_loss2d_backward": 0, "mse_loss": 3, "mse_loss_backward": 3,
    "smooth_l1_loss": 4, "smooth_l1_loss_backward": 4, "huber_loss": 4, "binary_cross_entropy": 6,
    "binary_cross_entropy_backward": 5, "upsample_bilinear2d_backward": 7,
    "upsample_nearest2d_backward": 1, "upsample_bicubic2d_backward": 35,
    "upsample_nearest1d_backward": 1, "upsample_nearest3d_backward": 1,
    "_upsample_nearest_exact1d_backward": 1, "_upsample_nearest_exact2d_backward": 1,
    "_upsample_nearest_exact3d_backward": 1, "upsample_linear1d_backward": 3,
    "upsample_trilinear3d_backward": 15, "grid_sampler_2d_backward": 31,
    "grid_sampler_3d_backward": 79, "col2im": 1, "fractional_max_pool2d_backward": 1,
    "fractional_max_pool3d_backward": 1, "_weight_norm_interface": 3,
    "_weight_norm_interface_backward": 5, "huber_loss_backward": 4, "soft_margin_loss": 5,
    "soft_margin_loss_backward": 5, "binary_cross_entropy_with_logits": 7, "multi_margin_loss": 4,
    "multi_margin_loss_backward": 4, "cummax": 1, "cummin": 1, "logcumsumexp": 4, "dist": 3,
    "trace": 1,
}  # fmt: skip

for _name, _count in _PER_OUTPUT.items():
    PER_ELEMENT[f"aten.{_name}"] = per_output(_count)
for _name, _count in _PER_INPUT.items():
    PER_ELEMENT[f"aten.{_name}"] = per_input(_count)
