"""The sides of the networks' benchmark that run on torch: eager, compiled, lamina's.

Every process builds the same network: one seed, then a pass that gives batch normalisation the
statistics of its input, so that activations are of the size that a trained network's are. With
statistics of smaller images they grow from block to block, gates close to subnormal numbers, and
the processor's slow way with those is what is timed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.functional import cross_entropy

from lamina import models
from lamina.bench.worker import Call, Job, serve
from lamina.optimiser import optimize, restore

CLASSES = 1000
_LEARNING_RATE = 1e-3


def network(name: str, pixels: int) -> Module:
    """The network as `lamina.models` has it, the same weights and statistics at every call."""
    torch.manual_seed(0)
    model = models.get(name, num_classes=CLASSES)
    give_statistics(model, images(4, pixels))
    return model


def give_statistics(model: Module, x: Tensor) -> None:
    """Let batch normalisations have those of a batch, in the place of mean 0 and variance 1.

    Example:
        >>> norm = torch.nn.BatchNorm2d(3)
        >>> give_statistics(norm, 5 + images(4, 8))
        >>> norm.running_mean.round(), norm.momentum
        (tensor([5., 5., 5.]), 0.1)
    """
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    if norms:
        with torch.no_grad():
            model.train()(x)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def images(batch: int, pixels: int) -> Tensor:
    """The input, the same at every call; contiguous.

    Example:
        >>> images(2, 32).shape
        torch.Size([2, 3, 32, 32])
    """
    return torch.randn(batch, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))


def _eager(layout: torch.memory_format) -> Callable[[Module], Module]:
    def prepare(model: Module) -> Module:
        return cast(Module, restore(model).to(memory_format=layout))  # type: ignore[call-overload]

    return prepare


def _compiled(layout: torch.memory_format) -> Callable[[Module], Module]:
    def prepare(model: Module) -> Module:
        plain = _eager(layout)(model)
        # As `torch._inductor.config.freezing` does, for this network alone.
        return cast(Module, torch.compile(plain, options={"freezing": not plain.training}))

    return prepare


def _optimized(model: Module) -> Module:
    return optimize(restore(model))


def _as_it_is(model: Module) -> Module:
    return cast(Module, model.to(memory_format=torch.channels_last))  # type: ignore[call-overload]


PREPARE: dict[str, Callable[[Module], Module]] = {
    "torch-nchw": _eager(torch.contiguous_format),
    "torch-channels-last": _eager(torch.channels_last),
    "torch-compile": _compiled(torch.channels_last),
    "torch-bf16": _eager(torch.channels_last),
    "lamina-optimize": _optimized,
    "lamina-models": _as_it_is,
}
"""What makes a side of a network of `lamina.models`."""


def build(job: Job) -> tuple[Callable[[], Call], dict[str, str]]:
    """What gets a side's call ready: a batch through the network, or a training step.

    Example:
        >>> size = {"batch": 2, "pixels": 32, "training": False, "threads": None}
        >>> prepare, _ = build({"network": "mobilenet_v2", "side": "torch-nchw", **size})
        >>> call = prepare()
        >>> call().shape
        torch.Size([2, 1000])
    """
    if job["threads"]:
        torch.set_num_threads(job["threads"])
    training, side = job["training"], job["side"]
    pixels = job["pixels"]
    model, x = network(job["network"], pixels).train(training), images(job["batch"], pixels)
    if side != "torch-nchw":
        x = x.to(memory_format=torch.channels_last)

    def prepare() -> Call:
        prepared = PREPARE[side](model)
        if training:
            return _training_step(prepared, x, side == "torch-bf16")
        return _inference(prepared, x)

    return prepare, {"torch": torch.__version__}


def _inference(model: Module, x: Tensor) -> Call:
    def call() -> Tensor:
        with torch.no_grad():
            return cast(Tensor, model(x))

    return call


def _training_step(model: Module, x: Tensor, bfloat16: bool) -> Call:
    target = torch.arange(len(x)) % CLASSES
    optimiser = torch.optim.SGD(model.parameters(), _LEARNING_RATE)

    def call() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            loss = cross_entropy(model(x), target)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        return loss.detach()

    return call


def export(job: Job) -> tuple[Callable[[], Call], dict[str, str]]:
    """Write the plain network and the images for ONNX's runtimes, at the paths that the job has."""
    pixels = job["pixels"]
    model, x = restore(network(job["network"], pixels).eval()), images(job["batch"], pixels)
    np.save(job["images"], x.numpy())
    torch.onnx.export(model, (x,), Path(job["onnx"]), dynamo=True, external_data=False)
    return lambda: lambda: x[0], {}


if __name__ == "__main__":
    serve(lambda job: export(job) if job["side"] == "export" else build(job))
