"""Time each layer of the tf.keras dialect against Keras's own on the same torch backend.

One training step of a layer (forward, and backward to input and weights) on a channels_last batch,
both sides in turn in one process; the median of many rounds and its spread.

    python benchmarks/keras_layers.py [--rounds 30]
"""

from __future__ import annotations

import argparse
import time
from statistics import median, quantiles

import torch

from lamina import layers

import keras  # isort: skip  (lamina.layers chooses its backend)

CASES = [
    ("Conv2D", {"filters": 64, "kernel_size": 3, "padding": "same"}, (16, 28, 28, 64)),
    (
        "Conv2D",
        {"filters": 64, "kernel_size": 3, "strides": 2, "padding": "same"},
        (16, 56, 56, 32),
    ),
    ("DepthwiseConv2D", {"kernel_size": 3, "padding": "same"}, (16, 28, 28, 192)),
    ("SeparableConv2D", {"filters": 64, "kernel_size": 3, "padding": "same"}, (16, 28, 28, 64)),
    ("BatchNormalization", {}, (16, 56, 56, 64)),
    ("MaxPooling2D", {"pool_size": 2}, (16, 56, 56, 64)),
    ("AveragePooling2D", {"pool_size": 3, "strides": 2, "padding": "same"}, (16, 56, 56, 64)),
    ("GlobalAveragePooling2D", {}, (16, 28, 28, 192)),
    ("Dropout", {"rate": 0.5}, (16, 28, 28, 192)),
    ("Dropout", {"rate": 0.5, "seed": 1}, (16, 28, 28, 192)),
    ("Dense", {"units": 512}, (64, 1024)),
]


def training_step(layer, x: torch.Tensor):
    """A function that runs forward and backward once, on gradients made beforehand."""
    call = {"training": True} if layer._call_has_training_arg else {}
    upstream = torch.randn_like(layer(x, **call))

    def step() -> None:
        layer(x, **call).backward(upstream)
        x.grad = None
        layer.zero_grad()

    return step


def timed(step) -> float:
    """Seconds of one call."""
    start = time.perf_counter()
    step()
    return time.perf_counter() - start


def main() -> None:
    """Print one row per layer."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    print(
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, keras {keras.__version__}"
    )
    print("| layer | input | ours, ms | Keras's, ms | ratio |\n|---|---|---|---|---|")
    for name, config, shape in CASES:
        x = torch.randn(shape).requires_grad_()
        steps = [
            training_step(getattr(module, name)(**config), x) for module in (layers, keras.layers)
        ]
        for step in steps * 3:
            step()
        times = list(zip(*([timed(step) for step in steps] for _ in range(rounds)), strict=True))
        ours, theirs = ([1e3 * seconds for seconds in side] for side in times)
        spreads = [quantiles(side, n=4) for side in (ours, theirs)]
        cells = [
            f"{median(side):.2f} ({low:.2f}-{high:.2f})"
            for side, (low, _, high) in zip((ours, theirs), spreads, strict=True)
        ]
        arguments = ", ".join(f"{key}={value!r}" for key, value in config.items())
        print(
            f"| {name}({arguments}) | {shape} | {cells[0]} | {cells[1]} "
            f"| {median(theirs) / median(ours):.2f} |"
        )


if __name__ == "__main__":
    main()
