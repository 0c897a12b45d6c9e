"""Two models, one step: outputs, gradients and statistics, each judged against float64."""

from __future__ import annotations

import copy

import torch
from torch import Tensor


def step(model: torch.nn.Module, x: Tensor) -> dict[str, Tensor]:
    """Output, gradients and buffers of one pass forward and backward."""
    x = x.detach().clone().requires_grad_()
    y = model(x)
    weights = torch.linspace(-1, 1, y.numel(), dtype=torch.float64).reshape(y.shape)
    (y * weights.to(y.dtype)).sum().backward()
    gradients = {
        f"gradient of {name}": parameter.grad
        for name, parameter in model.named_parameters()
        if parameter.grad is not None
    }
    model.zero_grad()
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    return {"output": y.detach(), "gradient of the input": x.grad, **gradients, **buffers}


def assert_agree(
    ours: torch.nn.Module,
    plain: torch.nn.Module,
    x: Tensor,
    kinks: float = 1e-5,
    rounding: float = 1e-5,
) -> None:
    """Ours strays from float64 at most twice as far as the plain model, in training and eval.

    Args:
        ours: with the parameters' names of ``plain``; both models run a training step.
        plain: of torch.nn's layers.
        x: float32.
        kinks: relative error allowed to gradients anyway: rounding that moves a value across an
            activation's kink changes what lies below it by some 1e-4 in a deep network.
        rounding: relative error allowed to outputs and statistics anyway: fifty normalisations
            over a few values each amplify it.
    """
    mode = plain.training
    for training in (True, False):
        ours.train(training), plain.train(training)
        truth = step(copy.deepcopy(plain).double(), x.double())
        expected, got = step(plain, x), step(ours, x)
        assert got.keys() == expected.keys()
        # What is zero but for the rounding of larger numbers, as the gradient of a bias before a
        # normalisation or the mean of a normalised channel, is measured by those.
        gradients = [value for name, value in truth.items() if name.startswith("gradient")]
        largest = max(float(value.norm()) for value in gradients)
        for name, exact in truth.items():
            assert got[name].dtype == expected[name].dtype, name
            of_gradient = name.startswith("gradient")
            scale = max(float(exact.double().norm()), 0.1 * largest if of_gradient else 0.1)
            error, theirs = _distance(got[name], exact), _distance(expected[name], exact)
            allowed = 2 * theirs + (kinks if of_gradient else rounding) * scale
            assert error <= allowed, f"{name}, training={training}: {error} > {allowed}"
    ours.train(mode), plain.train(mode)


def _distance(value: Tensor, exact: Tensor) -> float:
    return float((value.double() - exact.double()).norm())
