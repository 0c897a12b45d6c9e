"""Networks of other people's: plain PyTorch in its better layout against ``lamina.optimize``.

Each network in a process of its own, its sides in turn: images through it, and steps of training.
Outputs are compared with float64's. They are built from pytorchcv's and transformers' definitions,
with random weights: nothing is downloaded. In an environment of its own:

    python -m venv zoo
    zoo/bin/pip install torch==2.13.0 numpy sympy requests transformers
    zoo/bin/pip install --no-deps pytorchcv   # it asks for a torchvision that it does not need here
    PYTHONPATH=src zoo/bin/python benchmarks/zoo.py [--networks resnet18,convnext] [--json FILE]

pytorchcv has a module per family of networks; the list below names it with the function. A network
that does not take 224 pixels has its own number there.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import geometric_mean, median, quantiles

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import lamina
from lamina.bench.layer_rows import facts
from lamina.bench.torch_worker import give_statistics
from lamina.bench.worker import reason
from lamina.report.table import Column, Table, to_text

PYTORCHCV = {
    "mobilenetv2_w1": ("mobilenetv2", 224),
    "mobilenetv3_large_w1": ("mobilenetv3", 224),
    "efficientnet_b0": ("efficientnet", 224),
    "shufflenetv2_w1": ("shufflenetv2", 224),
    "ghostnet": ("ghostnet", 224),
    "mnasnet_b1": ("mnasnet", 224),
    "proxylessnas_gpu": ("proxylessnas", 224),
    "fbnet_cb": ("fbnet", 224),
    "squeezenet_v1_1": ("squeezenet", 224),
    "densenet121": ("densenet", 224),
    "resnet18": ("resnet", 224),
    "resnext50_32x4d": ("resnext", 224),
    "seresnet50": ("seresnet", 224),
    "regnetx002": ("regnet", 224),
    "hrnet_w18_small_v1": ("hrnet", 224),
    "darknet53": ("darknet53", 224),
    "xception": ("xception", 299),
    "inceptionv3": ("inceptionv3", 299),
    "bn_vgg11": ("vgg", 224),
    "alexnet": ("alexnet", 224),
    "unet_cityscapes": ("unet", 128),
}
TRANSFORMERS = {"convnext": "ConvNext", "regnet": "RegNet"}
NAMES = [*PYTORCHCV, *TRANSFORMERS]
CASES = {"1 image": (1, False), "8 images": (8, False), "training, 8": (8, True)}
LAYOUTS = {"nchw": torch.contiguous_format, "channels-last": torch.channels_last}


class Logits(nn.Module):
    """A model of transformers' as a function of images alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """The classes' scores."""
        return self.model(x).logits


def build(name: str) -> tuple[nn.Module, int]:
    """The network, plain, with the pixels that it takes."""
    torch.manual_seed(0)
    if name in TRANSFORMERS:
        transformers = import_module("transformers")
        config = getattr(transformers, f"{TRANSFORMERS[name]}Config")(num_labels=1000)
        made = getattr(transformers, f"{TRANSFORMERS[name]}ForImageClassification")(config)
        model, pixels = Logits(made), 224
    else:
        module, pixels = PYTORCHCV[name]
        factory = getattr(import_module(f"pytorchcv.models.{module}"), name)
        size = {"in_size": (pixels, pixels)} if pixels != 224 else {}
        model = factory(pretrained=False, **size)
    give_statistics(model, torch.randn(4, 3, pixels, pixels))
    return model, pixels


def sides_of(model: nn.Module, x: Tensor) -> dict[str, tuple[nn.Module, Tensor]]:
    """Modules with their input; a layout in which the plain network does not run is left out."""
    sides = {}
    for name, layout in LAYOUTS.items():
        plain, images = copy.deepcopy(model).to(memory_format=layout), x.to(memory_format=layout)
        try:
            with torch.no_grad():
                plain(images)
        except RuntimeError:
            continue
        sides[f"torch {name}"] = plain, images
    sides["lamina"] = lamina.optimize(model, copy=True), x
    return sides


def inference(model: nn.Module, x: Tensor) -> Callable[[], object]:
    """A function that runs the images through."""

    def call() -> Tensor:
        with torch.no_grad():
            return model(x)

    return call


def training_step(model: nn.Module, x: Tensor) -> Callable[[], object]:
    """A function that runs forward, loss, backward and a step of SGD."""
    optimiser = torch.optim.SGD(model.parameters(), 1e-3)

    def call() -> None:
        y = model(x)
        loss = cross_entropy(y, torch.zeros(y.shape[:1] + y.shape[2:], dtype=torch.long))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return call


def turns(calls: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of every round, the sides in an order drawn anew, after warming up."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for call in [*calls.values()] * 3:
        call()
    order, names = random.Random(0), list(calls)
    for _ in range(rounds):
        order.shuffle(names)
        for name in names:
            calls[name]()  # finds the caches as another side left them
            start = time.perf_counter()
            calls[name]()
            times[name].append(1e3 * (time.perf_counter() - start))
    return times


def errors(sides: dict[str, tuple[nn.Module, Tensor]], exact: Tensor) -> dict[str, float]:
    """Relative errors of the outputs, as lengths of vectors."""
    with torch.no_grad():
        return {
            name: ((model(x) - exact).norm() / exact.norm()).item()
            for name, (model, x) in sides.items()
        }


def measure(name: str, rounds: int) -> list[dict]:
    """A row per case."""
    model, pixels = build(name)
    rows = []
    for case, (batch, training) in CASES.items():
        model.train(training)
        x = torch.randn(batch, 3, pixels, pixels, generator=torch.Generator().manual_seed(1))
        sides = sides_of(model, x)
        found = {}
        if not training:
            with torch.no_grad():
                found = errors(sides, copy.deepcopy(model).double()(x.double()))
        make = training_step if training else inference
        times = turns({side: make(*arguments) for side, arguments in sides.items()}, rounds)
        medians = {side: median(times[side]) for side in times}
        ours = next(side for side in medians if side.startswith("lamina"))
        peer = min(medians.keys() - {ours}, key=lambda side: medians[side])
        low, _, high = quantiles(times[ours], n=4)
        rows.append(
            {
                "network": name,
                "case": case,
                "pixels": pixels,
                "layout": peer.removeprefix("torch "),
                "torch_ms": medians[peer],
                "ours_ms": medians[ours],
                "spread_ms": (high - low) / 2,
                "ratio": medians[peer] / medians[ours],
                "torch_error": found.get(peer),
                "our_error": found.get(ours),
            }
        )
    return rows


def in_a_process(name: str, rounds: int, threads: int | None) -> list[dict]:
    """The rows of a network, or one with the reason why there are none."""
    command = [sys.executable, __file__, "--one", name, "--rounds", str(rounds)]
    command += ["--threads", str(threads)] if threads else []
    finished = subprocess.run(command, capture_output=True, text=True)
    if finished.returncode == 0:
        return json.loads(finished.stdout.splitlines()[-1])
    said = finished.stderr.strip().splitlines() or [f"left with {finished.returncode}"]
    return [{"network": name, "case": f"failed: {said[-1]}"}]


def tables(rows: list[dict]) -> list[Table]:
    """A row per network and case; geometric means of the ratios."""
    ms = "{:.2f}".format
    columns = (
        Column("network", "network"),
        Column("case", "case"),
        Column("pixels", "pixels", align="right"),
        Column("torch_ms", "PyTorch, ms", ms, "right"),
        Column("layout", "in"),
        Column("ours_ms", "optimized, ms", ms, "right"),
        Column("spread_ms", "± ms", ms, "right"),
        Column("ratio", "ratio", "{:.2f}×".format, "right"),
        Column("torch_error", "PyTorch's error", "{:.1e}".format, "right"),
        Column("our_error", "error", "{:.1e}".format, "right"),
    )
    means = []
    for case in CASES:
        ratios = [row["ratio"] for row in rows if row["case"] == case]
        mean = geometric_mean(ratios) if ratios else None
        means.append({"case": case, "networks": len(ratios), "ratio": mean})
    head = Column("case", "geometric means"), Column("networks", "networks", align="right")
    ratio = next(column for column in columns if column.key == "ratio")
    return [Table(columns, rows), Table((*head, ratio), means)]


def main() -> None:
    """Print a table, and the geometric means of the cases."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", default=",".join(NAMES), help="names between commas")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, help="default: PyTorch's")
    parser.add_argument("--json", help="write the rows to this file")
    parser.add_argument("--one", help=argparse.SUPPRESS)  # what a network's own process is told
    asked = parser.parse_args()
    if asked.rounds < 2:
        parser.error(f"--rounds: expected at least 2, got {asked.rounds}")
    if asked.threads:
        torch.set_num_threads(asked.threads)
    if asked.one:
        try:
            print(json.dumps(measure(asked.one, asked.rounds)))
        except Exception as error:
            sys.exit(reason(error))
        return
    names = asked.networks.split(",")
    for name in names:
        if name not in NAMES:
            parser.error(f"--networks: expected of {', '.join(NAMES)}; got {name!r}")
    rows: list[dict] = []
    for name in names:
        print(name, file=sys.stderr, flush=True)
        rows += in_a_process(name, asked.rounds, asked.threads)
        if asked.json:
            Path(asked.json).write_text(json.dumps({**facts(), "rows": rows}, indent=1))
    print("\n\n".join(map(to_text, tables(rows))))


if __name__ == "__main__":
    main()
