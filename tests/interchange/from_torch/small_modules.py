"""Forty small torch models, each for something that a port gets wrong."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

Shapes = tuple[tuple[int, ...], ...]


class Apply(nn.Module):
    """A function as a module, with children that it may use by name."""

    def __init__(self, function, **children: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, *inputs):
        return self.function(self, *inputs)


def sequential(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def conv(*arguments, **keywords) -> nn.Module:
    return nn.Conv2d(*arguments, **keywords)


def residual(self, x):
    return F.relu(x + self.b(F.relu(self.a(x))))


def squeeze_excite(self, x):
    s = x.mean((2, 3), keepdim=True)
    return x * torch.sigmoid(self.up(F.relu(self.down(s))))


def squeeze_excite_dense(self, x):
    s = F.adaptive_avg_pool2d(x, 1).view(x.size(0), -1)
    s = torch.sigmoid(self.up(F.relu(self.down(s))))
    return x * s.view(x.size(0), -1, 1, 1).expand_as(x)


def channel_shuffle(self, x):
    n, c, h, w = x.shape
    x = self.a(x).view(n, 3, c // 3, h, w).transpose(1, 2).contiguous().view(n, c, h, w)
    return self.b(x)


def split_and_join(self, x):
    left, right = x.chunk(2, dim=1)
    return torch.cat([self.a(left), right, x[:, 1:3]], 1)


def dense_block(self, x):
    y = self.a(F.relu(x))
    z = self.b(F.relu(torch.cat([x, y], 1)))
    return torch.cat([x, y, z], 1)


def convnext_block(self, x):
    y = self.depthwise(x).permute(0, 2, 3, 1)
    y = self.project(F.gelu(self.expand(self.norm(y))))
    return x + y.permute(0, 3, 1, 2)


def attention(self, x):
    n, c, h, w = x.shape
    q, k, v = self.qkv(x).reshape(n, 3, c, h * w).unbind(1)
    weights = (q.transpose(1, 2) @ k * c**-0.5).softmax(-1)
    return (v @ weights.transpose(1, 2)).reshape(n, c, h, w) + x


def attention_in_heads(self, x):
    n, c, h, w = x.shape
    q, k, v = self.qkv(x).reshape(n, 3, 2, c // 2, h * w).transpose(3, 4).unbind(1)
    y = F.scaled_dot_product_attention(q, k, v).transpose(2, 3).reshape(n, c, h, w)
    return torch.einsum("nchw,nck->nhwk", y, v.transpose(2, 3).reshape(n, c, h * w))


def channel_attention(self, x):
    s = x.mean((2, 3)).unsqueeze(1)
    return x * torch.sigmoid(self.a(s)).transpose(1, 2).unsqueeze(-1)


def in_place(self, x):
    y = self.a(x)
    y += x
    F.relu_(y)
    return self.b(y).clamp_(0, 6).mul_(0.5)


def in_place_by_name(self, x):
    y = self.a(x)
    y.relu_()
    z = y.flatten(2)
    return z.mean(2) + self.b(y).mean((2, 3))


def in_place_on_a_part(self, x):
    y = self.a(x)
    y[:, :2].relu_()
    return y


def pyramid(self, x):
    small = self.a(F.max_pool2d(x, 2))
    return torch.cat([x, F.interpolate(small, scale_factor=2, mode="nearest")], 1)


def shared(self, x):
    return self.a(F.relu(self.a(x)))


def padded_by_hand(self, x):
    return self.a(F.pad(x, (0, 1, 2, 1)))


def normalised(self, x):
    return self.a((x - self.mean) / self.std)


def two_inputs(self, x, y):
    return self.a(x) * self.b(y), x.flatten(1)


def scalars(self, x):
    return (2 - self.a(x) / 3) * 0.25 + 1


class LayerScale(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(4, 4, 3, padding=1)
        self.gamma = nn.Parameter(torch.rand(4, 1, 1))

    def forward(self, x):
        return x + self.gamma * self.a(x)


class LayerScaleLast(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.rand(4))
        self.a = nn.Linear(4, 4)

    def forward(self, x):
        y = self.a(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x + y * self.gamma.view(1, -1, 1, 1)


def batch_of_groups(self, x):
    n, c, h, w = x.shape
    y = self.norm(x.reshape(n * 2, c // 2, h, w))
    return self.a(y.reshape(n, c, h, w))


def hard_gates(self, x):
    return x * F.relu6(x + 3) / 6 + F.relu6(x + 3.0, inplace=True) / 6.0


class Normalised(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 4, 3)
        self.register_buffer("mean", torch.rand(1, 3, 1, 1))
        self.register_buffer("std", torch.rand(1, 3, 1, 1) + 0.5)

    def forward(self, x):
        return normalised(self, x)


def frozen(module: nn.Module) -> nn.Module:
    return module.requires_grad_(False)


IMAGE = ((1, 4, 9, 8),)

CROSS = {
    "conv_same_odd": (sequential(conv(4, 6, 3, padding=1)), IMAGE),
    "conv_stride_2": (sequential(conv(4, 6, 3, 2, padding=1)), IMAGE),
    "conv_asymmetric": (sequential(conv(4, 6, (3, 5), (2, 1), padding=(0, 2), bias=False)), IMAGE),
    "conv_same_even": (sequential(conv(4, 6, (2, 4), padding="same")), IMAGE),
    "conv_grouped": (sequential(conv(4, 8, 3, padding=1, groups=2)), IMAGE),
    "conv_dilated": (sequential(conv(4, 6, 3, padding=2, dilation=2)), IMAGE),
    "conv_stride_and_dilation": (sequential(conv(4, 6, 3, 2, padding=2, dilation=2)), IMAGE),
    "depthwise": (sequential(conv(4, 4, 3, padding=1, groups=4)), IMAGE),
    "depthwise_multiplied": (sequential(conv(4, 12, 3, 2, padding=1, groups=4)), IMAGE),
    "depthwise_stride_and_dilation": (
        sequential(conv(4, 8, 3, 2, padding=2, dilation=2, groups=4)),
        IMAGE,
    ),
    "depthwise_unequal_strides": (sequential(conv(4, 4, 3, (1, 2), padding=1, groups=4)), IMAGE),
    "transposed": (sequential(nn.ConvTranspose2d(4, 6, 4, 2, 1)), IMAGE),
    "transposed_output_padding": (sequential(nn.ConvTranspose2d(4, 6, 3, 2, 1, 1)), IMAGE),
    "transposed_small_kernel": (sequential(nn.ConvTranspose2d(4, 6, 1, 2)), IMAGE),
    "batch_norm": (sequential(nn.BatchNorm2d(4, momentum=0.3, eps=1e-2)), IMAGE),
    "batch_norm_plain": (sequential(nn.BatchNorm2d(4, affine=False), nn.ReLU()), IMAGE),
    "batch_norm_frozen": (frozen(sequential(conv(4, 4, 1), nn.BatchNorm2d(4))), IMAGE),
    "batch_norm_flattened": (sequential(conv(4, 4, 1), nn.Flatten(), nn.BatchNorm1d(288)), IMAGE),
    "group_norm": (sequential(nn.GroupNorm(2, 4)), IMAGE),
    "instance_norm": (sequential(nn.InstanceNorm2d(4, affine=True)), IMAGE),
    "layer_norm_image": (sequential(nn.LayerNorm((4, 9, 8))), IMAGE),
    "convnext": (
        Apply(
            convnext_block,
            depthwise=conv(4, 4, 7, padding=3, groups=4),
            norm=nn.LayerNorm(4),
            expand=nn.Linear(4, 16),
            project=nn.Linear(16, 4),
        ),
        IMAGE,
    ),
    "flatten_dense": (
        sequential(conv(4, 6, 3), nn.Flatten(), nn.Dropout(), nn.Linear(252, 5), nn.Softmax(1)),
        IMAGE,
    ),
    "dense_on_width": (sequential(nn.Linear(8, 5)), IMAGE),
    "flatten_kept": (sequential(conv(4, 2, 3), nn.Flatten()), IMAGE),
    "max_pool_negative": (sequential(conv(4, 4, 1), nn.MaxPool2d(3, 2, 1)), IMAGE),
    "max_pool_positive": (sequential(nn.ReLU(), nn.MaxPool2d(3, 2, 1)), ((1, 4, 8, 8),)),
    "max_pool_ceil": (sequential(nn.MaxPool2d(3, 2, ceil_mode=True)), ((1, 4, 8, 10),)),
    "avg_pool_padded": (sequential(nn.AvgPool2d(3, 2, 1)), IMAGE),
    "avg_pool_excluding": (sequential(nn.AvgPool2d(3, 2, 1, count_include_pad=False)), IMAGE),
    "avg_pool_same": (sequential(nn.AvgPool2d(3, 1, 1, count_include_pad=False)), IMAGE),
    "avg_pool_ceil": (sequential(nn.AvgPool2d(3, 2, 1, ceil_mode=True)), ((1, 4, 8, 10),)),
    "avg_pool_divisor": (sequential(nn.AvgPool2d(2, divisor_override=3)), IMAGE),
    "adaptive_pools": (
        sequential(nn.AdaptiveAvgPool2d((3, 4)), nn.AdaptiveMaxPool2d(1), nn.Flatten()),
        IMAGE,
    ),
    "adaptive_uneven": (sequential(nn.AdaptiveAvgPool2d((4, 5))), IMAGE),
    "activations": (
        sequential(
            nn.ReLU6(),
            nn.Hardswish(),
            nn.LeakyReLU(0.2),
            nn.ELU(0.7),
            nn.SiLU(),
            nn.Mish(),
            nn.GELU(),
            nn.GELU("tanh"),
            nn.Hardsigmoid(),
            nn.Softplus(2.0),
            nn.Tanh(),
            nn.SELU(),
            nn.CELU(0.5),
            nn.LogSigmoid(),
            nn.Hardtanh(-3, -0.1),
            nn.LogSoftmax(1),
        ),
        IMAGE,
    ),
    "prelu": (sequential(nn.PReLU(4), conv(4, 4, 1), nn.PReLU()), IMAGE),
    "reflected": (sequential(nn.ReflectionPad2d((1, 2, 3, 0)), conv(4, 4, 3)), IMAGE),
    "replicated": (sequential(conv(4, 4, 5, padding=2, padding_mode="replicate")), IMAGE),
    "padded_by_hand": (Apply(padded_by_hand, a=conv(4, 4, 3)), IMAGE),
    "constant_pad": (sequential(nn.ConstantPad2d((1, 0, -1, 2), 0.5)), IMAGE),
    "residual": (Apply(residual, a=conv(4, 4, 3, padding=1), b=conv(4, 4, 1)), IMAGE),
    "dense_connections": (Apply(dense_block, a=conv(4, 3, 1), b=conv(7, 2, 3, padding=1)), IMAGE),
    "squeeze_excite": (Apply(squeeze_excite, down=conv(4, 2, 1), up=conv(2, 4, 1)), IMAGE),
    "squeeze_excite_dense": (
        Apply(squeeze_excite_dense, down=nn.Linear(4, 2), up=nn.Linear(2, 4)),
        IMAGE,
    ),
    "channel_attention": (
        Apply(channel_attention, a=nn.Conv1d(1, 1, 3, padding=1, bias=False)),
        IMAGE,
    ),
    "channel_shuffle": (
        Apply(channel_shuffle, a=conv(6, 6, 1, groups=3), b=conv(6, 6, 1, groups=2)),
        ((1, 6, 5, 4),),
    ),
    "pixel_shuffle": (sequential(nn.PixelShuffle(2), conv(1, 4, 1), nn.PixelUnshuffle(2)), IMAGE),
    "split_and_join": (Apply(split_and_join, a=conv(2, 2, 1)), IMAGE),
    "attention": (Apply(attention, qkv=conv(4, 12, 1)), IMAGE),
    "attention_in_heads": (Apply(attention_in_heads, qkv=conv(4, 12, 1)), IMAGE),
    "in_place": (Apply(in_place, a=conv(4, 4, 1), b=conv(4, 4, 1)), IMAGE),
    "in_place_by_name": (
        Apply(in_place_by_name, a=conv(4, 4, 1), b=conv(4, 4, 1)),
        IMAGE,
    ),
    "pyramid": (Apply(pyramid, a=conv(4, 4, 1)), ((1, 4, 8, 8),)),
    "bilinear": (sequential(nn.Upsample(scale_factor=2, mode="bilinear")), IMAGE),
    "bilinear_to_size": (sequential(nn.Upsample((13, 5), mode="bilinear")), IMAGE),
    "nearest_to_size": (sequential(nn.Upsample((13, 4))), IMAGE),
    "shared": (Apply(shared, a=conv(4, 4, 3, padding=1)), IMAGE),
    "layer_scale": (LayerScale(), IMAGE),
    "layer_scale_last": (LayerScaleLast(), IMAGE),
    "batch_of_groups": (
        Apply(batch_of_groups, norm=nn.InstanceNorm2d(2, affine=True), a=conv(4, 4, 1)),
        IMAGE,
    ),
    "hard_gates": (Apply(hard_gates), IMAGE),
    "maximum_along": (
        Apply(lambda self, x: torch.cat([x.max(1, keepdim=True)[0], x.mean(1, True)], 1)),
        IMAGE,
    ),
    "normalised": (Normalised(), ((1, 3, 6, 6),)),
    "two_inputs": (Apply(two_inputs, a=conv(4, 3, 1), b=conv(2, 3, 1)), (*IMAGE, (1, 2, 9, 8))),
    "scalars": (Apply(scalars, a=conv(4, 4, 1)), IMAGE),
    "spatial_dropout": (sequential(nn.Dropout2d(0.3), conv(4, 4, 1)), IMAGE),
    "dilated_1d": (
        sequential(nn.Conv1d(4, 6, 3, padding=2, dilation=2), nn.MaxPool1d(2)),
        ((1, 4, 12),),
    ),
}
"""A module and the shapes of its inputs, by what it is for."""


def circular(self, x):
    return self.a(x)


def of_values(self, x):
    if x.sum() > 0:
        return x
    return -x


REFUSED = {
    "circular padding": (sequential(conv(4, 4, 3, padding=1, padding_mode="circular")), "border"),
    "cumulative": (sequential(nn.BatchNorm2d(4, momentum=None)), "momentum=None"),
    "no statistics": (sequential(nn.BatchNorm2d(4, track_running_stats=False)), "momentum=None"),
    "dilated pool": (sequential(nn.MaxPool2d(2, dilation=2)), "ceil_mode, dilation"),
    "indices": (Apply(lambda self, x: F.max_pool2d(x, 2, return_indices=True)), "indices"),
    "aligned corners": (
        sequential(nn.Upsample((4, 4), mode="bilinear", align_corners=True)),
        "resizing",
    ),
    "grouped transposed": (sequential(nn.ConvTranspose2d(4, 4, 2, 2, groups=2)), "groups"),
    "in place": (Apply(in_place_on_a_part, a=conv(4, 4, 1)), "in place on a tensor"),
    "sort": (Apply(lambda self, x: x.sort(1).values), "aten.sort"),
    "dropout always": (Apply(lambda self, x: F.dropout(x, 0.5)), "start in train()"),
    "batch": (Apply(lambda self, x: x - x.mean(0, keepdim=True)), "over the batch"),
    "positions": (
        Apply(lambda self, x: x + self.a.weight, a=nn.Linear(8, 9)),
        "parameter a.weight",
    ),
}
"""What has no equal in Keras, and a part of the reason."""
