"""What dropout's masks do to numbers: moments, batch norm's statistics, answers over many masks."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from lamina.lab.tools.data import Part
from lamina.lab.tools.training import logits
from lamina.nn import BatchNorm1d, Conv2d, Dropout, Dropout2d

MASKS = 400
"""Masks that moments are taken over."""
PASSES = 30
"""Masks that an answer is taken over."""


@torch.no_grad()
def moments(dropout: nn.Module, unit: nn.Module, x: Tensor, rate: float) -> tuple[float, float]:
    """What units behind dropout give over many masks.

    Args:
        dropout: it ends in evaluation mode.
        unit: the dense layer behind it.
        x: (N, features), before dropout.
        rate: of dropout, p below.

    Returns:
        The mean over what evaluation mode gives, as a slope through 0; and the variance over
        p/(1 - p) · sum of (weight · x)², which theory says. Both are 1 but for chance.

    Source: Srivastava et al., "Dropout" (2014), sections 4 and 9.1.
    """
    exact = unit(x)
    dropout.train()
    drawn = torch.stack([unit(dropout(x)) for _ in range(MASKS)])
    dropout.eval()
    expected = rate / (1 - rate) * x.square() @ unit.get_parameter("weight").square().T
    slope = (drawn.mean(0) * exact).sum() / exact.square().sum()
    return float(slope), float(drawn.var(0).sum() / expected.sum())


@torch.no_grad()
def variance_shift(norm: nn.Module, x: Tensor, rate: float) -> tuple[float, float]:
    """Variance that batch norm meets in evaluation, over the one that it learned behind dropout.

    Args:
        norm: batch normalisation, trained.
        x: (N, features), before dropout.
        rate: of dropout, p below.

    Returns:
        As measured; and by theory v / ((v + c²)/(1 - p) - c²), with c and v the mean and variance
        of x: sums over features.

    Source: Li et al., "Understanding the Disharmony between Dropout and Batch Normalization by
    Variance Shift" (2019), section 3.
    """
    v, c = x.var(0), x.mean(0)
    dropped = (v + c.square()) / (1 - rate) - c.square()
    return float(v.sum() / norm.get_buffer("running_var").sum()), float(v.sum() / dropped.sum())


def put_right(model: nn.Sequential, x: Tensor) -> None:
    """Take the running statistics of batch norm anew, from images and without dropout.

    Args:
        model: in evaluation mode, as it ends.
        x: images that it learned from.
    """
    for layer in model:
        if isinstance(layer, BatchNorm1d):
            layer.reset_running_stats()
            layer.momentum = None
            layer.train()
    logits(model, x, len(x))
    model.eval()


@torch.no_grad()
def spatial_noise(x: Tensor, rate: float) -> tuple[float, float]:
    """Noise of a channel's mean under Dropout2d over that under Dropout: measured, and by theory.

    Elements that are dropped one by one leave their neighbours to tell: over H·W equal values
    the noise of their mean is √(H·W) times smaller.

    Args:
        x: (N, C, H, W), which a first convolution makes maps of.
        rate: of dropout.

    Source: Tompson et al., "Efficient Object Localization Using Convolutional Networks" (2015),
    section 3.2.
    """
    maps = Conv2d(x.shape[1], 16, 3, padding=1)(x).relu()
    whole, single = (
        torch.stack([layer(maps).mean((2, 3)) for _ in range(MASKS)]).var(0).sum()
        for layer in (Dropout2d(rate), Dropout(rate))
    )
    theory = maps.sum((2, 3)).square().sum() / maps.square().sum()
    return math.sqrt(whole / single), math.sqrt(theory)


def monte_carlo(model: nn.Module, part: Part) -> tuple[float, float]:
    """Answer by the mean over masks, and tell wrong answers by its entropy.

    Args:
        model: with dropout; it ends in evaluation mode.
        part: images to answer.

    Returns:
        The accuracy; and of a wrong and a right answer, how often the wrong one's entropy is
        larger, NaN where all are alike.

    Source: Gal and Ghahramani, "Dropout as a Bayesian Approximation" (2016), section 4.
    """
    model.train()
    shares = torch.stack([logits(model, part.x).softmax(1) for _ in range(PASSES)]).mean(0)
    model.eval()
    entropy = torch.special.entr(shares).sum(1)
    right = shares.argmax(1) == part.y
    pairs = entropy[~right, None] > entropy[right]
    return right.double().mean().item(), pairs.double().mean().item()
