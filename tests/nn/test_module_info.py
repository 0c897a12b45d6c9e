"""PyTorch's own samples of its modules, with our classes in the place of torch.nn's."""

from __future__ import annotations

import warnings

import pytest
import torch

from lamina import nn

from .parity import outputs_and_gradients

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from torch.testing._internal.common_modules import module_db

OURS = [info for info in module_db if info.module_cls.__name__ in nn.__all__]


def same_samples(info, dtype: torch.dtype, training: bool):
    """The same arguments and inputs twice: a sample may not be shared by two layers."""
    for _ in range(2):
        torch.manual_seed(0)
        yield list(
            info.module_inputs_func(
                info, device="cpu", dtype=dtype, requires_grad=False, training=training
            )
        )


def first_input(sample) -> torch.Tensor:
    """The one input, by position or as ``input=``."""
    (x,) = [*sample.forward_input.args, *sample.forward_input.kwargs.values()]
    return x


def in_format(x: torch.Tensor, memory_format: torch.memory_format) -> torch.Tensor:
    return x.contiguous(memory_format=memory_format) if x.dim() == 4 else x


def test_every_class_that_pytorch_samples_is_here() -> None:
    names = {info.module_cls.__name__ for info in OURS}
    assert names >= {
        *("Conv2d", "Linear", "BatchNorm1d", "BatchNorm2d", "MaxPool2d", "AvgPool2d"),
        *("AdaptiveAvgPool2d", "AdaptiveMaxPool2d", "ReLU", "ReLU6", "LeakyReLU", "ELU", "SiLU"),
        *("Hardswish", "GELU", "Sigmoid", "Tanh", "Softmax"),
    }


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize(
    "memory_format", [torch.contiguous_format, torch.channels_last], ids=["nchw", "channels_last"]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["float32", "float64"])
@pytest.mark.parametrize("info", OURS, ids=lambda info: info.module_cls.__name__)
def test_samples(info, dtype, memory_format, training) -> None:
    our_class = getattr(nn, info.module_cls.__name__)
    tolerance = {"rtol": 2e-5, "atol": 2e-6} if dtype == torch.float32 else {}
    for sample, twin in zip(*same_samples(info, dtype, training), strict=True):
        layers = []
        for which, inputs in ((our_class, sample), (info.module_cls, twin)):
            torch.manual_seed(1)
            arguments = inputs.constructor_input
            layer = which(*arguments.args, **arguments.kwargs).to(dtype).train(training)
            layers.append((layer, in_format(first_input(inputs), memory_format)))
        (ours, x), (theirs, same_x) = layers
        assert torch.equal(x, same_x)
        got, expected = outputs_and_gradients(ours, x), outputs_and_gradients(theirs, same_x)
        torch.testing.assert_close(got, expected, **tolerance)
        if sample.reference_fn is not None and dtype == torch.float64:
            reference = sample.reference_fn(ours, x)
            torch.testing.assert_close(ours(x), reference)
