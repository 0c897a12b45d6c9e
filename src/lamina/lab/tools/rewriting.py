"""A standard convolution rewritten as the separable one that is nearest to it."""

from __future__ import annotations

from statistics import mean
from typing import NamedTuple

import torch
from torch.nn import Module, Sequential

from lamina.lab.tools.data import Part
from lamina.lab.tools.training import accuracy
from lamina.nn import Conv2d, SeparableConv2d


def best_approximation(conv: Conv2d, multiplier: int) -> tuple[SeparableConv2d, float]:
    """The separable convolution nearest to a standard one, by least squares of the weights.

    Args:
        conv: without bias, groups and dilation.
        multiplier: kernels per channel, from 1 to the full rank min(M, K²).

    Returns:
        The layer, and the norm of the weights that it leaves out over that of all: the error to
        expect of its output where the pixels of the input are independent.

    Source: Guo et al., "Network Decoupling" (2018), section 3: the singular values of the matrix
    (M, K²) of every input channel.
    """
    outputs, channels = conv.weight.shape[:2]
    matrices = conv.weight.detach().double().transpose(0, 1).flatten(2)
    left, values, right = torch.linalg.svd(matrices, full_matrices=False)
    window = (conv.kernel_size, conv.stride, conv.padding, 1, multiplier)
    layer = SeparableConv2d(channels, outputs, *window, bias=False)
    mixing = (left * values[:, None])[..., :multiplier].transpose(0, 1)
    with torch.no_grad():
        layer.depthwise.weight.copy_(right[:, :multiplier].reshape(layer.depthwise.weight.shape))
        layer.pointwise.weight.copy_(mixing.reshape(layer.pointwise.weight.shape))
    return layer, (values[:, multiplier:].norm() / values.norm()).item()


class Rewriting(NamedTuple):
    """A trained standard network whose convolutions but the first are made separable.

    Args:
        left_out: mean over the layers of what `best_approximation` leaves out.
        error: mean relative error of their outputs, on what they see of images.
        accuracy: of the network.
    """

    left_out: float
    error: float
    accuracy: float


def rewritten(model: Sequential, multiplier: int, judged: Part) -> Rewriting:
    """Rewrite a network in evaluation mode, with so many kernels per channel."""
    layers: list[Module] = []
    left_out, errors, x = [], [], judged.x
    with torch.no_grad():
        for layer in model:
            y = layer(x)
            if isinstance(layer, Conv2d) and layer is not model[0]:
                near, rest = best_approximation(layer, multiplier)
                layers.append(near)
                left_out.append(rest)
                errors.append(((near(x) - y).norm() / y.norm()).item())
            else:
                layers.append(layer)
            x = y
    return Rewriting(mean(left_out), mean(errors), accuracy(Sequential(*layers).eval(), judged))
